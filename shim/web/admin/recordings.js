// Recordings of calls to come: ordered from a line of the log or by hand, and saved as files.
import { ask, at, leaves, make, put, Refusal } from "./session.js";

const POLL_MS = 3000;
const FIELDS = ["key", "account", "model", "api"];

let timer = 0;
let asked = 0;
let seen = ""; // what the list was last made of, so that nobody loses the focus for nothing

export function open() {
  refresh();
}

export function close() {
  clearTimeout(timer);
  asked += 1;
  seen = "";
  at("order").close();
  at("orders").replaceChildren();
}

// The next calls like this one of the log.
export function propose(call = {}) {
  const form = at("order-form");
  form.reset();
  for (const name of FIELDS) form.elements.namedItem(name).value = call[name] ?? "";
  put(at("order-problem"), "");
  at("order").showModal();
  form.elements.namedItem("key").focus();
}

async function refresh() {
  clearTimeout(timer);
  const mine = ++asked;
  try {
    const told = await ask("GET", "api/recordings");
    if (mine !== asked) return;
    show(told.orders);
    say("");
  } catch (refusal) {
    if (mine !== asked || leaves(refusal)) return;
    say(refusal.message);
  }
  timer = setTimeout(tick, POLL_MS);
}

function tick() {
  if (document.hidden) timer = setTimeout(tick, POLL_MS);
  else refresh();
}

function say(text) {
  at("recordings-message").hidden = !text;
  put(at("recordings-message"), text);
}

function show(orders) {
  at("orders-empty").hidden = orders.length > 0;
  const now = JSON.stringify(orders);
  if (now === seen) return;
  seen = now;
  at("orders").replaceChildren(...orders.map(orderOf));
}

function orderOf({ order, standing, recordings }) {
  const count = order.count ?? 1;
  const fields = FIELDS.filter((name) => order[name]).map((name) => `${name} ${order[name]}`);
  const what = [...fields, ...(order.failed ? ["failed"] : [])].join(", ") || "any call";
  const until = new Date(order.until * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const so = `${recordings.length} of ${count} recorded`;
  const forget = make("button", { text: standing ? "Stop and forget" : "Forget", type: "button", className: "danger" });
  forget.setAttribute("aria-label", `${forget.textContent} the recording of ${what}`);
  forget.addEventListener("click", () => drop(order.id));
  return make(
    "li", {}, make("strong", { text: what }), make("span", { text: standing ? `until ${until}, ${so}` : `over, ${so}`, className: "told" }),
    make("span", { className: "actions" }, forget), make("ul", {}, ...recordings.map((one) => fileOf(order, one))),
  );
}

function fileOf(order, { call, interactions, left_out: leftOut }) {
  const href = `api/recordings/${encodeURIComponent(order.id)}/${encodeURIComponent(call.id)}`;
  const link = make("a", { text: `Save the cassette of ${call.id}`, href, download: `${call.id}.json` });
  const told = ` ${call.status}, calls upstream: ${interactions}${leftOut ? `, and ${leftOut} that were too large` : ""}`;
  return make("li", {}, link, make("span", { text: told, className: "told" }));
}

async function drop(id) {
  try {
    await ask("DELETE", `api/recordings/${encodeURIComponent(id)}`);
  } catch (refusal) {
    if (!leaves(refusal)) say(refusal.message);
  }
  refresh();
}

async function order(event) {
  event.preventDefault();
  const given = new FormData(at("order-form"));
  const wanted = { count: Number(given.get("count")), minutes: Number(given.get("minutes")) };
  for (const name of FIELDS) if (given.get(name).trim()) wanted[name] = given.get(name).trim();
  if (given.get("failed")) wanted.failed = true;
  try {
    await ask("POST", "api/recordings", wanted);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (refusal.status !== 401 || !leaves(refusal)) put(at("order-problem"), refusal.message);
    return;
  }
  at("order").close();
  at("recordings").scrollIntoView();
  refresh();
}

at("record").addEventListener("click", () => propose());
at("order-form").addEventListener("submit", order);
at("order-no").addEventListener("click", () => at("order").close());
