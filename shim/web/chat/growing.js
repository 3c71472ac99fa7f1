// Markdown that grows on the screen. Rule: a finished block is made once; only the last, open one is made again, at most
// once a frame and for a quarter of the time; a block that is too large for that is shown as plain text.

import { el } from "./dom.js";

const WINDOW = 40_000;
const PLAIN_PIECE = 4000;
const REST = 3; // after rendering for t milliseconds it rests for this many times t

let markdown = null;
let coming = null;

/** Fetch what makes markdown into elements: half of the page's bytes, and of no use before there is an answer. */
export function prepareMarkdown() {
  coming ??= import("./markdown.js").then(
    (module) => (markdown = module),
    () => (coming = null), // It is asked for again with the next piece of text.
  );
  return coming;
}

export class Growing {
  /** `grown()` is told whenever the element may have another height. */
  constructor(grown = () => {}) {
    this.tail = el("div", { class: "tail" });
    this.element = el("div", { class: "prose" }, this.tail);
    this.grown = grown;
    this.reset("");
  }

  /** Show `text`, which begins with what was shown before (else it is begun anew). */
  show(text) {
    if (!text.startsWith(this.text.slice(0, 200)) || text.length < this.text.length) this.reset(text);
    if (text === this.text && this.shown === text.length) return;
    if (text !== this.text) this.ended = false;
    this.text = text;
    this.plan();
  }

  /** The text is whole: names of links may have been explained after they were used, so it is made once more. */
  finish() {
    this.ended = true;
    if (this.done > 0 && this.env.references && this.text.length < WINDOW) this.reset(this.text);
    this.plan();
  }

  reset(text) {
    Object.assign(this, { text, done: 0, shown: 0, env: {}, plain: false });
    this.element.replaceChildren(this.tail);
    this.tail.replaceChildren();
  }

  plan(rest = 0) {
    if (this.planned) return;
    if (!markdown) prepareMarkdown().then(() => markdown && this.begin());
    this.planned = true;
    const run = () => {
      this.planned = false;
      const began = performance.now();
      this.step();
      const cost = performance.now() - began;
      if (this.shown < this.text.length) this.plan(cost * REST);
      else this.quiet = began + cost * (REST + 1);
      this.grown();
    };
    const wait = Math.max(rest, (this.quiet ?? 0) - performance.now());
    // A hidden page has no frames.
    if (document.hidden || wait > 16) setTimeout(run, wait);
    else requestAnimationFrame(run);
  }

  // What stood here as plain text until markdown had come is made anew.
  begin() {
    this.reset(this.text);
    this.plan();
  }

  step() {
    if (this.plain || !markdown) return this.addPlain();
    const open = this.text.slice(this.done, this.done + WINDOW);
    const isAll = this.done + open.length === this.text.length;
    const blocks = markdown.blocksOf(open, this.env);
    if (blocks.length > 1) {
      const last = blocks.pop();
      this.tail.before(markdown.elementsOf(blocks, this.env, { whole: true }));
      this.done += lineStart(open, last.line);
      this.shown = this.done;
      if (isAll) this.showTail([last]);
    } else if (isAll && open.length < WINDOW) this.showTail(blocks);
    else this.bePlain();
    return undefined;
  }

  showTail(blocks) {
    this.tail.replaceChildren(markdown.elementsOf(blocks, this.env, { whole: this.ended }));
    this.shown = this.text.length;
  }

  bePlain() {
    this.plain = true;
    this.tail.replaceChildren();
    this.shown = this.done;
    this.addPlain();
  }

  // Pieces of their own, so that more of a line never moves what is there.
  addPlain() {
    for (let count = 0; count < 16 && this.shown < this.text.length; count += 1) {
      const piece = this.text.slice(this.shown, this.shown + PLAIN_PIECE);
      const last = this.tail.lastElementChild;
      if (last && last.textContent.length + piece.length <= PLAIN_PIECE) last.append(piece);
      else this.tail.append(el("div", { class: "plain", text: piece }));
      this.shown += piece.length;
    }
  }
}

function lineStart(text, line) {
  let at = 0;
  for (let count = 0; count < line; count += 1) at = text.indexOf("\n", at) + 1;
  return at;
}
