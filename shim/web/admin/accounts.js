// The accounts page, and the keys on it. Rule: what comes from the server becomes text, never markup.
import { ask, at, enter, leaves, put } from "./session.js";

const POLL_MS = 2000;
const PAGE = 100;
const STATES = ["ready", "new", "cooling", "parked", "expired", "refreshing", "paused"];
const NAMES = { all: "All", new: "New", paused: "Paused", ready: "Ready", cooling: "Cooling", parked: "Parked", expired: "Expired", refreshing: "Refreshing" };

const OUTCOMES = { added: "added", updated: "updated", known: "already here, nothing new" };
const SHOWN_RESULTS = 200;

const view = { state: "all", words: "", offset: 0, matching: 0, page: null, skew: 0 };
const rows = new Map();
const picked = new Set(); // ids; also of accounts on other pages
let timer = 0;
let asked = 0; // the number of the newest request for the list: answers to older ones are late

async function act(work, message) {
  try {
    const told = await work();
    if (message) say(typeof message === "function" ? message(told) : message);
    return told;
  } catch (refusal) {
    if (!leaves(refusal)) say(refusal.message, true);
    return null;
  } finally {
    refresh();
  }
}

// --- coming and going --------------------------------------------------------------------------------------------

function open(session) {
  at("save-asks").hidden = session.access !== "key";
  refresh();
  openNamed();
  refreshKeys();
}

// Where the address says so (`#keys`), also that of a link on this page.
function openNamed() {
  const named = location.hash.length > 1 ? at(location.hash.slice(1)) : null;
  if (named?.tagName !== "DETAILS") return;
  named.open = true;
  named.scrollIntoView();
}

function close() {
  clearTimeout(timer);
  asked += 1;
  for (const id of ["confirm", "edit", "save"]) at(id).close();
  at("save-key").value = at("edit-proxy").value = "";
  at("edit-facts").replaceChildren();
  pickNone();
  at("live").hidden = true;
  at("text").value = "";
  showSecret("", "");
  at("key-list").replaceChildren();
  rows.clear();
  at("rows").replaceChildren();
  at("report").replaceChildren();
}

// --- the list ----------------------------------------------------------------------------------------------------

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  const query = new URLSearchParams({ offset: view.offset, limit: PAGE });
  if (view.state !== "all") query.set("state", view.state);
  if (view.words) query.set("q", view.words);
  try {
    const page = await ask("GET", `api/accounts?${query}`);
    if (mine !== asked) return;
    show(page);
    showLive("Live");
  } catch (refusal) {
    if (mine !== asked || leaves(refusal)) return;
    showLive(refusal.message, true);
  }
  timer = setTimeout(tick, POLL_MS);
}

function tick() {
  if (document.hidden) timer = setTimeout(tick, POLL_MS);
  else refresh();
}

function show(page) {
  const behind = page.matching > 0 && page.offset >= page.matching;
  if (behind) {
    view.offset = Math.floor((page.matching - 1) / PAGE) * PAGE;
    return refresh();
  }
  view.page = page;
  view.matching = page.matching;
  view.skew = page.summary.now - Date.now() / 1000;
  showStates(page.summary);
  showRows(page.accounts);
  showPager(page);
  const away = page.summary.health.store !== "ok";
  at("store").hidden = !away;
  if (away) put(at("store"), `The store of accounts is away; the gateway goes on from memory. ${page.summary.health.store}`);
}

function showStates(summary) {
  for (const state of ["all", ...STATES]) {
    const number = state === "all" ? summary.total : summary.states[state];
    const card = at(`card-${state}`);
    put(card.querySelector("b"), number.toLocaleString("en"));
    card.setAttribute("aria-pressed", String(view.state === state));
    if (state !== "all") at(`bar-${state}`).style.flexGrow = number;
  }
}

function showRows(accounts) {
  const shown = new Set(accounts.map((account) => account.id));
  for (const [id, row] of rows) {
    if (shown.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  let before = null;
  for (const account of accounts) {
    const row = rows.get(account.id) ?? newRow(account.id);
    fill(row, account);
    const place = before ? before.nextElementSibling : at("rows").firstElementChild;
    if (place !== row) at("rows").insertBefore(row, place);
    before = row;
  }
  at("table").hidden = accounts.length === 0;
  at("empty").hidden = accounts.length > 0;
  at("clear").hidden = at("backup").hidden = view.page.summary.total === 0;
  const none = view.state === "all" ? "There are no accounts yet. Add some above." : `No account is ${view.state}.`;
  put(at("empty"), view.words && view.page.summary.total ? "No account is like that." : none);
  showPicked();
}

function newRow(id) {
  const row = at("row").content.firstElementChild.cloneNode(true);
  row.dataset.id = id;
  put(row.querySelector(".id"), id);
  for (const button of row.querySelectorAll("button")) button.setAttribute("aria-label", `${button.textContent} ${id}`);
  row.querySelector(".tick input").setAttribute("aria-label", `Select ${id}`);
  row.querySelector(".tick input").checked = picked.has(id);
  rows.set(id, row);
  return row;
}

function fill(row, account) {
  const one = (name) => row.querySelector(name);
  if (row.dataset.state && row.dataset.state !== account.state) flash(row);
  row.dataset.state = account.state;
  const from = account.kinds.length ? account.kinds.join(" + ") : "no credential";
  put(one(".label"), account.label ?? "");
  put(one(".plan"), [account.mail, account.plan ?? "plan unknown", from, account.workspace ? "workspace" : ""].filter(Boolean).join(" · "));
  put(one(".state"), NAMES[account.state]);
  put(one(".why"), account.why ?? "");
  fillEvidence(one(".evidence"), account.evidence);
  put(one(".since"), account.why ? [account.since ? `since ${moment(account.since)}` : "", account.clears ? `ends by ${account.clears}` : ""].filter(Boolean).join(" · ") : "");
  const pause = one('[data-act="pause"], [data-act="resume"]');
  const act = account.state === "paused" ? "resume" : "pause";
  if (pause.dataset.act !== act) {
    pause.dataset.act = act;
    put(pause, act === "pause" ? "Pause" : "Resume");
    pause.title = act === "pause" ? "No new turns until it is resumed" : "Take turns again";
    pause.setAttribute("aria-label", `${pause.textContent} ${account.id}`);
  }
  putTime(one(".ends"), account.expires, account.kinds.length ? "–" : "");
  putTime(one(".until"), account.until);
  put(one(".moment"), account.until ? moment(account.until) : "");
  putTime(one(".used"), account.last_used, "never");
  put(one(".turns"), account.turns.toLocaleString("en"));
  put(one(".active"), account.active.toLocaleString("en"));
  fillModels(one(".models"), account.cooling);
}

function fillEvidence(place, evidence) {
  place.hidden = !evidence;
  if (!evidence) return;
  const { status, words, header } = evidence;
  put(place.querySelector("q"), words || "no words");
  put(place.querySelector("code"), [status ? `HTTP ${status}` : "", header].filter(Boolean).join(" · "));
}

function fillModels(list, cooling) {
  while (list.children.length > cooling.length) list.lastElementChild.remove();
  cooling.forEach((model, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement("li"));
    if (!item.firstChild) item.append(document.createElement("code"), document.createTextNode(""));
    put(item.firstChild, model.slug);
    const text = ` cools until ${moment(model.until)} (${relative(model.until)})${model.why ? `: ${model.why}` : ""}${model.evidence?.words ? ` “${model.evidence.words}”` : ""}`;
    if (item.lastChild.data !== text) item.lastChild.data = text;
  });
}

function flash(row) {
  row.classList.remove("changed");
  void row.offsetWidth; // starts the animation over
  row.classList.add("changed");
}

function showPager({ offset, matching }) {
  put(at("list-title"), view.state === "all" ? "All accounts" : `${NAMES[view.state]} accounts`);
  at("pager").hidden = matching <= PAGE;
  put(at("place"), `${(offset + 1).toLocaleString("en")}–${Math.min(offset + PAGE, matching).toLocaleString("en")} of ${matching.toLocaleString("en")}`);
  at("first").disabled = at("previous").disabled = offset === 0;
  at("last").disabled = at("next").disabled = offset + PAGE >= matching;
}

function turnTo(offset) {
  const last = Math.max(0, Math.floor((view.matching - 1) / PAGE) * PAGE);
  view.offset = Math.min(Math.max(0, offset), last);
  refresh();
}

function filterBy(state) {
  view.state = state;
  view.offset = 0;
  for (const card of at("cards").children) card.setAttribute("aria-pressed", String(card.dataset.state === state));
  refresh();
}

// --- finding and selecting ---------------------------------------------------------------------------------------

let typing = 0;
function searchFor(event) {
  clearTimeout(typing);
  typing = setTimeout(() => {
    view.words = event.target.value.trim();
    view.offset = 0;
    refresh();
  }, 200);
}

function pick(event) {
  const box = event.target.closest(".tick input");
  if (!box) return;
  const { id } = box.closest("tr").dataset;
  if (box.checked) picked.add(id);
  else picked.delete(id);
  showPicked();
}

function pickAll(on) {
  for (const [id, row] of rows) {
    row.querySelector(".tick input").checked = on;
    if (on) picked.add(id);
    else picked.delete(id);
  }
  showPicked();
}

function pickNone() {
  picked.clear();
  pickAll(false);
}

function showPicked() {
  const here = [...rows.keys()].filter((id) => picked.has(id)).length;
  at("picked").hidden = picked.size === 0;
  put(at("picked-count"), picked.size ? `${count(picked.size)} selected` : "");
  at("pick-all").checked = rows.size > 0 && here === rows.size;
  at("pick-all").indeterminate = here > 0 && here < rows.size;
}

const DONE = { pause: "paused", resume: "resumed", reset: "reset", probe: "asked", remove: "removed" };
async function actOnPicked(event) {
  const action = event.target.closest("button[data-all]")?.dataset.all;
  if (!action) return;
  const ids = [...picked];
  if (action === "remove" && !await confirmed(`Remove ${count(ids.length)}?`, "The gateway forgets these accounts and their tokens.")) return;
  const results = [];
  await act(async () => {
    while (ids.length) results.push(...(await ask("POST", "api/accounts/actions", { action, ids: ids.splice(0, PAGE) })).results);
  }, () => {
    const failed = results.filter((one) => !one.done);
    return `${count(results.length - failed.length)} ${DONE[action]}.${failed.length ? ` ${failed.length} not: ${failed[0].why}` : ""}`;
  });
  if (action === "remove") pickNone();
}

// --- one account -------------------------------------------------------------------------------------------------

let edited = null;
async function edit(id) {
  const account = await act(() => ask("GET", one(id)));
  if (!account) return;
  edited = id;
  put(at("edit-title"), account.label ?? id);
  const facts = [
    ["Id", id], ["Mail", account.mail], ["Plan", account.plan], ["Credentials", account.kinds.join(", ")],
    ["State", NAMES[account.state]], ["Why", account.why],
    ["Access token ends", account.expires ? `${moment(account.expires)} (${relative(account.expires)})` : ""],
    ["Proxy of its own", account.proxy],
    ...account.quotas.map((quota) => [`Left of ${quota.feature}`, `${quota.remaining ?? "?"}${quota.resets ? `, resets ${moment(Date.parse(quota.resets) / 1000)}` : ""} (seen ${relative(account.quotas_at)})`]),
  ].filter(([, told]) => told);
  at("edit-facts").replaceChildren(...facts.flatMap(([name, told]) => {
    const [term, fact] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    fact.textContent = told;
    return [term, fact];
  }));
  at("edit-label").value = account.label ?? "";
  at("edit-limit").value = account.limit ?? "";
  at("edit-proxy").value = "";
  at("edit-proxy-gone").checked = false;
  at("edit-proxy-none").hidden = !account.proxy;
  put(at("edit-proxy-hint"), account.proxy ? `It goes by ${account.proxy}. An empty field leaves that.` : "An address as PROXY_URL has them, password included. An empty field leaves PROXY_URL’s.");
  put(at("edit-problem"), "");
  at("edit-usage").replaceChildren();
  put(at("edit-usage-told"), "");
  at("edit").showModal();
  at("edit-label").focus();
  showUse(id);
}

async function showUse(id) {
  let told;
  try {
    told = await ask("GET", `${one(id)}/usage?days=14`);
  } catch (refusal) {
    if (!leaves(refusal)) put(at("edit-usage-told"), refusal.message);
    return;
  }
  if (edited !== id) return;
  const byDay = new Map(told.rows.map((row) => [row.day, row]));
  const days = Array.from({ length: told.days }, (_, back) => new Date((Date.now() / 1000 + view.skew - (told.days - 1 - back) * 86_400) * 1000).toISOString().slice(0, 10));
  const numbers = days.map((day) => byDay.get(day)?.requests ?? 0);
  const most = Math.max(1, ...numbers);
  at("edit-usage").replaceChildren(...days.map((day, index) => {
    const bar = document.createElement("i");
    bar.title = `${day}: ${numbers[index].toLocaleString("en")}`;
    bar.style.height = `${Math.max(2, (numbers[index] / most) * 100)}%`;
    return bar;
  }));
  const sum = (name) => told.rows.reduce((all, row) => all + (row[name] ?? 0), 0).toLocaleString("en");
  put(at("edit-usage-told"), `${sum("requests")} in all, ${sum("errors")} failed; tokens of answers: about ${sum("completion_tokens")}`);
}

async function saveEdit(event) {
  event.preventDefault();
  const proxy = at("edit-proxy").value.trim();
  const changes = { label: at("edit-label").value.trim() || null, limit: at("edit-limit").value ? Number(at("edit-limit").value) : null };
  if (proxy) changes.proxy = proxy;
  else if (at("edit-proxy-gone").checked) changes.proxy = null;
  try {
    await ask("PATCH", one(edited), changes);
  } catch (refusal) {
    if (!leaves(refusal)) put(at("edit-problem"), refusal.message);
    return;
  }
  at("edit-proxy").value = ""; // it may have a password
  at("edit").close();
  say(`${edited} was changed.`);
  refresh();
}

// --- backup ------------------------------------------------------------------------------------------------------

function askForBackup() {
  at("save-key").value = "";
  put(at("save-problem"), "");
  at("save").showModal();
  (at("save-asks").hidden ? at("save-no") : at("save-key")).focus();
}

async function saveBackup(event) {
  event.preventDefault();
  const key = at("save-key");
  let told;
  try {
    told = await ask("POST", "api/accounts/export", { confirm: true, key: key.value });
  } catch (refusal) {
    if (refusal.status === 401 && refusal.code === "invalid_admin_key") {
      put(at("save-problem"), refusal.message);
      return key.select();
    }
    if (!leaves(refusal)) put(at("save-problem"), refusal.message);
    return;
  }
  key.value = "";
  at("save").close();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${JSON.stringify(told, null, 1)}\n`], { type: "application/json" }));
  link.download = "chat2api-accounts.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`A backup of ${count(told.accounts.length)} was downloaded. Keep it as you keep the accounts.`);
}

// --- text --------------------------------------------------------------------------------------------------------

function say(text, bad = false) {
  at("message").hidden = false;
  at("message").classList.toggle("bad", bad);
  put(at("message"), text);
}

function showLive(text, off = false) {
  at("live").hidden = false;
  at("live").classList.toggle("off", off);
  put(at("live"), text);
}

function putTime(element, seconds, never = "") {
  put(element, seconds ? relative(seconds) : never);
  if (!seconds) return element.removeAttribute("datetime");
  const date = new Date(seconds * 1000);
  element.dateTime = date.toISOString();
  element.title = date.toLocaleString();
}

function relative(seconds) {
  const left = seconds - (Date.now() / 1000 + view.skew);
  const away = Math.abs(left);
  const [size, unit] = away < 90 ? [1, "s"] : away < 5400 ? [60, "min"] : away < 129_600 ? [3600, "h"] : [86_400, "days"];
  const length = `${Math.round(away / size)} ${unit}`;
  if (away < 1) return "now";
  return left > 0 ? `in ${length}` : `${length} ago`;
}

function moment(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit" };
  const near = Math.abs(date - Date.now()) < 300 * 86_400_000;
  return today ? date.toLocaleTimeString([], time) : date.toLocaleString([], near ? { month: "short", day: "numeric", ...time } : { dateStyle: "medium" });
}

function count(number) {
  return `${number.toLocaleString("en")} ${number === 1 ? "account" : "accounts"}`;
}

// --- adding ------------------------------------------------------------------------------------------------------

async function upload(event) {
  event.preventDefault();
  const field = at("text");
  const text = field.value;
  if (!text.trim()) return field.focus();
  field.value = ""; // tokens stay no longer on the screen than they have to
  nameFile("");
  const report = await act(() => ask("POST", "api/accounts", { text }));
  if (report) showReport(report);
  else field.value = text;
}

function showReport(report) {
  const list = document.createElement("ul");
  const item = (text) => { list.appendChild(document.createElement("li")).textContent = text; };
  const unusualFirst = [...report.results].sort((a, b) => (a.outcome === "added") - (b.outcome === "added"));
  for (const { where, why, outcome } of unusualFirst.slice(0, SHOWN_RESULTS)) {
    item(`${where[0].toUpperCase()}${where.slice(1)}: ${why || OUTCOMES[outcome]}`);
  }
  const more = report.results.length - SHOWN_RESULTS;
  if (more > 0) item(`And ${more.toLocaleString("en")} more`);
  for (const note of report.notes) item(note);
  const passed = report.results.filter((one) => one.outcome === "passed over").length;
  const head = document.createElement("p");
  head.className = report.invalid.length ? "notice bad" : "notice";
  const told = [`${count(report.added.length)} added`];
  if (report.updated.length) told.push(`${report.updated.length.toLocaleString("en")} updated`);
  if (report.duplicates.length) told.push(`${report.duplicates.length.toLocaleString("en")} already here`);
  if (passed) told.push(`${passed.toLocaleString("en")} of other platforms passed over`);
  if (report.invalid.length) told.push(`${report.invalid.length.toLocaleString("en")} not taken`);
  head.textContent = `${told.join(", ")}.`;
  at("report").replaceChildren(head, ...(list.children.length ? [list] : []));
}

async function readFiles(files) {
  if (!files.length) return;
  const texts = await Promise.all(Array.from(files, textOf));
  at("text").value = texts.map((text) => text.trimEnd()).join("\n");
  nameFile(files.length === 1 ? files[0].name : `${files.length} files`);
  at("text").focus();
}

// Windows writes UTF-16, with a mark before it, which the decoder leaves out.
async function textOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const mark = `${bytes[0]},${bytes[1]}`;
  return new TextDecoder({ "255,254": "utf-16le", "254,255": "utf-16be" }[mark] ?? "utf-8").decode(bytes);
}

function nameFile(name) {
  put(at("file-name"), name ? `${name}: look it over, then add` : "or drop them on the field");
  at("file").value = "";
}

function watchDrops(zone) {
  const stop = () => zone.classList.remove("dragging");
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("dragging"); });
  zone.addEventListener("dragleave", stop);
  zone.addEventListener("drop", (event) => {
    stop();
    const { files } = event.dataTransfer;
    if (!files.length) return; // dragged text goes into the field by itself
    event.preventDefault();
    readFiles(files);
  });
}

// --- changing ----------------------------------------------------------------------------------------------------

async function onRow(event) {
  const button = event.target.closest("button[data-act]");
  if (!button) return;
  const { id } = button.closest("tr").dataset;
  button.disabled = true;
  await ACTS[button.dataset.act](id);
  button.disabled = false;
  if (button.isConnected && !document.querySelector("dialog[open]")) button.focus();
}

const one = (id) => `api/accounts/${encodeURIComponent(id)}`;
const ACTS = {
  pause: (id) => act(() => ask("PATCH", one(id), { paused: true }), `${id} is paused: it gets no new turns.`),
  resume: (id) => act(() => ask("PATCH", one(id), { paused: false }), (told) => `${id} was resumed: it is ${told.state}.`),
  edit,
  reset: (id) => act(() => ask("POST", `${one(id)}/reset`), `${id} was reset.`),
  probe: (id) => act(() => ask("POST", `${one(id)}/probe`), (told) => `${id} was asked: it is ${told.state}${told.why ? ` (${told.why})` : ""}.`),
  remove: async (id) => {
    if (!await confirmed(`Remove ${id}?`, "The gateway forgets the account and its tokens.")) return;
    await act(() => ask("DELETE", one(id)), `${id} was removed.`);
  },
};

async function clearAll() {
  const { total } = view.page.summary;
  if (!await confirmed(`Remove ${count(total)}?`, "The gateway forgets all accounts and their tokens. This can't be undone.", "remove all")) return;
  view.offset = 0;
  await act(() => ask("DELETE", "api/accounts", { confirm: true }), (told) => `${count(told.removed)} removed.`);
}

function confirmed(title, text, word = "", verb = "Remove") {
  const dialog = at("confirm");
  put(at("confirm-title"), title);
  put(at("confirm-text"), text);
  put(at("confirm-yes"), verb);
  at("confirm-typed").hidden = !word;
  at("confirm-word").value = "";
  const check = () => { at("confirm-yes").disabled = at("confirm-word").value.trim().toLowerCase() !== word; };
  check();
  at("confirm-word").oninput = check;
  dialog.returnValue = "";
  dialog.showModal();
  (word ? at("confirm-word") : at("confirm-no")).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// --- keys for clients --------------------------------------------------------------------------------------------

async function refreshKeys() {
  if (!at("keys").open) return;
  try {
    showKeys((await ask("GET", "api/keys")).keys);
  } catch (refusal) {
    if (!leaves(refusal)) sayOfKeys(refusal.message);
  }
}

function showKeys(keys) {
  at("key-list").replaceChildren(...keys.map((key) => {
    const row = at("key-row").content.firstElementChild.cloneNode(true);
    row.dataset.name = key.name;
    row.querySelector(".name").textContent = key.name;
    row.querySelector(".hint").textContent = `…${key.hint}`;
    row.querySelector(".told").textContent = limitsOf(key).join(" · ") || "no limits";
    for (const button of row.querySelectorAll("button")) button.setAttribute("aria-label", `${button.textContent} ${key.name}`);
    return row;
  }));
}

function limitsOf({ limits, used, expires }) {
  const told = [];
  const say = (number, most, words) => { if (most) told.push(`${number.toLocaleString("en")} of ${most.toLocaleString("en")} ${words}`); };
  say(used.requests, limits.requests_per_minute, "requests this minute");
  say(used.tokens, limits.tokens_per_day, "tokens today");
  say(used.active, limits.concurrent, "at once");
  if (limits.models?.length) told.push(`only ${limits.models.join(", ")}`);
  if (expires) told.push(expires * 1000 <= Date.now() ? "expired" : `ends ${moment(expires)}`);
  return told;
}

function sayOfKeys(text) {
  at("key-message").hidden = !text;
  put(at("key-message"), text);
}

function showSecret(name, secret) {
  at("key-made").hidden = !secret;
  put(at("key-told"), secret ? `This is the key ${name}. It is not shown again.` : "");
  put(at("key-secret"), secret);
  put(at("key-copy"), "Copy");
}

// One change of a key, and the list as it is then. What is said of it stands where the keys are.
async function changeKey(work) {
  sayOfKeys("");
  showSecret("", "");
  try {
    const told = await work();
    if (told.key) showSecret(told.name, told.key);
    return true;
  } catch (refusal) {
    if (!leaves(refusal)) sayOfKeys(refusal.message);
    return false;
  } finally {
    refreshKeys();
  }
}

async function makeKey(event) {
  event.preventDefault();
  const form = at("key-form");
  const given = new FormData(form);
  const wanted = { name: given.get("name").trim() };
  const models = given.get("models").split(",").map((name) => name.trim()).filter(Boolean);
  if (models.length) wanted.models = models;
  else if (given.get("models").trim()) return sayOfKeys("The list of models names none.");
  for (const name of ["requests_per_minute", "tokens_per_day", "concurrent"]) if (given.get(name)) wanted[name] = Number(given.get(name));
  if (given.get("expires")) wanted.expires = Date.parse(`${given.get("expires")}T23:59:59`) / 1000;
  if (await changeKey(() => ask("POST", "api/keys", wanted))) form.reset();
  return undefined;
}

async function onKey(event) {
  const button = event.target.closest("button[data-key]");
  if (!button) return;
  const { name } = button.closest("li").dataset;
  const path = `api/keys/${encodeURIComponent(name)}`;
  if (button.dataset.key === "rotate") {
    if (await confirmed(`Rotate ${name}?`, "Its clients are refused until they have the new key.", "", "Rotate")) await changeKey(() => ask("POST", `${path}/rotate`));
  } else if (await confirmed(`Remove ${name}?`, "Its clients are refused from now on.")) await changeKey(() => ask("DELETE", path));
}

async function copyKey() {
  await navigator.clipboard.writeText(at("key-secret").textContent);
  put(at("key-copy"), "Copied");
}

// --- at the start ------------------------------------------------------------------------------------------------

function build() {
  for (const state of ["all", ...STATES]) {
    const card = at("cards").appendChild(document.createElement("button"));
    card.type = "button";
    card.id = `card-${state}`;
    card.dataset.state = state;
    card.append(document.createElement("b"), document.createElement("span"));
    card.lastChild.textContent = NAMES[state];
    card.addEventListener("click", () => filterBy(state));
    if (state === "all") continue;
    const piece = at("bar").appendChild(document.createElement("i"));
    piece.id = `bar-${state}`;
    piece.dataset.state = state;
  }
  at("confirm-yes").value = "yes";
  at("upload").addEventListener("submit", upload);
  at("file").addEventListener("change", (event) => readFiles(event.target.files));
  at("rows").addEventListener("click", onRow);
  at("rows").addEventListener("change", pick);
  at("clear").addEventListener("click", clearAll);
  at("search").addEventListener("input", searchFor);
  at("pick-all").addEventListener("change", (event) => pickAll(event.target.checked));
  at("picked").addEventListener("click", actOnPicked);
  at("picked-none").addEventListener("click", pickNone);
  at("edit-form").addEventListener("submit", saveEdit);
  at("edit-no").addEventListener("click", () => at("edit").close());
  at("edit").addEventListener("close", () => rows.get(edited)?.querySelector('[data-act="edit"]').focus());
  at("backup").addEventListener("click", askForBackup);
  at("save-form").addEventListener("submit", saveBackup);
  at("save-no").addEventListener("click", () => at("save").close());
  at("keys").addEventListener("toggle", refreshKeys);
  at("key-form").addEventListener("submit", makeKey);
  at("key-list").addEventListener("click", onKey);
  at("key-copy").addEventListener("click", copyKey);
  at("confirm-no").addEventListener("click", () => at("confirm").close("no"));
  at("first").addEventListener("click", () => turnTo(0));
  at("previous").addEventListener("click", () => turnTo(view.offset - PAGE));
  at("next").addEventListener("click", () => turnTo(view.offset + PAGE));
  at("last").addEventListener("click", () => turnTo(Infinity));
  addEventListener("hashchange", openNamed);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !at("app").hidden) refresh(); });
  watchDrops(at("drop"));
}

build();
enter(open, close);
