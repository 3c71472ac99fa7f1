// The log: the last calls, without what was said in them. The newest page is asked for again and again.
import { ask, at, leaves, put } from "./session.js";
import { propose } from "./recordings.js";

const POLL_MS = 3000;
const PAGE = 50;
const FILTERS = ["text", "key", "account", "model", "api", "status", "code", "failed"];

let pages = [null]; // the `before` of each page up to the one that is shown
let following = null;
let timer = 0;
let asked = 0;
const rows = new Map(); // id of a call -> its row

export function open() {
  refresh();
}

export function close() {
  clearTimeout(timer);
  asked += 1;
  clear();
}

function clear() {
  rows.clear();
  at("calls").replaceChildren();
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  const query = new URLSearchParams({ limit: PAGE, ...filters() });
  const before = pages.at(-1);
  if (before) query.set("before", before);
  try {
    const told = await ask("GET", `api/calls?${query}`);
    if (mine !== asked) return;
    following = told.next;
    show(told.calls);
    say("");
  } catch (refusal) {
    if (mine !== asked || leaves(refusal)) return;
    say(refusal.message);
  }
  timer = setTimeout(tick, POLL_MS);
}

function tick() {
  const still = document.hidden || !at("follow").checked || pages.length > 1;
  if (still) timer = setTimeout(tick, POLL_MS);
  else refresh();
}

function filters() {
  const given = new FormData(at("filters"));
  return Object.fromEntries(FILTERS.map((name) => [name, String(given.get(name) ?? "").trim()]).filter(([, value]) => value));
}

function say(text) {
  at("log-message").hidden = !text;
  put(at("log-message"), text);
}

// A call that is over does not change, so a row that stands stays, and whoever is on it keeps the focus.
function show(calls) {
  const wanted = new Set(calls.map((call) => call.id));
  for (const [id, row] of rows) {
    if (wanted.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  let before = null;
  for (const call of calls) {
    const row = rows.get(call.id) ?? rowOf(call);
    const place = before ? before.nextElementSibling : at("calls").firstElementChild;
    if (place !== row) at("calls").insertBefore(row, place);
    before = row;
  }
  at("log-table").hidden = calls.length === 0;
  at("log-empty").hidden = calls.length > 0;
  put(at("log-empty"), Object.keys(filters()).length ? "No call is like this." : "There are no calls yet.");
  at("newer").disabled = pages.length === 1;
  at("older").disabled = following === null;
  put(at("log-place"), `Page ${pages.length}`);
}

function rowOf(call) {
  const row = at("call-row").content.firstElementChild.cloneNode(true);
  const one = (name) => row.querySelector(`[data-of="${name}"]`);
  const date = new Date(call.at * 1000);
  const fill = (name, text) => { one(name).textContent = text ?? "–"; };
  row.dataset.id = call.id;
  row.dataset.failed = String(call.failed ?? false);
  one("at").dateTime = date.toISOString();
  one("at").textContent = date.toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  fill("id", call.id);
  fill("api", call.stream ? `${call.api}, stream` : call.api);
  fill("key", call.key);
  fill("account", call.account);
  fill("model", call.slug && call.slug !== call.model ? `${call.model} (${call.slug})` : call.model);
  fill("status", [call.status, call.code].filter((word) => word !== undefined && word !== null).join(" · "));
  fill("tries", String(call.tries ?? 0));
  fill("first", call.first_ms === undefined ? undefined : milliseconds(call.first_ms));
  fill("ms", milliseconds(call.ms));
  fill("tokens", call.tokens && `${call.tokens[0].toLocaleString("en")} + ${call.tokens[1].toLocaleString("en")}`);
  // Of a call that never went upstream there is nothing to record, and those of sound are not.
  one("record").hidden = !call.tries || call.api.startsWith("audio");
  one("record").setAttribute("aria-label", `Record the next call like ${call.id}`);
  one("record").addEventListener("click", () => propose(call));
  rows.set(call.id, row);
  return row;
}

function milliseconds(number) {
  return number < 10_000 ? `${Math.round(number)} ms` : `${(number / 1000).toFixed(1)} s`;
}

// --- at the start ----------------------------------------------------------------------------------------------------

function turned() {
  clear();
  refresh();
}

function filtered() {
  pages = [null];
  history.replaceState(null, "", `?${new URLSearchParams(filters())}`.replace(/^\?$/, location.pathname) + location.hash);
  turned();
}

for (const [name, value] of new URLSearchParams(location.search)) {
  const field = at("filters").elements.namedItem(name);
  if (field && FILTERS.includes(name)) field.value = value;
}
let typing = 0;
at("filters").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(filtered, 250);
});
at("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  filtered();
});
at("filters").addEventListener("reset", () => setTimeout(filtered));
at("older").addEventListener("click", () => {
  pages.push(following);
  turned();
});
at("newer").addEventListener("click", () => {
  pages.pop();
  turned();
});
