// The messages of the chat on the screen. Rule: it follows the end while the reader is there, and never pulls them back.

import { at } from "./dom.js";
import { Answer, Question } from "./message.js";
import { versionsAt } from "./versions.js";

const NEAR = 60;
const AT_ONCE = 20; // messages, which fill any screen
const SLICE = 10;

export class Thread {
  constructor(acts) {
    this.scroller = at("scroller");
    this.acts = { ...acts, grown: () => this.follow() };
    this.views = new Map();
    this.start = 0; // the place of the first message that is there
    this.follows = true;
    this.scroller.addEventListener("scroll", () => this.notice(), { passive: true });
    at("to-end").addEventListener("click", () => this.toEnd());
    new ResizeObserver(() => this.follow()).observe(at("thread")); // Pictures and diagrams come later than their messages.
  }

  /** Show this chat; views of messages that stay are kept. A message that was read from the store again is another one.
   * Of a long chat the end is there at once; what is before it comes in slices. */
  show(chat, busy) {
    const before = this.views;
    const { messages } = chat;
    const isMade = (message) => before.get(message.id)?.message === message;
    let start = messages.length;
    for (let count = 0; start > 0 && (isMade(messages[start - 1]) || count < AT_ONCE); start -= 1) count += isMade(messages[start - 1]) ? 0 : 1;
    this.views = new Map(messages.slice(start).map((message) => [message.id, isMade(message) ? before.get(message.id) : this.make(message)]));
    at("thread").replaceChildren(...[...this.views.values()].map((view) => view.element));
    at("welcome").hidden = messages.length > 0;
    this.start = start;
    this.update(chat, busy);
    clearTimeout(this.slicing);
    if (start > 0) this.slicing = setTimeout(() => this.addSlice());
  }

  /** All messages are there: resolves when the last slice is. */
  async whole() {
    while (this.start > 0) await new Promise((resolve) => setTimeout(resolve, 50));
  }

  // The browser keeps the reader's place while something is put above it, but at the very top.
  addSlice() {
    const { scroller, chat } = this;
    const first = Math.max(0, this.start - SLICE);
    const added = chat.messages.slice(first, this.start).map((message) => [message.id, this.make(message)]);
    const isAtTop = scroller.scrollTop === 0 && !this.follows;
    const height = scroller.scrollHeight;
    at("thread").prepend(...added.map(([, view]) => view.element));
    this.views = new Map([...added, ...this.views]);
    this.updateFrom(first, this.start);
    this.start = first;
    if (isAtTop) scroller.scrollTop = scroller.scrollHeight - height;
    this.follow();
    if (first > 0) this.slicing = setTimeout(() => this.addSlice());
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
    Object.assign(this, { chat, busy });
    this.updateFrom(this.start, chat.messages.length);
    this.follow();
  }

  /** More has come to this answer. */
  grow(message) {
    const place = this.chat.messages.indexOf(message);
    this.updateFrom(place, place + 1);
    this.follow();
  }

  updateFrom(first, end) {
    const { chat, busy } = this;
    for (let place = first; place < end; place += 1) {
      const { id } = chat.messages[place];
      this.views.get(id)?.update({ busy, isLast: place === chat.messages.length - 1, versions: versionsAt(chat, place) });
    }
  }

  notice() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    this.follows = scrollHeight - scrollTop - clientHeight < NEAR;
    at("to-end").hidden = this.follows || !this.chat?.messages.length;
  }

  follow() {
    if (!this.chat?.messages.length) return;
    if (this.follows) this.scroller.scrollTop = this.scroller.scrollHeight;
    else this.notice();
  }

  toEnd() {
    this.follows = true;
    this.follow();
    if (!this.chat.messages.length) this.scroller.scrollTop = 0; // A welcome is read from its beginning.
    at("to-end").hidden = true;
  }
}
