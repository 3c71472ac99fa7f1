// A deep research in its answer: how far it is, and the way to its report. Rule: only what the gateway told is shown; the
// steps are the paragraphs of its thinking, the last of which is under way.

import { at, el } from "./dom.js";
import { timeName } from "./facts.js";
import { linkTarget } from "./links.js";
import { t } from "./texts.js";

const views = new WeakMap();

/** Show in `place` how far the research of this answer is. `acts` has `stop()`, and `report(message)`, which opens it. */
export function showResearch(message, place, acts) {
  if (!views.has(place)) views.set(place, new ResearchView(message, place, acts));
  views.get(place).update();
}

class ResearchView {
  constructor(message, place, acts) {
    Object.assign(this, { message, place });
    this.title = el("span", { class: "name" });
    this.time = el("span", { class: "time" });
    this.steps = el("ol");
    this.sources = el("p", { class: "hint" });
    this.note = el("p", { class: "hint", text: t("research.goesOn") });
    this.stop = el("button", { type: "button", text: t("research.stop"), on: { click: () => acts.stop() } });
    this.open = el("button", { type: "button", class: "primary", text: t("research.open"), on: { click: () => acts.report(message) } });
    this.details = el("details", {}, el("summary", { text: t("research.steps") }), this.steps);
    place.classList.add("research");
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", t("research.name"));
    place.replaceChildren(el("p", { class: "head" }, this.title, this.time), this.details, this.sources, this.note, el("div", { class: "row" }, this.stop, this.open));
  }

  update() {
    const { message } = this;
    const isLive = message.state === "streaming";
    const steps = message.reasoning.split(/\n{2,}/).map((step) => step.trim()).filter(Boolean);
    if (isLive !== this.wasLive) this.details.open = isLive; // Later it is the reader's own choice.
    if (isLive && this.wasLive && steps.length > this.count) at("announcer").textContent = t("research.step", { step: steps.at(-1) });
    Object.assign(this, { wasLive: isLive, count: steps.length });
    this.place.setAttribute("aria-busy", String(isLive));
    this.title.textContent = t(isLive ? "research.runs" : message.state === "done" ? "research.done" : "research.ended");
    this.steps.replaceChildren(...steps.map((text, place) => el("li", { class: isLive && !message.text && place === steps.length - 1 ? "current" : null, dir: "auto", text })));
    this.details.hidden = !steps.length;
    const count = message.citations.filter(({ url }) => linkTarget(url)).length;
    this.sources.textContent = count ? t(isLive ? "research.soFar" : "research.sources", { count }) : "";
    this.sources.hidden = !count;
    this.note.hidden = this.stop.hidden = !isLive;
    this.open.hidden = isLive || !message.text;
    this.tick();
    if (isLive) this.clock ??= setInterval(() => this.tick(), 1000);
  }

  tick() {
    const { state, took, research } = this.message;
    const isLive = state === "streaming";
    this.time.textContent = timeName(Math.max(0, Math.round((isLive ? Date.now() - research : took) / 1000)));
    if (isLive && this.place.isConnected) return;
    clearInterval(this.clock);
    this.clock = null;
  }
}
