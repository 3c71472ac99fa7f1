// The answers that are being written, at most one for each chat, whether it is on the screen or not.
// Rule: whatever ends an answer, what had arrived stays in it.

import { newAnswer } from "./chats.js";
import { requestOf, streamAnswer } from "./client.js";
import { Refusal } from "./errors.js";

const SAVE_MS = 3000;

export class Turns {
  /** `key()` gives the API key; `changed(chat, answer)` is told of everything that arrives; `save(chat)` keeps it. */
  constructor({ key, changed, save }) {
    Object.assign(this, { key, changed, save });
    this.running = new Map();
  }

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

  /** Keep all of them as far as they have come: the page may be gone in a moment. `leaving`: it is going now, and what
   * breaks off then was not the server's doing. */
  keep(leaving = false) {
    this.leaving = leaving;
    for (const { chat } of this.running.values()) this.save(chat);
  }

  /** Have the last question of `chat` answered. */
  start(chat) {
    const request = requestOf(chat);
    const answer = newAnswer(chat.model);
    chat.messages.push(answer);
    return this.run(chat, answer, request);
  }

  /** Have the last answer of `chat` continued where it ends. */
  goOn(chat) {
    const answer = chat.messages.at(-1);
    const request = requestOf(chat, true);
    Object.assign(answer, { state: "streaming", finish: "", error: null });
    return this.run(chat, answer, request);
  }

  async run(chat, answer, request) {
    const controller = new AbortController();
    this.running.set(chat.id, { chat, controller });
    chat.updated = Date.now();
    this.save(chat);
    this.changed(chat, answer);
    try {
      await this.follow(chat, answer, request, controller.signal);
      answer.state = "done";
    } catch (failure) {
      if (this.leaving) return;
      if (failure.name !== "AbortError" && !(failure instanceof Refusal)) throw failure;
      settle(answer, failure);
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
    for await (const delta of streamAnswer(request, { key: this.key(), signal })) {
      if (!answer.text && answer.reasoning && delta.text) answer.thought = Date.now() - began;
      answer.text += delta.text;
      answer.reasoning += delta.reasoning;
      for (const citation of delta.citations) cite(answer, citation);
      answer.took = Date.now() - began;
      if (delta.finish) answer.finish = delta.finish;
      if (delta.by) answer.by = { slug: String(delta.by.slug ?? ""), effort: String(delta.by.effort ?? "") };
      if (delta.tokens) answer.tokens = told + delta.tokens;
      this.changed(chat, answer);
      if (Date.now() - saved < SAVE_MS) continue;
      saved = Date.now();
      this.save(chat);
    }
  }
}

function settle(answer, failure) {
  answer.state = failure.name === "AbortError" ? "stopped" : "failed";
  if (answer.state === "stopped") return;
  const { status, code, message, retryAfter } = failure;
  answer.error = { status, code, message };
  answer.retryAt = retryAfter === null ? null : Date.now() + retryAfter * 1000;
}

function cite(answer, { url, title }) {
  if (!answer.citations.some((citation) => citation.url === url)) answer.citations.push({ url, title: title || url });
}
