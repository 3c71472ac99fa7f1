// What a chat is, and how one is read from what storage or a file holds. Rule: nothing that comes from there is
// believed; what does not fit is left out.

import { plain, t } from "./texts.js";
import { readBranches } from "./versions.js";
import { noWishes, readWishes } from "./wishes.js";

const FORMAT = "chat2api.chats";
const VERSION = 1;
const TITLE_CHARACTERS = 60;
const FINISHES = ["stop", "length", "content_filter"];
const LAST_MOMENT = 8.64e15; // of any date
const STATES = ["done", "streaming", "stopped", "failed"];

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** An empty chat. Times are milliseconds since 1970; a title of "" is still to be made from the first question. */
export function newChat(model = "auto", system = "") {
  return { id: newId(), title: "", model, effort: "", wishes: noWishes(), system, created: Date.now(), updated: Date.now(), messages: [], branches: {} };
}

/** A question: `attachments` are {name, type, size, url}, the url a data URL. */
export function newQuestion(text, attachments = []) {
  return { id: newId(), role: "user", text, attachments };
}

/** An answer that is still to come. `error` is {status, code, message} of one that failed, `finish` how one ended that
 * did not, `by` the {slug, effort} that answered, `tokens` how many it has (0: not told); `took` and `thought` are the
 * milliseconds of the whole and of the thinking before the first word. `job` is {id, number} where the gateway goes on with
 * it, `from` how much of the text was there before it. `research` is when a deep research was begun for it, 0 for any other. */
export function newAnswer(model, research = 0) {
  const facts = { finish: "", by: { slug: "", effort: "" }, tokens: 0, took: 0, thought: 0, job: null, from: 0, research };
  return { id: newId(), role: "assistant", text: "", reasoning: "", citations: [], model, state: "streaming", error: null, ...facts };
}

/** The title a chat has, or would be given. */
export function titleOf(chat) {
  if (chat.title) return plain(chat.title);
  const question = chat.messages.find((message) => message.role === "user");
  return plainTitle((question?.text || question?.attachments[0]?.name || "").slice(0, 400)) || t("chat.new");
}

/** The text as a title: a line of words that is not too long, "" where there are none. */
export function plainTitle(text) {
  const words = plainWords(text);
  return words.length > TITLE_CHARACTERS ? `${words.slice(0, TITLE_CHARACTERS).trimEnd()}…` : words;
}

// A title is a line of words: what Markdown marks is read, its marks are not.
function plainWords(text) {
  return plain(text)
    .replace(/^\s*(?:```|~~~).*$/gm, " ")
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*(?:#{1,6}|[-*+>]|\d+[.)])\s+/gm, "")
    .replace(/(\*\*|__|~~|`)(.+?)\1/g, "$2")
    .replace(/\s+/g, " ")
    .trim();
}

/** What the list of chats has to know. */
export const headOf = (chat) => ({ id: chat.id, title: titleOf(chat), updated: chat.updated });

/** The text of a file that `readExport` takes; `presets` go with all chats, and with no single one. */
export const exportText = (chats, presets = []) => JSON.stringify({ format: FORMAT, version: VERSION, chats, ...(presets.length && { presets }) }, null, 1);

/** {chats, presets} in such a file, the latter as they stand there. Throws an Error that says what is wrong with it. */
export function readExport(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error(t("import.notJson"));
  }
  if (file?.format !== FORMAT || !Array.isArray(file.chats)) throw new Error(t("import.notOurs"));
  if (file.version > VERSION) throw new Error(t("import.newer"));
  const chats = file.chats.map(readChat).filter(Boolean).map(withoutJobs).map(withOwnIds);
  if (!chats.length && file.chats.length) throw new Error(t("import.unreadable"));
  return { chats, presets: file.presets };
}

// An answer that a gateway goes on with is that of the browser it was asked from.
function withoutJobs(chat) {
  const tails = Object.values(chat.branches).flatMap((branch) => branch.tails.filter(Boolean));
  for (const message of [chat.messages, ...tails].flat()) if (message.job) message.job = null;
  return chat;
}

// An id goes into the page's address as it is, and views and branches go by those of messages.
function withOwnIds(chat) {
  if (!/^[0-9a-f]{24}$/.test(chat.id)) chat.id = newId();
  const known = new Set();
  const tails = Object.values(chat.branches).flatMap((branch) => branch.tails.filter(Boolean));
  for (const message of [chat.messages, ...tails].flat()) {
    if (known.has(message.id)) message.id = newId();
    known.add(message.id);
  }
  return chat;
}

/** A chat from what was stored, or null where it is none. */
export function readChat(stored) {
  if (!isObject(stored) || !isText(stored.id) || !stored.id || !Array.isArray(stored.messages)) return null;
  return {
    id: stored.id.slice(0, 64),
    title: text(stored.title).slice(0, 400),
    model: text(stored.model) || "auto",
    effort: /^\w{0,12}$/.test(text(stored.effort)) ? text(stored.effort) : "",
    wishes: readWishes(stored.wishes),
    system: text(stored.system),
    created: time(stored.created),
    updated: time(stored.updated),
    messages: readMessages(stored.messages),
    branches: readBranches(stored.branches, readMessages),
  };
}

/** An entry of the list from what was stored, or null. */
export function readHead(stored) {
  if (!isObject(stored) || !isText(stored.id) || !stored.id) return null;
  return { id: stored.id, title: plain(text(stored.title)) || t("chat.new"), updated: time(stored.updated) };
}

const readMessages = (stored) => stored.map(readMessage).filter(Boolean);

// A message keeps its id, as branches go by it.
function readMessage(stored) {
  if (!isObject(stored) || !isText(stored.text)) return null;
  const id = /^[0-9a-f]{24}$/.test(text(stored.id)) ? stored.id : newId();
  if (stored.role === "user") return { ...newQuestion(stored.text, list(stored.attachments).map(readAttachment).filter(Boolean)), id };
  return stored.role === "assistant" ? { ...readAnswer(stored), id } : null;
}

// An answer that was being written when it was stored is no longer: the page was closed.
function readAnswer(stored) {
  const state = STATES.includes(stored.state) ? stored.state : "done";
  return {
    ...newAnswer(text(stored.model)),
    text: stored.text,
    reasoning: text(stored.reasoning),
    citations: list(stored.citations).filter((citation) => isText(citation?.url)).map(({ url, title }) => ({ url, title: text(title) })),
    state: state === "streaming" ? "failed" : state,
    error: state === "streaming" ? { status: 0, code: "closed", message: "" } : readError(stored.error),
    finish: FINISHES.includes(stored.finish) ? stored.finish : "",
    by: { slug: text(stored.by?.slug), effort: text(stored.by?.effort) },
    tokens: time(stored.tokens),
    took: time(stored.took),
    thought: time(stored.thought),
    job: isText(stored.job?.id) ? { id: stored.job.id, number: time(stored.job.number) } : null,
    from: time(stored.from),
    research: time(stored.research),
  };
}

function readError(stored) {
  return isObject(stored) ? { status: Number(stored.status) || 0, code: text(stored.code), message: text(stored.message) } : null;
}

function readAttachment(stored) {
  if (!isObject(stored) || !isText(stored.url) || !stored.url.startsWith("data:")) return null;
  return { name: text(stored.name) || "file", type: text(stored.type), size: time(stored.size), url: stored.url };
}

const isObject = (value) => typeof value === "object" && value !== null;
const isText = (value) => typeof value === "string";
const text = (value) => (isText(value) ? value : "");
const list = (value) => (Array.isArray(value) ? value : []);
const time = (value) => (Number.isFinite(value) ? Math.min(Math.max(value, 0), LAST_MOMENT) : 0);
