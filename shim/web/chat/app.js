// The page: who does what when. Rule: the rooms know nothing of each other; they meet here.

import { bytesOf } from "./attachments.js";
import { Capture } from "./capture.js";
import { newChat, newQuestion, titleOf } from "./chats.js";
import { listModels } from "./client.js";
import { Composer } from "./composer.js";
import { ask, prepareDialogs, toast } from "./dialogs.js";
import { at, el } from "./dom.js";
import { adviceFor, lineFor, Refusal } from "./errors.js";
import { prepareMarkdown } from "./growing.js";
import { Finder } from "./finder.js";
import { Library } from "./library.js";
import { Lightbox } from "./lightbox.js";
import { choicesOf, Presets } from "./presets.js";
import { PromptLibrary } from "./prompts.js";
import { download, fileName, markdownOf, pageOf } from "./saving.js";
import { keepForOffline, Reach } from "./offline.js";
import { prepareShortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { ModelPicker } from "./models.js";
import { Speech } from "./speech.js";
import { openStore, recall, remember } from "./store.js";
import { showSuggestions } from "./suggestions.js";
import { t, useLanguage } from "./texts.js";
import { Thread } from "./thread.js";
import { Turns } from "./turns.js";
import { branchOff, turnTo } from "./versions.js";
import { lasting, WishDialog } from "./wishes.js";

const SPOKEN_CHARACTERS = 4000;
const LONGEST_WAIT = 86_400; // seconds; a timer holds no more than 24 days
const THEMES = { "": "light", light: "dark", dark: "" };
const THEME_NAMES = { "": "theme.system", light: "theme.light", dark: "theme.dark" };

const notices = new Map();
const presets = new Presets(() => presetList?.then((list) => list.show(), () => {}));
let chat = freshChat();
let presetList = null;
let researching = null;
let key = recall("key", tabStorage());
const [store] = await Promise.all([openStore(), useLanguage(document.documentElement.lang)]);
const library = new Library(store, { changed: showList, elsewhere: takeOver, merged: (saved) => saved === chat && show(), lost: letGo, tell: (key, values) => notice("store", key && (() => t(key, values))) });
const turns = new Turns({ key: () => key, changed: onAnswer, save: (saved, how) => library.save(saved, how) });
const picker = new ModelPicker({ current: () => chat, choose: useModel });
const wishes = new WishDialog({ current: () => chat.wishes, choose: useWishes, projects });
const speech = new Speech({ key: () => key, changed: () => thread.update(chat, turns.isRunning(chat)), tell: toast });
const thread = new Thread({ speech, research, edit, retry, retryWith, goOn, turnTo: showVersion, enterKey: () => enterKey() });
const finder = new Finder({ heads: () => library.heads, load: (id) => turns.chat(id) ?? library.load(id), open });
new Lightbox({ change: changePicture, tell: toast });
const sidebar = new Sidebar({ open, rename, create, remove, export: exportOne });
const reach = new Reach(() => loadModels());
const composer = new Composer({ send, holds, stop: () => turns.stop(chat), used: () => bytesOf(chat), enterKey: () => enterKey() });
const capture = new Capture({ key: () => key, insert: (text) => composer.add(text), attach: (files) => composer.attach(files), tell: toast });

// --- the chat on the screen ------------------------------------------------------------------------------------------

function freshChat() {
  if (presets.usual) return Object.assign(newChat(), choicesOf(presets.usual));
  return Object.assign(newChat(recall("model") || "auto"), { effort: recall("effort") });
}

function show() {
  thread.show(chat, turns.isRunning(chat));
  composer.setBusy(turns.isRunning(chat));
  at("title").textContent = titleOf(chat);
  document.title = chat.messages.length ? t("page.title", { title: titleOf(chat) }) : "chat2api";
  at("system").classList.toggle("on", Boolean(chat.system.trim()));
  history.replaceState(null, "", chat.messages.length ? `#${chat.id}` : location.pathname + location.search);
  picker.show();
  wishes.show();
  showList();
}

function showList() {
  sidebar?.show(library.heads, chat.id);
}

function enter(next) {
  chat = next;
  speech.stop();
  composer.clear();
  thread.follows = true;
  show();
  thread.toEnd();
  sidebar.slide(false, { focus: false });
  composer.focus();
}

function create() {
  enter(freshChat());
}

async function open(id) {
  const found = turns.chat(id) ?? (await library.load(id));
  if (found) {
    enter(found);
    turns.resume(chat);
  } else toast(t("chat.unreadable"));
}

/** Another tab has changed a chat: the one on the screen goes on from there. While an answer is being written here, what
 * the other tab has done comes with the next saving. */
async function takeOver(id) {
  const mine = chat;
  if (id !== mine.id || turns.isRunning(mine)) return;
  await library.take(mine);
  if (mine === chat) show();
}

/** Another tab has deleted a chat that is being answered here: nobody waits for the answer. What is on the screen stays
 * there, and is kept again by whoever wants it back or asks on. */
function letGo(mine, undo) {
  turns.stop(mine);
  toast(t("chat.deletedElsewhere", { title: titleOf(mine) }), undo);
}

/** Show what is wrong with one thing, as `say()` says it; null when it no longer is. */
function notice(about, say) {
  notices.set(about, say);
  showNotices();
}

function showNotices() {
  at("notice").textContent = [...notices.values()].filter(Boolean).map((say) => say()).join(" ");
  at("notice").hidden = !at("notice").textContent;
}

// --- asking and answering --------------------------------------------------------------------------------------------

/** Whether what was written has to wait: the gateway is asked, and it is sent as soon as that answers. */
function holds() {
  if (!reach.away) return false;
  loadModels().then(() => (reach.away ? composer.say(t("offline.held")) : composer.form.requestSubmit()));
  return true;
}

function send(text, attachments) {
  chat.messages.push(newQuestion(text, attachments));
  answer();
}

/** Ask again with another text, or fewer attachments: what came after it goes, and can be brought back. */
function edit(question, text, attachments) {
  const place = chat.messages.indexOf(question);
  replaceFrom(place, [newQuestion(text, attachments)], t("chat.edited"));
}

function retry() {
  const place = chat.messages.findLastIndex((message) => message.role === "user");
  const [, ...after] = chat.messages.slice(place);
  const worthKeeping = after.some((message) => message.text);
  if (after.at(-1)?.research && after.at(-1).state === "failed") chat.wishes = { ...chat.wishes, kind: "research" }; // Nothing came of it.
  replaceFrom(place + 1, [], worthKeeping ? t("chat.replaced") : "");
}

/** Show in `place` how far the research of an answer is. */
function research(message, place) {
  const acts = { stop: () => turns.stop(chat), report: openReport };
  researching ??= import("./research.js").catch(() => (researching = null)); // It is asked for again as more is told.
  researching?.then((part) => part?.showResearch(message, place, acts));
}

/** Have a project chosen from a list, where there is one. */
function projects(field) {
  import("./projects.js").then((part) => part.offerProjects(field, key)).catch(() => {}); // An id can be written all the same.
}

async function openReport(message) {
  try {
    (await import("./report.js")).openReport(message, titleOf(chat));
  } catch {
    toast(t("part.missing"));
  }
}

function goOn() {
  thread.follows = true;
  composer.focus();
  turns.goOn(chat);
}

function replaceFrom(place, messages, told) {
  const mine = chat;
  const undo = branchOff(mine, place, messages);
  if (told && undo) toast(told, () => bringBack(mine, undo));
  answer();
}

function bringBack(mine, undo) {
  turns.stop(mine);
  undo();
  library.save(mine);
  if (mine === chat) show();
  composer.focus();
}

function showVersion(parent, place) {
  turnTo(chat, parent, place);
  library.save(chat);
  show();
}

function changePicture(file) {
  composer.attach([file]);
  if (!at("wishes-open").hidden) useWishes({ ...chat.wishes, kind: "picture" });
  composer.focus();
}

function answer() {
  thread.follows = true;
  composer.focus();
  turns.start(chat);
  chat.wishes = lasting(chat.wishes);
  wishes.show();
}

function onAnswer(changed, message) {
  const busy = turns.isRunning(changed);
  if (!busy) announce(message);
  const isAway = message.error?.code === "unreachable" && !busy;
  if (isAway || (message.state === "done" && notices.get("models"))) loadModels();
  if (changed !== chat) return;
  if (busy && message.state === "streaming" && thread.views.has(message.id)) return thread.grow(message);
  show();
  if (!busy && message.error?.status === 401) enterKey("key.refused");
}

/** Tell a screen reader, once: the whole answer, or what went wrong. */
function announce({ state, text, error }) {
  const ends = { done: text.slice(0, SPOKEN_CHARACTERS), stopped: t("answer.wasStopped"), failed: error ? lineFor(error) : t("answer.failed") };
  at("announcer").textContent = ends[state] ?? "";
}

// --- models, key, system prompt --------------------------------------------------------------------------------------

async function loadModels() {
  const asked = key;
  try {
    const { models, account } = await listModels(asked);
    if (asked !== key) return undefined; // Another key has been entered meanwhile, and its list is coming.
    picker.know(models);
    composer.allowFiles(account);
    wishes.allow(account);
    speech.allowed = account;
    capture.allow(account);
    presetList?.then((list) => list.know(), () => {});
    thread.update(chat, turns.isRunning(chat));
    notice("models", null);
    if (reach.away) turns.resume(chat);
    reach.found(false);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    reach.found(refusal.code === "unreachable");
    if (reach.away) return notice("models", () => t("offline.notice"));
    if (refusal.status === 401) return enterKey(key ? "key.refused" : "key.needed");
    if (refusal.retryAfter !== null) setTimeout(() => notices.get("models") && loadModels(), Math.min(refusal.retryAfter, LONGEST_WAIT) * 1000);
    notice("models", () => t("model.unlisted", { title: adviceFor(refusal).title, message: refusal.message }));
  }
  return undefined;
}

function useModel({ model, effort }) {
  Object.assign(chat, { model, effort });
  remember("model", model);
  remember("effort", effort);
  picker.show();
  if (chat.messages.length) library.save(chat);
}

function useWishes(wishes) {
  chat.wishes = wishes;
  if (chat.messages.length) library.save(chat);
  show();
}

function usePreset(preset) {
  const mine = chat;
  const before = choicesOf(mine);
  const go = (choices) => {
    Object.assign(mine, choices);
    if (mine.messages.length) library.save(mine);
    if (mine === chat) show();
  };
  go(choicesOf(preset));
  toast(t("preset.used", { name: preset.name }), () => go(before));
  composer.focus();
}

async function showPresets() {
  const acts = { presets, current: () => chat, models: () => picker.models, account: () => !at("wishes-open").hidden, use: usePreset, projects, tell: toast };
  presetList ??= import("./preset_list.js").then(({ PresetList }) => new PresetList(acts));
  try {
    (await presetList).show();
  } catch {
    presetList = null;
    toast(t("part.missing"));
  }
}

/** The last question once more, with a model that is chosen now. */
function retryWith() {
  picker.open({ title: t("answer.otherTitle"), then: (choice) => (useModel(choice), retry()) });
}

async function enterKey(why = "key.about") {
  const given = await ask({ title: t("key.name"), why: `${t(why)} ${t("key.kept")}`, label: t("key.name"), value: key, kind: "secret", yes: t("key.use") });
  if (given === null) return undefined;
  const copied = given.trim().replace(/^Bearer\s/i, "").replace(/[\s\p{Cf}]+/gu, ""); // What copying brings along is left out.
  if (/[^\x21-\x7e]/.test(copied)) return enterKey("key.odd");
  key = copied;
  remember("key", key, tabStorage());
  composer.allowFiles(true); // Until the gateway says otherwise.
  await loadModels();
  if (!document.querySelector("dialog[open]") && chat.messages.at(-1)?.error?.status === 401) retry();
  return undefined;
}

function tabStorage() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

async function editSystem() {
  const given = await ask({ title: t("system.name"), why: t("system.why"), label: t("system.name"), value: chat.system, kind: "lines" });
  if (given === null) return;
  chat.system = given;
  if (chat.messages.length) library.save(chat);
  show();
}

// --- the list of chats -----------------------------------------------------------------------------------------------

async function rename(head) {
  const mine = head.id === chat.id ? chat : (turns.chat(head.id) ?? (await library.load(head.id)));
  const offer = mine ? { text: t("title.offer"), busy: t("title.busy"), make: (signal) => titleByModel(mine, signal) } : null;
  const title = await ask({ title: t("chat.rename"), label: t("chat.title"), value: head.title, offer });
  if (!title?.trim() || !mine) return;
  mine.title = title.trim();
  await library.save(mine);
  if (mine === chat) show();
}

/** A title by the model, which may choose itself what answers; throws an Error that says why not. */
async function titleByModel(mine, signal) {
  const model = picker.models.some(({ id }) => id === "auto") ? "auto" : mine.model;
  try {
    const { titleBy } = await import("./naming.js");
    return await titleBy(mine, model, { key, signal });
  } catch (failure) {
    const why = failure instanceof Refusal ? (failure.status || failure.code ? lineFor(failure) : failure.message) : t("part.missing");
    throw new Error(why);
  }
}

async function remove(head) {
  const isShown = head.id === chat.id;
  const mine = isShown ? chat : turns.chat(head.id);
  if (mine) turns.stop(mine);
  if (isShown) create();
  const undo = await library.remove(head.id, mine);
  toast(t("chat.deleted", { title: head.title }), undo && (async () => {
    await undo();
    if (isShown) open(head.id);
  }));
}

function exportOne(head) {
  at("save-title").textContent = t("save.titleOf", { title: head.title });
  at("saving").dataset.id = head.id;
  at("saving").dataset.named = head.title;
  at("saving").showModal();
}

async function saveAs(kind) {
  const { id, named: title } = at("saving").dataset;
  at("saving").close();
  const mine = turns.chat(id) ?? (await library.load(id));
  if (!mine) return toast(t("chat.unreadable"));
  if (kind === "markdown") return download(`${fileName(title)}.md`, markdownOf(title, mine), "text/markdown");
  if (kind === "page") return download(`${fileName(title)}.html`, await pageOf(title, mine), "text/html");
  if (kind === "chat") return library.export([id], `${fileName(title)}.json`);
  if (id !== chat.id) await open(id);
  await thread.whole();
  return print();
}

async function importFile() {
  const [file] = at("import-file").files;
  at("import-file").value = "";
  if (!file) return;
  try {
    const imported = await library.import(await file.text());
    const { count, isKept } = presets.take(imported.presets);
    toast([t("import.done", { count: imported.chats.length }), count ? t("preset.imported", { count }) : "", isKept ? "" : t("kept.full")].filter(Boolean).join(" "));
  } catch (failure) {
    toast(failure.message);
  }
}

// --- the theme -------------------------------------------------------------------------------------------------------

function showTheme(theme) {
  const root = document.documentElement;
  theme ? (root.dataset.theme = theme) : delete root.dataset.theme;
  at("theme-name").textContent = t(THEME_NAMES[theme]);
}

function nextTheme() {
  const theme = THEMES[document.documentElement.dataset.theme ?? ""];
  remember("theme", theme);
  showTheme(theme);
}

// --- the language ----------------------------------------------------------------------------------------------------

function listLanguages() {
  const option = ([code, { name }]) => el("option", { value: code, lang: code, text: name });
  at("language").replaceChildren(el("option", { value: "", text: t("language.system") }), ...Object.entries(LANGUAGES).map(option));
  at("language").value = Object.hasOwn(LANGUAGES, recall("language")) ? recall("language") : "";
}

/** Speak another language at once: what was being written and answered goes on. */
async function changeLanguage() {
  const chosen = at("language").value;
  remember("language", chosen);
  await useLanguage(languageOf(chosen, navigator.languages));
  showWords();
  presetList = null;
  at("presets").replaceChildren();
  capture.forget();
  thread.forget();
  show();
  showNotices();
}

// What is said once on this page, and again in another language.
function showWords() {
  listLanguages();
  showTheme(document.documentElement.dataset.theme ?? "");
  showSuggestions(at("suggestions"), (text) => send(text, []));
  composer.say("");
}

// --- the beginning ---------------------------------------------------------------------------------------------------

function onKey(event) {
  if (event.key !== "Escape" || document.querySelector("dialog[open]") || !turns.isRunning(chat)) return;
  turns.stop(chat);
  composer.focus();
}

async function start() {
  keepForOffline();
  prepareDialogs();
  new PromptLibrary({ text: () => composer.field.value, insert: (text) => composer.insert(text), tell: toast });
  prepareShortcuts({ find: () => finder.open(), create, write: () => composer.focus() });
  at("save-close").addEventListener("click", () => at("saving").close());
  for (const button of document.querySelectorAll("#saving [data-kind]")) button.addEventListener("click", () => saveAs(button.dataset.kind));
  showWords();
  at("language").addEventListener("change", changeLanguage);
  document.addEventListener("keydown", onKey);
  at("text").addEventListener("input", prepareMarkdown, { once: true });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // The address names the chat.
    composer.focus();
  });
  addEventListener("hashchange", () => location.hash.slice(1) !== chat.id && open(location.hash.slice(1)));
  at("system").addEventListener("click", editSystem);
  at("key").addEventListener("click", () => enterKey());
  at("theme").addEventListener("click", nextTheme);
  at("import").addEventListener("click", () => at("import-file").click());
  at("import-file").addEventListener("change", importFile);
  at("export").addEventListener("click", () => library.export(library.heads.map(({ id }) => id), "chats.json", presets.all));
  at("prompts-open").addEventListener("click", showPresets);
  addEventListener("pagehide", () => {
    turns.keep();
    turns.leaving = true;
  });
  addEventListener("pageshow", ({ persisted }) => {
    turns.leaving = false;
    if (persisted && !turns.resume(chat)) show();
  });
  document.addEventListener("visibilitychange", () => document.hidden && turns.keep());
  const asked = location.hash.slice(1);
  const found = asked ? await library.load(asked) : null;
  if (found) chat = found;
  show();
  thread.toEnd();
  composer.focus();
  turns.resume(chat);
  await Promise.all([library.refresh(), loadModels()]);
}

await start();
