// The keys that work everywhere on the page, and the list of them. Rule: a key alone does nothing while somebody writes.

import { at, el } from "./dom.js";
import { t } from "./texts.js";

const isWriting = () => /^(?:input|textarea|select)$/.test(document.activeElement?.localName ?? "");
const isAsked = () => Boolean(document.querySelector("dialog[open]"));

const KEYS = [
  { keys: "Ctrl+K", does: "keys.find", act: "find", fits: (event) => withControl(event) && event.key.toLowerCase() === "k" },
  { keys: "Ctrl+Shift+O", does: "keys.create", act: "create", fits: (event) => withControl(event) && event.shiftKey && event.key.toLowerCase() === "o" },
  { keys: "/", does: "keys.write", act: "write", fits: (event) => event.key === "/" && !withControl(event) && !isWriting() },
  { keys: "?", does: "keys.list", act: "list", fits: (event) => event.key === "?" && !isWriting() },
  { keys: "Esc", does: "keys.stop" },
  { keys: "Enter", does: "keys.send" },
  { keys: "Shift+Enter", does: "keys.line" },
];

const withControl = (event) => event.ctrlKey || event.metaKey;

/** Listen for them. `acts`: find(), create(), write(). */
export function prepareShortcuts(acts) {
  const all = { ...acts, list: showList };
  at("shortcuts-open").addEventListener("click", showList);
  at("shortcuts-close").addEventListener("click", () => at("shortcuts").close());
  document.addEventListener("keydown", (event) => {
    const found = KEYS.find(({ fits }) => fits?.(event));
    if (!found || isAsked() || event.isComposing) return;
    event.preventDefault();
    all[found.act]();
  });
}

function showList() {
  at("shortcut-list").replaceChildren(...KEYS.flatMap(({ keys, does }) => [el("dt", {}, el("kbd", { dir: "ltr", text: keys })), el("dd", { text: t(does) })]));
  at("shortcuts").showModal();
}
