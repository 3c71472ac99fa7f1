// Searching in all chats of this browser. Rule: titles are found at once, words in messages as the chats are read; a newer
// search ends the one before.

import { at, el } from "./dom.js";

const MOST = 40;
const AROUND = 50;

export class Finder {
  /** `heads()` lists the chats, `load(id)` reads one, `open(id)` shows it. */
  constructor({ heads, load, open }) {
    Object.assign(this, { heads, load, onOpen: open, search: 0 });
    at("find").addEventListener("click", () => this.open());
    at("find-close").addEventListener("click", () => at("finder").close());
    at("find-words").addEventListener("input", () => this.run());
    at("finder").addEventListener("keydown", (event) => this.key(event));
  }

  open() {
    if (document.querySelector("dialog[open]")) return;
    at("find-words").value = "";
    at("finder").showModal();
    at("find-words").focus();
    this.run();
  }

  async run() {
    const search = ++this.search;
    const words = at("find-words").value.toLowerCase().trim();
    at("found").replaceChildren();
    at("none-found").hidden = true;
    for (const head of this.heads()) {
      const part = head.title.toLowerCase().includes(words) ? "" : partWith(await this.load(head.id), words);
      if (search !== this.search) return;
      if (part !== null) at("found").append(this.row(head, part));
      if (at("found").children.length === MOST) break;
    }
    at("none-found").hidden = at("found").children.length > 0;
  }

  row(head, part) {
    const go = () => {
      at("finder").close();
      this.onOpen(head.id);
    };
    return el("li", {}, el("button", { type: "button", class: "pick", on: { click: go } }, el("span", { class: "name", dir: "auto", text: head.title }), part ? el("span", { class: "about", dir: "auto", text: part }) : null));
  }

  key(event) {
    const buttons = [...at("found").querySelectorAll("button")];
    if (event.key === "Enter" && event.target === at("find-words")) {
      event.preventDefault();
      buttons[0]?.click();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    (buttons[buttons.indexOf(document.activeElement) + step] ?? at("find-words")).focus();
  }
}

// What stands around the words where they are first found, or null.
function partWith(chat, words) {
  for (const { text } of chat?.messages ?? []) {
    const place = text.toLowerCase().indexOf(words);
    if (place >= 0) return text.slice(Math.max(0, place - AROUND), place + words.length + AROUND).replace(/\s+/g, " ");
  }
  return null;
}
