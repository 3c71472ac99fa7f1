// Asking the admin API, and being logged in to it. Rule: what comes from the server becomes text, never markup.

const USE_MS = 60_000;

export const at = (id) => document.getElementById(id);

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(name, { text, ...facts } = {}, ...inside) {
  const element = Object.assign(document.createElement(name), facts);
  if (text !== undefined) element.textContent = text;
  element.append(...inside);
  return element;
}

export class Refusal extends Error {
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let csrf = null;
let used = Date.now();
let comeIn = () => {};
let goOut = () => {};

// `path` is below that of the pages, wherever a prefix or a proxy has that.
export async function ask(method, path, body) {
  const headers = {};
  if (csrf) headers["x-chat2api-csrf"] = csrf;
  if (body !== undefined) headers["content-type"] = "application/json";
  const options = { method, headers, credentials: "same-origin", cache: "no-store", redirect: "error" };
  if (body !== undefined) options.body = JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(new URL(`../${path}`, import.meta.url), options);
  } catch {
    throw new Refusal(0, "The gateway can't be reached.");
  }
  const told = await answer.json().catch(() => ({}));
  if (answer.ok) return told;
  throw new Refusal(answer.status, told.error?.message ?? `The gateway answered ${answer.status}.`, told.error?.code);
}

// Whether it was said because nobody is logged in (any more): then that is what the page shows.
export function leaves(refusal) {
  if (!(refusal instanceof Refusal)) throw refusal;
  if (refusal.status !== 401) return false;
  showLogin("Your log-in is over: log in again.");
  return true;
}

// The page's `#login` and `#app`: one of them is shown. `inside` is called with the session when the app is, `outside`
// when the log-in.
export async function enter(inside, outside) {
  [comeIn, goOut] = [inside, outside];
  at("login-form").addEventListener("submit", logIn);
  at("log-out").addEventListener("click", logOut);
  for (const kind of ["click", "keydown"]) document.addEventListener(kind, noteUse, { passive: true });
  await begin();
}

async function begin() {
  try {
    const session = await ask("GET", "session");
    at("to-chat").hidden = !session.chat_page;
    session.signed_in ? showApp(session) : showLogin();
  } catch (refusal) {
    showAway(refusal);
    setTimeout(begin, 2000);
  }
}

function showAway(refusal) {
  if (!(refusal instanceof Refusal)) throw refusal;
  put(at("away"), refusal.message);
  at("away").hidden = false;
}

function showApp(session) {
  csrf = session.csrf;
  at("away").hidden = true;
  at("login").hidden = true;
  at("app").hidden = false;
  at("log-out").hidden = session.access !== "key";
  comeIn(session);
}

function showLogin(why = "") {
  const first = at("login").hidden;
  csrf = null;
  at("away").hidden = true;
  at("app").hidden = true;
  at("log-out").hidden = true;
  at("login").hidden = false;
  put(at("login-error"), why);
  goOut();
  if (first) at("key").focus();
}

async function logIn(event) {
  event.preventDefault();
  const key = at("key");
  put(at("login-error"), "");
  try {
    const session = await ask("POST", "login", { key: key.value });
    key.value = "";
    showApp(session);
    at("app").querySelector("button, select, input")?.focus();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    put(at("login-error"), refusal.message);
    key.select();
  }
}

async function logOut() {
  try {
    await ask("POST", "logout");
  } catch (refusal) {
    // Who still is logged in has to see it.
    if (refusal.status !== 401) return showAway(refusal);
  }
  showLogin();
}

// Watching is no use of a session; what a person does is, and once a minute the server is told.
function noteUse() {
  if (!csrf || Date.now() - used < USE_MS) return;
  used = Date.now();
  ask("GET", "session").then((session) => { csrf = session.csrf; }, () => {});
}
