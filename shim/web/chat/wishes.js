// What a person asks of the account beside words: to search, to draw, to research, to keep nothing. Rule: offered only
// where an account answers; what costs much (a picture, research) is asked for once, and has to be asked for again.

import { at } from "./dom.js";
import { t } from "./texts.js";

const KINDS = ["", "search", "picture", "research"];
const KEPT = ["", "temporary", "kept"];
const NAMES = { search: "wish.searchHint", picture: "wish.pictureHint", research: "wish.researchHint" };
const LASTING = ["", "search"];
export const PROJECT = /^g-p-[\w-]{2,128}(?:\.[0-9a-f]{16}){0,8}$/; // Its id; as a name of the gateway's, with the account that has it.

/** No wish at all. `kind` and `keep` are "" or a word of the lists above. */
export const noWishes = () => ({ kind: "", keep: "", memory: true, project: "" });

/** Wishes from what was stored. */
export function readWishes(stored) {
  const project = typeof stored?.project === "string" && PROJECT.test(stored.project) ? stored.project : "";
  return {
    kind: KINDS.includes(stored?.kind) ? stored.kind : "",
    keep: KEPT.includes(stored?.keep) ? stored.keep : "",
    memory: stored?.memory !== false,
    project,
  };
}

/** The request's object `chatgpt`, or undefined where nothing is wished. */
export function chatgptOf({ kind, keep, memory, project }) {
  const asked = {};
  if (kind) asked.hints = [kind];
  if (keep || kind === "research") asked.temporary = kind === "research" ? false : keep === "temporary";
  if (!memory && !asked.temporary) asked.memory = false;
  if (project && !asked.temporary) asked.project = project;
  return Object.keys(asked).length ? asked : undefined;
}

/** The wishes that hold for the next message too. */
export const lasting = (wishes) => ({ ...wishes, kind: LASTING.includes(wishes.kind) ? wishes.kind : "" });

export class WishDialog {
  /** `current()` gives the wishes of the chat on the screen; `choose(wishes)` is told of others; `projects(field)` puts a
   * list of them in its place. */
  constructor({ current, choose, projects }) {
    Object.assign(this, { current, choose, projects });
    at("wishes-open").addEventListener("click", () => this.open());
    at("wishes-form").addEventListener("submit", (event) => this.take(event));
    at("wishes-no").addEventListener("click", () => at("wishes").close());
    at("wishes-form").addEventListener("change", () => this.fit());
  }

  /** Whether wishes can come true: without an account none can. */
  allow(allowed) {
    at("wishes-open").hidden = !allowed;
  }

  /** What is wished, beside the field. */
  show() {
    const { kind, keep, memory, project } = this.current();
    at("wishes-open").classList.toggle("on", Boolean(kind || keep || !memory || project));
    const wished = [kind && t(NAMES[kind]), keep === "temporary" ? t("wish.temporaryHint") : ""].filter(Boolean).join(" · ");
    at("hint").textContent = wished || t("write.hint");
    at("hint").classList.toggle("usual", !wished);
  }

  open() {
    const form = at("wishes-form").elements;
    const { kind, keep, memory, project } = this.current();
    form.kind.value = kind;
    form.keep.value = keep;
    form.keep.disabled = false;
    form.memory.checked = memory;
    // A list may not have it yet.
    if (form.project.options) form.project.append(Object.assign(document.createElement("option"), { value: project, text: project }));
    form.project.value = project;
    this.fit();
    this.projects(form.project);
    at("wishes").showModal();
  }

  // A temporary chat has no memory, no project and no research.
  fit() {
    const form = at("wishes-form").elements;
    const isResearch = form.kind.value === "research";
    if (isResearch && !form.keep.disabled) {
      this.before = form.keep.value;
      form.keep.value = "kept";
    }
    if (!isResearch && form.keep.disabled) form.keep.value = this.before;
    form.keep.disabled = isResearch;
    form.memory.disabled = form.project.disabled = form.keep.value === "temporary";
  }

  take(event) {
    event.preventDefault();
    const form = at("wishes-form").elements;
    const keep = form.kind.value === "research" ? this.before : form.keep.value;
    at("wishes").close();
    this.choose(readWishes({ kind: form.kind.value, keep, memory: form.memory.checked, project: form.project.value.trim() }));
  }
}
