// How one message looks. Rule: a view is made once for a message and told of changes; it changes nothing itself.

import { attachmentView } from "./attachments.js";
import { copyButton, el, iconButton } from "./dom.js";
import { adviceFor } from "./errors.js";
import { Growing } from "./growing.js";
import { answeredBy, secondsName, timeName } from "./facts.js";
import { linkTarget } from "./links.js";
import { number, plain, t } from "./texts.js";
import { newestHeading, withHeadings } from "./thoughts.js";

/** A question. `acts` has `edit(message, text, attachments)`. */
export class Question {
  constructor(message, acts) {
    this.message = message;
    this.acts = acts;
    this.bubble = el("div", { class: "bubble", text: message.text });
    this.edit = iconButton("rename", t("question.edit"), () => this.open());
    this.versions = new VersionSwitch(acts);
    this.tools = el("div", { class: "acts" }, this.versions.element, copyButton(t("question.copy"), () => message.text), this.edit);
    const views = message.attachments.map((attachment) => attachmentView(attachment));
    this.attached = el("ul", { class: "attachments", "aria-label": t("attach.list") }, ...views);
    this.element = el(
      "article",
      { class: "question", "aria-label": t("question.name") },
      views.length ? this.attached : null,
      message.text ? this.bubble : null,
      this.tools,
    );
  }

  update({ busy, versions }) {
    this.edit.disabled = busy;
    this.versions.show(versions, busy);
  }

  open() {
    const field = el("textarea", { "aria-label": t("question.field"), rows: "1", dir: "auto" });
    field.value = this.message.text;
    const close = () => {
      form.replaceWith(...this.hidden);
      this.edit.focus();
    };
    let attached = this.message.attachments;
    const send = (event) => {
      event.preventDefault();
      if (field.value.trim() || attached.length) this.acts.edit(this.message, field.value.trim(), attached);
    };
    const remove = (attachment, view) => {
      attached = attached.filter((other) => other !== attachment);
      view.remove();
      field.focus();
    };
    const views = attached.map((attachment) => {
      const view = attachmentView(attachment, () => remove(attachment, view));
      return view;
    });
    const list = views.length ? el("ul", { class: "attachments", "aria-label": t("attach.list") }, ...views) : null;
    const cancel = el("button", { type: "button", text: t("common.cancel"), on: { click: close } });
    const row = el("div", { class: "row" }, cancel, el("button", { type: "submit", class: "primary", text: t("write.send") }));
    const form = el("form", { class: "edit", on: { submit: send } }, list, field, row);
    form.addEventListener("keydown", (event) => editKey(event, form, close));
    this.hidden = [this.attached, this.bubble, this.tools].filter((part) => part.isConnected);
    this.hidden[0].before(form);
    this.hidden.forEach((part) => part.remove());
    field.focus();
  }
}

function editKey(event, form, close) {
  if (event.key === "Escape") {
    event.preventDefault();
    event.stopPropagation();
    close();
  }
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.localName === "textarea") {
    event.preventDefault();
    form.requestSubmit();
  }
}

/** "2/3" with a way to either side. `acts` has `turnTo(parent, at)`. */
class VersionSwitch {
  constructor(acts) {
    this.acts = acts;
    this.place = el("span", { class: "place" });
    this.earlier = iconButton("earlier", t("version.earlier"), () => this.turn(-1));
    this.later = iconButton("later", t("version.later"), () => this.turn(1));
    this.element = el("span", { class: "versions", role: "group", "aria-label": t("version.list"), hidden: true }, this.earlier, this.place, this.later);
  }

  show(versions, busy) {
    this.versions = versions;
    this.element.hidden = !versions;
    if (!versions) return;
    this.place.textContent = `${number(versions.at + 1)}/${number(versions.count)}`;
    this.earlier.disabled = busy || versions.at === 0;
    this.later.disabled = busy || versions.at === versions.count - 1;
  }

  turn(step) {
    this.acts.turnTo(this.versions.parent, this.versions.at + step);
  }
}

/** An answer. `acts` has `retry()`, `retryWith()`, `goOn()`, `enterKey()`, and `grown()` for whenever its height changes. */
export class Answer {
  constructor(message, acts) {
    this.message = message;
    this.acts = acts;
    this.prose = new Growing(acts.grown);
    this.thought = new Growing(acts.grown);
    this.summary = el("summary", { dir: "auto" });
    this.thinking = el("details", { class: "thinking", hidden: true }, this.summary, this.thought.element);
    this.thinking.addEventListener("toggle", () => this.showThought());
    this.waiting = el("p", { class: "waiting", "aria-label": t("answer.coming") }, el("i"), el("i"), el("i"));
    this.sources = el("div", { class: "sources", hidden: true });
    this.research = message.research ? el("div") : null;
    this.end = el("div", { class: "end" });
    this.again = iconButton("retry", t("answer.again"), () => acts.retry());
    this.other = iconButton("other", t("answer.other"), () => acts.retryWith());
    this.speak = iconButton("speak", t("answer.read"), () => acts.speech.toggle(message));
    this.by = el("span", { class: "by" });
    this.versions = new VersionSwitch(acts);
    this.tools = el("div", { class: "acts" }, this.versions.element, copyButton(t("answer.copy"), () => message.text), this.again, this.other, this.speak, this.by);
    this.element = el("article", { class: "answer", "aria-label": t("answer.name") }, this.research ?? this.thinking, this.prose.element, this.waiting, this.sources, this.end, this.tools);
  }

  /** `isLast`: only the last answer can be asked for again. */
  update({ busy, isLast, versions }) {
    const { message } = this;
    this.versions.show(versions, busy);
    const isLive = message.state === "streaming";
    this.element.setAttribute("aria-busy", String(isLive));
    this.prose.show(message.text);
    this.thinking.hidden = !message.reasoning;
    this.summary.textContent = this.thoughtName(isLive && !message.text);
    this.showThought();
    if (this.research) this.acts.research(message, this.research);
    this.waiting.hidden = !isLive || Boolean(this.research);
    this.waiting.classList.toggle("pulse", Boolean(message.text));
    this.tools.hidden = isLive;
    const isRead = this.acts.speech.reading === message;
    this.speak.hidden = !this.acts.speech.allowed || !message.text;
    this.speak.setAttribute("aria-label", isRead ? t("answer.readStop") : t("answer.read"));
    this.speak.classList.toggle("on", isRead);
    for (const button of [this.again, this.other]) {
      button.hidden = !isLast;
      button.disabled = busy;
    }
    if (this.state === message.state && this.wasLast === isLast) return;
    Object.assign(this, { state: message.state, wasLast: isLast });
    if (isLive) return;
    this.prose.finish();
    this.showSources();
    this.showEnd(isLast);
    this.by.textContent = message.text || message.by.slug ? answeredBy(message) : ""; // Of no answer there is nothing to tell.
  }

  thoughtName(isThinking) {
    if (isThinking) return newestHeading(this.message.reasoning) || t("answer.thinking");
    return this.message.thought ? t("answer.thoughtFor", { time: secondsName(this.message.thought) }) : t("answer.thoughts");
  }

  // Folded thoughts cost nothing.
  showThought() {
    if (this.thinking.open) this.thought.show(withHeadings(this.message.reasoning));
  }

  showSources() {
    const links = this.message.citations.map(({ url, title }) => [linkTarget(url), title]).filter(([target]) => target);
    this.sources.hidden = !links.length;
    const outside = { target: "_blank", rel: "noopener noreferrer nofollow" };
    const items = links.map(([target, title]) => el("li", {}, el("a", { href: target, ...outside, dir: "auto", text: plain(title || target) })));
    this.sources.replaceChildren(el("h3", { text: t("answer.sources") }), el("ol", {}, ...items));
  }

  showEnd(isLast) {
    const { state, error, finish } = this.message;
    clearInterval(this.clock);
    if (state === "failed") this.end.replaceChildren(this.failure(error ?? { status: 0, code: "cut", message: "" }, isLast));
    else if (state === "stopped") this.end.replaceChildren(this.note(t("answer.stopped"), isLast));
    else if (finish === "length") this.end.replaceChildren(this.note(t("answer.cut"), isLast));
    else if (finish === "content_filter") this.end.replaceChildren(this.note(t("answer.blocked")));
    else this.end.replaceChildren();
  }

  note(text, goesOn = false) {
    const box = el("div", { class: "note" }, el("p", { text }));
    if (goesOn && this.message.text) box.append(this.continuing());
    return box;
  }

  continuing() {
    return el("button", { type: "button", text: t("answer.goOn"), on: { click: () => this.acts.goOn() } });
  }

  failure(error, isLast) {
    const { title, advice, action } = adviceFor(error);
    const words = error.message ? el("p", { class: "words", text: t("answer.gatewaySays", { message: error.message }) }) : null;
    const box = el("div", { class: "failure", role: "group", "aria-label": t("answer.wrong") }, el("h3", { text: title }), el("p", { text: advice }), words);
    if (isLast) box.append(el("div", { class: "row" }, ...this.ways(action)));
    return box;
  }

  ways(action) {
    const retry = el("button", { type: "button", text: t("answer.retry"), on: { click: () => this.acts.retry() } });
    if (action === "key") {
      return [el("button", { type: "button", class: "primary", text: t("key.enter"), on: { click: () => this.acts.enterKey() } }), retry];
    }
    if (this.message.retryAt) this.countDown(retry);
    if (action !== "retry") return [];
    return this.message.text ? [retry, this.continuing()] : [retry];
  }

  countDown(button) {
    const tick = () => {
      const left = Math.ceil((this.message.retryAt - Date.now()) / 1000);
      button.disabled = left > 0;
      button.textContent = left > 0 ? t("answer.retryIn", { time: timeName(left) }) : t("answer.retry");
      if (left <= 0) clearInterval(this.clock);
    };
    this.clock = setInterval(tick, 500);
    tick();
  }
}
