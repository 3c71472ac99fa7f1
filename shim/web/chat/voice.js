// A message that is said. Rule: the words go into the field to be read and mended, never straight to the model; what was
// said is kept until it is written down or thrown away, so that a failure loses nothing.

import { reasonOf, release } from "./capture.js";
import { call } from "./client.js";
import { at, el } from "./dom.js";
import { lineFor, Refusal } from "./errors.js";
import { number, t } from "./texts.js";

const MOST_MS = 600_000;
const WARN_MS = 60_000;
const BITS = 32_000; // a second; speech needs no more, and ten minutes stay far below what upstream takes
const TYPES = [["audio/webm;codecs=opus", "webm"], ["audio/mp4", "m4a"], ["audio/ogg;codecs=opus", "ogg"]];
const MODEL = "whisper-1";
const REASONS = { denied: "voice.denied", missing: "voice.missing", taken: "voice.taken" };

export class Voice {
  constructor({ key, insert }) {
    Object.assign(this, { key, insert, stage: "" });
    this.words = el("span", { class: "words" });
    this.again = el("button", { type: "button", text: t("answer.retry"), on: { click: () => this.tryAgain() } });
    this.away = el("button", { type: "button", text: t("voice.discard"), on: { click: () => this.discard() } });
    this.bar = el("div", { class: "recording", role: "group", "aria-label": t("voice.name"), hidden: true }, el("i"), this.words, this.again, this.away);
    this.gone = new AbortController();
    at("composer").addEventListener("keydown", (event) => this.leave(event), { signal: this.gone.signal });
    document.querySelector("#composer .tools").before(this.bar);
  }

  get isBusy() {
    return Boolean(this.stage);
  }

  /** Begin to record; or end it, and have it written down. */
  toggle() {
    if (this.recorder) this.recorder.stop();
    else if (!this.stage || this.stage === "failed") this.begin();
  }

  async begin() {
    const { signal } = (this.attempt = new AbortController());
    this.sound = null;
    this.show("asking", t("voice.asking"));
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      if (signal.aborted) return release(stream);
      const sound = await this.recorded(stream, signal);
      if (sound) await this.writeDown(sound);
    } catch (failure) {
      if (!signal.aborted) this.fail(t(REASONS[reasonOf(failure)]));
    }
    return undefined;
  }

  /** What is said until it is stopped: a file, or null where it was thrown away. */
  recorded(stream, signal) {
    const [mimeType, ending] = TYPES.find(([type]) => MediaRecorder.isTypeSupported(type)) ?? ["", "webm"];
    const recorder = new MediaRecorder(stream, { ...(mimeType && { mimeType }), audioBitsPerSecond: BITS });
    const pieces = [];
    const began = Date.now();
    const tick = () => this.tick(Date.now() - began);
    const clock = setInterval(tick, 250);
    this.recorder = recorder;
    return new Promise((resolve, reject) => {
      const end = (settle) => {
        clearInterval(clock);
        release(stream);
        if (this.recorder === recorder) this.recorder = null;
        settle();
      };
      recorder.ondataavailable = ({ data }) => pieces.push(data);
      recorder.onstop = () => end(() => resolve(signal.aborted ? null : new File(pieces, `message.${ending}`, { type: recorder.mimeType })));
      recorder.onerror = ({ error }) => end(() => reject(error ?? new DOMException("", "NotReadableError")));
      signal.addEventListener("abort", () => end(() => resolve(null)));
      recorder.start();
      tick();
      at("announcer").textContent = t("voice.began");
    });
  }

  tick(spent) {
    const left = MOST_MS - spent;
    if (left <= 0) return this.recorder.stop();
    return this.show("recording", t(left < WARN_MS ? "voice.ending" : "voice.recording", { time: clockName(spent), left: clockName(left + 999) }));
  }

  async writeDown(sound) {
    const { signal } = this.attempt;
    this.sound = sound;
    this.show("writing", t("voice.writing"));
    try {
      const form = new FormData();
      form.append("model", MODEL);
      form.append("file", sound);
      const { text } = await (await call("v1/audio/transcriptions", { key: this.key(), signal, body: form })).json();
      const words = String(text ?? "").trim();
      if (!words) return this.fail(t("voice.silent"));
      this.sound = null;
      this.show("", "");
      return this.insert(words);
    } catch (failure) {
      if (signal.aborted) return undefined;
      const why = failure instanceof Refusal ? lineFor(failure) : failure.message;
      return this.fail(t("voice.failed", { why }));
    }
  }

  tryAgain() {
    const { sound } = this;
    this.attempt = new AbortController();
    return sound ? this.writeDown(sound) : this.begin();
  }

  discard() {
    this.attempt.abort();
    this.sound = null;
    this.show("", "");
    at("say").focus();
  }

  remove() {
    this.bar.remove();
    this.gone.abort();
  }

  leave(event) {
    if (event.key !== "Escape" || !this.stage) return;
    event.stopPropagation(); // It would stop an answer.
    this.discard();
  }

  fail(text) {
    this.show("failed", text);
    at("announcer").textContent = text;
  }

  show(stage, text) {
    const hadFocus = this.bar.contains(document.activeElement);
    this.stage = stage;
    this.bar.hidden = !stage;
    this.bar.dataset.stage = stage;
    this.words.textContent = text;
    this.again.hidden = stage !== "failed";
    const label = t(stage === "recording" ? "voice.stop" : "voice.say");
    Object.assign(at("say"), { title: label, ariaLabel: label });
    at("say").querySelector("use").setAttribute("href", stage === "recording" ? "#i-stop" : "#i-microphone");
    at("say").classList.toggle("on", stage === "recording");
    if (stage && hadFocus && !this.bar.contains(document.activeElement)) this.away.focus();
  }
}

const clockName = (milliseconds) => `${number(Math.floor(milliseconds / 60_000))}:${number(Math.floor(milliseconds / 1000) % 60, { minimumIntegerDigits: 2 })}`;
