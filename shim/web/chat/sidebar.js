// The list of chats, a drawer on narrow screens. Rule: it shows what it is given and says what was asked for.

import { at, el, iconButton } from "./dom.js";
import { t } from "./texts.js";

const NARROW = matchMedia("(max-width: 52rem)");
const DAY_MS = 86_400_000;
const GROUPS = [
  { name: "side.today", since: () => new Date().setHours(0, 0, 0, 0) },
  { name: "side.week", since: () => new Date().setHours(0, 0, 0, 0) - 6 * DAY_MS },
  { name: "side.older", since: () => -Infinity },
];

export class Sidebar {
  /** `acts`: open(id), rename(head), export(head), remove(head), create(). */
  constructor(acts) {
    this.acts = acts;
    at("new-chat").addEventListener("click", () => acts.create());
    at("new-here").addEventListener("click", () => acts.create());
    at("open-sidebar").addEventListener("click", () => this.slide(true));
    at("close-sidebar").addEventListener("click", () => this.slide(false));
    at("scrim").addEventListener("click", () => this.slide(false));
    NARROW.addEventListener("change", () => this.slide(false, { focus: false }));
    at("sidebar").addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOpen) return;
      event.stopPropagation();
      this.slide(false);
    });
    this.slide(false, { focus: false });
  }

  slide(open, { focus = true } = {}) {
    const wasOpen = this.isOpen;
    this.isOpen = open && NARROW.matches;
    at("sidebar").classList.toggle("open", this.isOpen);
    at("sidebar").inert = NARROW.matches && !this.isOpen;
    document.querySelector("main").inert = this.isOpen;
    at("scrim").hidden = !this.isOpen;
    at("open-sidebar").setAttribute("aria-expanded", String(this.isOpen));
    if (focus && this.isOpen !== wasOpen) at(this.isOpen ? "close-sidebar" : "open-sidebar").focus();
  }

  /** The chats, newest first; `current` is the id of the one on the screen. */
  show(heads, current) {
    const groups = grouped(heads);
    const rows = groups.map(([name, members]) => [name, members.map(({ id, title }) => [id, title])]);
    const shown = JSON.stringify([document.documentElement.lang, current, rows]);
    if (shown === this.shown) return; // An answer is kept every few seconds, which changes nothing here.
    this.shown = shown;
    const focused = document.activeElement?.closest?.("#chats li")?.dataset.id;
    const part = document.activeElement?.dataset.act;
    at("no-chats").hidden = heads.length > 0;
    at("chats").replaceChildren(...groups.flatMap(([name, members]) => [
      el("li", { class: "group" }, el("h2", { text: t(name) }), el("ul", {}, ...members.map((head) => this.row(head, head.id === current)))),
    ]));
    if (focused) this.refocus(focused, part);
  }

  refocus(id, part) {
    const row = at("chats").querySelector(`li[data-id="${CSS.escape(id)}"]`);
    const button = part && row?.querySelector(`[data-act="${part}"]`);
    (button || row?.querySelector("button") || at("new-chat")).focus();
  }

  row(head, isCurrent) {
    const open = el("button", { type: "button", class: "chat", "aria-current": isCurrent ? "true" : null, title: head.title, dir: "auto", text: head.title });
    open.addEventListener("click", () => this.acts.open(head.id));
    return el(
      "li",
      { "data-id": head.id },
      open,
      el(
        "span",
        { class: "acts" },
        iconButton("rename", t("side.rename", { title: head.title }), () => this.acts.rename(head)),
        iconButton("export", t("side.export", { title: head.title }), () => this.acts.export(head)),
        iconButton("delete", t("side.delete", { title: head.title }), () => this.acts.remove(head)),
      ),
    );
  }
}

function grouped(heads) {
  const groups = GROUPS.map(({ name, since }) => ({ name, since: since(), members: [] }));
  for (const head of heads) groups.find(({ since }) => head.updated >= since).members.push(head);
  return groups.filter(({ members }) => members.length).map(({ name, members }) => [name, members]);
}
