// A picture, seen whole: kept as a file, or sent back to be changed. Rule: it is opened by a click on any picture of the
// conversation, and shows only what is on the page already.

import { at, el } from "./dom.js";

export class Lightbox {
  /** `change(file)` takes a picture to be changed. */
  constructor({ change }) {
    this.change = change;
    at("thread").addEventListener("click", (event) => this.consider(event.target));
    at("thread").addEventListener("keydown", (event) => event.key === "Enter" && this.consider(event.target));
    at("picture-close").addEventListener("click", () => at("picture").close());
    at("picture-change").addEventListener("click", () => this.take());
    at("picture-save").addEventListener("click", () => this.save());
  }

  consider(target) {
    if (target.localName !== "img" || !target.naturalWidth) return;
    at("picture-whole").src = target.src;
    at("picture-whole").alt = target.alt;
    at("picture").showModal();
  }

  save() {
    const { src, alt } = at("picture-whole");
    el("a", { href: src, download: alt.replace(/[^\p{L}\p{N} ._-]+/gu, "").slice(0, 60) || "picture" }).click();
  }

  async take() {
    const { src, alt } = at("picture-whole");
    at("picture").close();
    const body = await (await fetch(src)).blob();
    this.change(new File([body], alt || "picture.png", { type: body.type }));
  }
}
