// The answers that are being written, at most one for each chat, whether it is on the screen or not.
// Rule: whatever ends an answer, what had arrived stays in it.

import { askInBackground, endJob, followJob } from "./background.js";
import { newAnswer } from "./chats.js";
import { requestOf, streamAnswer } from "./client.js";
import { Refusal } from "./errors.js";

const SAVE_MS = 3000;
const PAUSES_MS = [500, 1500, 4000]; // before a broken connection is made again
const BROKEN = ["cut", "unreachable"];

export class Turns {
  /** `key()` gives the API key; `changed(chat, answer)` is told of everything that arrives; `save(chat, {hasten, anew})` keeps it. */
  constructor({ key, changed, save }) {
    Object.assign(this, { key, changed, save });
    this.running = new Map();
  }

  /** Whether the page is being left: what breaks off then was not the server's doing. */
  leaving = false;

  isRunning(chat) {
    return this.running.has(chat.id);
  }

  /** The chat as it is being written, which is newer than what is stored. */
  chat(id) {
    return this.running.get(id)?.chat ?? null;
  }

  stop(chat) {
    this.running.get(chat.id)?.controller.abort();
  }

  /** Keep all of them as far as they have come: the page may be gone in a moment. */
  keep() {
    for (const { chat } of this.running.values()) this.save(chat, { hasten: true });
  }

  /** Have the last question of `chat` answered. */
  start(chat) {
    const request = requestOf(chat);
    const answer = newAnswer(chat.model, chat.wishes.kind === "research" ? Date.now() : 0);
    chat.messages.push(answer);
    return this.run(chat, answer, request);
  }

  /** Have the last answer of `chat` continued where it ends. */
  goOn(chat) {
    const answer = chat.messages.at(-1);
    const request = requestOf(chat, true);
    Object.assign(answer, { state: "streaming", finish: "", error: null, job: null, from: answer.text.length });
    return this.run(chat, answer, request);
  }

  /** Take up an answer that the gateway went on with while this page was away; whether there is one. */
  resume(chat) {
    const answer = chat.messages.at(-1);
    if (answer?.state === "streaming" && !this.isRunning(chat)) settle(answer, new Refusal({ code: "closed" })); // The page was put away, and is back.
    if (!answer?.job || answer.state !== "failed" || this.isRunning(chat)) return false;
    Object.assign(answer, { state: "streaming", error: null });
    this.run(chat, answer, null);
    return true;
  }

  async run(chat, answer, request) {
    const controller = new AbortController();
    this.running.set(chat.id, { chat, controller });
    chat.updated = Date.now();
    this.save(chat, { anew: Boolean(request) }); // Whoever asks goes on with it, also where another tab has deleted it.
    this.changed(chat, answer);
    try {
      await this.follow(chat, answer, request, controller.signal);
      answer.state = "done";
    } catch (failure) {
      if (this.leaving) return;
      if (answer.job && failure.name === "AbortError") endJob(answer.job, { key: this.key(), isOver: false });
      const isKnown = failure.name === "AbortError" || failure instanceof Refusal;
      settle(answer, isKnown ? failure : new Refusal({ code: "not_an_answer" })); // Of no answer one waits for ever.
      if (!isKnown) throw failure;
    } finally {
      this.running.delete(chat.id);
      this.save(chat);
      this.changed(chat, answer);
    }
  }

  async follow(chat, answer, request, signal) {
    let saved = Date.now();
    const began = saved - answer.took;
    const told = answer.tokens;
    for await (const delta of this.deltas(answer, request, signal)) {
      if (delta.job) answer.job = delta.job;
      if (delta.opens && answer.reasoning) answer.reasoning += "\n\n";
      if (delta.whole) complete(answer, delta);
      if (!answer.text && answer.reasoning && delta.text) answer.thought = Date.now() - began;
      answer.text += delta.text;
      answer.reasoning += delta.reasoning;
      for (const citation of delta.citations) cite(answer, citation);
      answer.took = Date.now() - (answer.research || began);
      if (delta.finish) answer.finish = delta.finish;
      if (delta.by) answer.by = { slug: String(delta.by.slug ?? ""), effort: String(delta.by.effort ?? "") };
      if (delta.tokens) answer.tokens = told + delta.tokens;
      this.changed(chat, answer);
      if (delta.over) {
        endJob(answer.job, { key: this.key(), isOver: true });
        answer.job = null;
      }
      if (Date.now() - saved < SAVE_MS) continue;
      saved = Date.now();
      this.save(chat);
    }
  }

  // In the background where the gateway can: then a broken connection is made again, and nothing is lost.
  async *deltas(answer, request, signal) {
    const options = { key: this.key(), signal };
    if (request) {
      const asked = await askInBackground(request, options);
      if (!asked) return yield* streamAnswer(request, options);
      try {
        return yield* asked;
      } catch (failure) {
        if (!BROKEN.includes(failure.code) || !answer.job || this.leaving) throw failure;
      }
    }
    for (let tries = 0; ; tries += 1) {
      try {
        return yield* followJob(answer.job, options);
      } catch (failure) {
        if (failure.status === 404) {
          answer.job = null;
          throw new Refusal({ code: "closed" });
        }
        if (!BROKEN.includes(failure.code) || tries === PAUSES_MS.length || this.leaving) throw failure;
      }
      await pause(PAUSES_MS[tries], signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

// What a failed answer has at the gateway may be a second old.
function complete(answer, { whole, finish }) {
  const text = answer.text.slice(0, answer.from) + whole;
  if (finish || text.length > answer.text.length) answer.text = text;
}

function settle(answer, failure) {
  answer.state = failure.name === "AbortError" ? "stopped" : "failed";
  if (answer.state === "stopped") return;
  const { status, code, message, retryAfter } = failure;
  // In the background there are few codes; with a report there would be text.
  const isUnreported = answer.research && !answer.text && code === "server_error";
  answer.error = { status, code: isUnreported ? "research_failed" : code, message };
  answer.retryAt = retryAfter === null ? null : Date.now() + retryAfter * 1000;
}

function cite(answer, { url, title }) {
  if (typeof url !== "string" || answer.citations.some((citation) => citation.url === url)) return;
  answer.citations.push({ url, title: (typeof title === "string" && title) || url });
}
