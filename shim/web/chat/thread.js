// The messages of the chat on the screen. Rule: it follows the end while the reader is there, and never pulls them back.

import { at } from "./dom.js";
import { Answer, Question } from "./message.js";
import { versionsOf } from "./versions.js";

const NEAR = 60;

export class Thread {
  constructor(acts) {
    this.scroller = at("scroller");
    this.acts = { ...acts, grown: () => this.follow() };
    this.views = new Map();
    this.follows = true;
    this.scroller.addEventListener("scroll", () => this.notice(), { passive: true });
    at("to-end").addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(at("thread")); // Pictures and diagrams come later than their messages.
  }

  /** Show this chat; views of messages that stay are kept. A message that was read from the store again is another one. */
  show(chat, busy) {
    const before = this.views;
    const viewOf = (message) => (before.get(message.id)?.message === message ? before.get(message.id) : this.make(message));
    this.views = new Map(chat.messages.map((message) => [message.id, viewOf(message)]));
    at("thread").replaceChildren(...[...this.views.values()].map((view) => view.element));
    at("welcome").hidden = chat.messages.length > 0;
    this.update(chat, busy);
  }

  /** The next time it is shown, all of it is made anew. */
  forget() {
    this.views.clear();
  }

  make(message) {
    return message.role === "user" ? new Question(message, this.acts) : new Answer(message, this.acts);
  }

  /** Some message of the chat has changed. */
  update(chat, busy) {
    const last = chat.messages.at(-1);
    for (const [id, view] of this.views) view.update({ busy, isLast: id === last?.id, versions: versionsOf(chat, view.message) });
    this.follow();
  }

  notice() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    at("to-end").hidden = this.follows;
  }

  follow() {
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    else this.notice();
  }

  toEnd() {
    this.follows = true;
    this.follow();
    at("to-end").hidden = true;
  }
}
