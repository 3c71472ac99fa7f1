// A picture, seen whole: kept as a file, or sent back to be changed. Rule: it is opened by a click on any picture of the
// conversation, and shows only what is on the page already.

import { at, el } from "./dom.js";
import { t } from "./texts.js";

export class Lightbox {
  /** `change(file)` takes a picture to be changed; `tell(text)` shows what went wrong. */
  constructor({ change, tell }) {
    Object.assign(this, { change, tell });
    at("thread").addEventListener("click", (event) => this.consider(event.target));
    at("thread").addEventListener("keydown", (event) => event.key === "Enter" && this.consider(event.target) && event.preventDefault());
    at("picture-close").addEventListener("click", () => at("picture").close());
    at("picture-change").addEventListener("click", () => this.take());
    at("picture-save").addEventListener("click", () => this.save());
  }

  consider(target) {
    if (target.localName !== "img" || !target.naturalWidth) return false;
    at("picture-whole").src = target.src;
    at("picture-whole").alt = target.alt;
    at("picture-change").hidden = target.src.startsWith("data:image/svg"); // which is a drawing, not a picture that ChatGPT takes
    at("picture").showModal();
    return true; // The key that opened it must not press the button that has the focus now.
  }

  save() {
    const { src, alt } = at("picture-whole");
    el("a", { href: src, download: alt.replace(/[^\p{L}\p{N} ._-]+/gu, "").slice(0, 60) || "picture" }).click();
  }

  async take() {
    const { src, alt } = at("picture-whole");
    at("picture").close();
    const body = await bytesOf(src).catch(() => null);
    if (body) this.change(new File([body], alt || "picture.png", { type: body.type }));
    else this.tell(t("picture.gone"));
  }
}

// What is in the address itself can't be fetched: the page's policy lets it ask its own server only.
async function bytesOf(address) {
  const [, type, data] = /^data:([^;,]+);base64,(.*)$/s.exec(address) ?? [];
  if (type) return new Blob([Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0))], { type });
  const answer = await fetch(address);
  if (!answer.ok) throw new Error("the link has ended");
  return answer.blob();
}
