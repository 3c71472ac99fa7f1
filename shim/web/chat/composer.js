// Where a message is written. Rule: nothing typed or attached is lost by an error; it leaves the field when it is sent.

import { attachmentView, readFiles } from "./attachments.js";
import { at } from "./dom.js";
import { t } from "./texts.js";

const DRAFT_CHARACTERS = 100_000;

export class Composer {
  /** `send(text, attachments)`, `holds()`: whether it has to wait, `stop()`, `enterKey()`, and `used()`: the bytes of attachments the chat has already. */
  constructor({ send, holds, stop, used, enterKey }) {
    Object.assign(this, { onSend: send, holds, used });
    this.takesFiles = true;
    this.attached = [];
    this.reads = { left: 0, last: Promise.resolve() }; // files that are still being read
    this.busy = false;
    this.form = at("composer");
    this.field = at("text");
    this.form.addEventListener("submit", (event) => this.submit(event));
    this.field.addEventListener("input", () => this.refresh());
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("paste", (event) => this.paste(event));
    at("stop").addEventListener("click", stop);
    at("attach").addEventListener("click", () => at("files").click());
    at("files").addEventListener("change", () => this.chosen());
    at("need-key").addEventListener("click", enterKey);
    this.prepareDrop();
  }

  /** Whether files can be sent: without an account nothing could be done with them. */
  allowFiles(allowed) {
    if (allowed && !this.takesFiles) this.say("");
    this.takesFiles = allowed;
    at("attach").hidden = !allowed;
    at("need-key").hidden = allowed;
  }

  setBusy(busy) {
    const focused = document.activeElement === at("stop") || document.activeElement === at("send");
    this.busy = busy;
    at("send").hidden = busy;
    at("stop").hidden = !busy;
    this.refresh();
    if (focused) this.focus();
  }

  focus() {
    this.field.focus({ preventScroll: true });
  }

  clear() {
    this.field.value = "";
    this.attached = [];
    this.reads = { left: 0, last: Promise.resolve() };
    this.say("");
    this.showAttached();
  }

  /** Put a text where the cursor is. */
  insert(text) {
    this.field.setRangeText(text, this.field.selectionStart, this.field.selectionEnd, "end");
    this.refresh();
    this.focus();
  }

  /** Put words where the cursor is, apart from what stands before them. */
  add(words) {
    const before = this.field.value.slice(0, this.field.selectionStart);
    this.insert(/\S$/.test(before) ? ` ${words}` : words);
  }

  say(trouble) {
    at("trouble").textContent = trouble;
  }

  refresh() {
    const { field } = this;
    if (field.value.length < DRAFT_CHARACTERS) {
      field.style.height = "auto";
      field.style.height = `${field.scrollHeight}px`;
    }
    at("send").disabled = this.busy || this.reads.left > 0 || !(field.value.trim() || this.attached.length);
  }

  key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.form.requestSubmit();
  }

  submit(event) {
    event.preventDefault();
    const text = this.field.value.trim();
    if (this.busy || this.reads.left || !(text || this.attached.length) || this.holds()) return;
    const { attached } = this;
    this.clear();
    this.onSend(text, attached);
  }

  paste(event) {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    this.attach(files);
  }

  chosen() {
    this.attach([...at("files").files]);
    at("files").value = "";
    this.focus();
  }

  prepareDrop() {
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    const mark = (on) => this.form.classList.toggle("dragging", on);
    document.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      mark(true);
    });
    document.addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
    document.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      mark(false);
      this.attach([...event.dataTransfer.files]);
    });
  }

  async attach(files) {
    if (!this.takesFiles) return this.say(t("attach.needsAccount"));
    const { reads } = this;
    reads.left += files.length;
    this.say(t("attach.reading", { count: reads.left }));
    this.refresh();
    // One after the other, as the room that is left depends on those before.
    reads.last = reads.last.then(() => this.take(files, reads));
    return reads.last;
  }

  async take(files, reads) {
    const { taken, refused } = await readFiles(files, this.attached.reduce((sum, { size }) => sum + size, this.used()));
    if (reads !== this.reads) return; // They were for another chat.
    reads.left -= files.length;
    this.attached.push(...taken);
    if (!reads.left || refused.length) this.say(refused.join(" "));
    this.showAttached();
  }

  showAttached() {
    const remove = (attachment) => {
      this.attached = this.attached.filter((other) => other !== attachment);
      this.say("");
      this.showAttached();
      this.focus();
    };
    at("attachments").replaceChildren(...this.attached.map((attachment) => attachmentView(attachment, () => remove(attachment))));
    at("attachments").hidden = !this.attached.length;
    this.refresh();
  }
}
