// An answer read aloud, in a voice of ChatGPT's. Rule: one at a time; it is offered where an account answers, as reading
// needs one.

import { call } from "./client.js";
import { Refusal } from "./errors.js";
import { t } from "./texts.js";

const MOST_CHARACTERS = 4096;
// What is marked is read, its marks are not.
const MARKS = /```[\s\S]*?```|[*_#`>|~]+|\]\([^)]*\)|[[\]]/g;

export class Speech {
  allowed = false;

  /** `key()` gives the API key; `changed(message)` is told which message is being read, or null; `tell(text)` shows what went wrong. */
  constructor({ key, changed, tell }) {
    Object.assign(this, { key, changed, tell, reading: null });
  }

  /** Read this message, or stop reading it. */
  async toggle(message) {
    const wasRead = this.reading === message;
    this.stop();
    if (wasRead) return;
    this.reading = message;
    this.controller = new AbortController();
    this.changed(message);
    try {
      await this.read(message, this.controller.signal);
    } catch (failure) {
      if (failure.name === "AbortError") return;
      this.tell(failure instanceof Refusal ? t("speech.refused", { message: failure.message }) : t("speech.unplayable"));
      this.stop();
    }
  }

  async read({ text }, signal) {
    const input = text.replace(MARKS, " ").replace(/\s+/g, " ").trim().slice(0, MOST_CHARACTERS) || t("speech.nothing");
    const body = { model: "tts-1", voice: "cove", input, response_format: "mp3" };
    const sound = await (await call("v1/audio/speech", { key: this.key(), signal, body })).blob();
    if (signal.aborted) return;
    this.url = URL.createObjectURL(sound);
    this.audio = new Audio(this.url);
    this.audio.addEventListener("ended", () => this.stop());
    await this.audio.play();
  }

  stop() {
    this.controller?.abort();
    this.audio?.pause();
    if (this.url) URL.revokeObjectURL(this.url);
    Object.assign(this, { reading: null, audio: null, url: "" });
    this.changed(null);
  }
}
