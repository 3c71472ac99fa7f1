// The keys that work everywhere on the page, and the list of them. Rule: a key alone does nothing while somebody writes.

import { at, el } from "./dom.js";

const isWriting = () => /^(?:input|textarea|select)$/.test(document.activeElement?.localName ?? "");
const isAsked = () => Boolean(document.querySelector("dialog[open]"));

const KEYS = [
  { keys: "Ctrl+K", does: "Search in the chats", act: "find", fits: (event) => withControl(event) && event.key.toLowerCase() === "k" },
  { keys: "Ctrl+Shift+O", does: "Begin a new chat", act: "create", fits: (event) => withControl(event) && event.shiftKey && event.key.toLowerCase() === "o" },
  { keys: "/", does: "Go to the message field", act: "write", fits: (event) => event.key === "/" && !withControl(event) && !isWriting() },
  { keys: "?", does: "Show this list", act: "list", fits: (event) => event.key === "?" && !isWriting() },
  { keys: "Esc", does: "Stop the answer" },
  { keys: "Enter", does: "Send the message" },
  { keys: "Shift+Enter", does: "Begin a new line" },
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
  at("shortcut-list").replaceChildren(...KEYS.flatMap(({ keys, does }) => [el("dt", {}, el("kbd", { text: keys })), el("dd", { text: does })]));
  at("shortcuts").showModal();
}
