// Prompts that are used again: kept in this browser, put into the field by a click. Rule: what is stored is text and
// nothing else; a list that can't be read is an empty one.

import { at, el, iconButton } from "./dom.js";
import { follow, recall, remember } from "./store.js";
import { t } from "./texts.js";

const MOST = 200;
const NAME_CHARACTERS = 70;

export class PromptLibrary {
  /** `text()` is what stands in the field, `insert(text)` puts something there, `tell(text)` shows a notice. */
  constructor({ text, insert, tell }) {
    Object.assign(this, { text, insert, tell, prompts: readPrompts(recall("prompts")) });
    follow("prompts", () => {
      this.prompts = readPrompts(recall("prompts"));
      this.list();
    });
    at("prompts-open").addEventListener("click", () => this.open());
    at("prompts-close").addEventListener("click", () => at("prompts").close());
    at("prompt-keep").addEventListener("click", () => this.keep());
  }

  open() {
    this.list();
    at("prompts").showModal();
  }

  list() {
    at("prompt-list").replaceChildren(...this.prompts.map((prompt) => this.row(prompt)));
    at("no-prompts").hidden = this.prompts.length > 0;
    at("prompt-keep").disabled = !this.text().trim() || this.prompts.includes(this.text().trim()) || this.prompts.length >= MOST;
  }

  row(prompt) {
    const name = prompt.replace(/\s+/g, " ").slice(0, NAME_CHARACTERS);
    const use = () => {
      at("prompts").close();
      this.insert(prompt);
    };
    return el("li", { class: "kept" }, el("button", { type: "button", class: "pick", dir: "auto", text: name, on: { click: use } }), iconButton("delete", t("prompt.forget", { name }), () => this.change(this.prompts.filter((other) => other !== prompt))));
  }

  keep() {
    this.change([this.text().trim(), ...this.prompts]);
  }

  change(prompts) {
    this.prompts = prompts;
    if (!remember("prompts", prompts.length ? JSON.stringify(prompts) : "")) this.tell(t("kept.full"));
    this.list();
    at("prompts-close").focus();
  }
}

function readPrompts(stored) {
  try {
    const read = JSON.parse(stored || "[]");
    return Array.isArray(read) ? [...new Set(read.filter((prompt) => typeof prompt === "string" && prompt))].slice(0, MOST) : [];
  } catch {
    return [];
  }
}
