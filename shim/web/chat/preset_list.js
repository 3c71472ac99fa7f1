// The presets in the dialog of what is kept, and the form of one. Rule: using one can be undone, and so can forgetting it.

import { at, el, iconButton } from "./dom.js";
import { effortName } from "./facts.js";
import { EFFORTS } from "./models.js";
import { MOST_PRESETS, presetOf } from "./presets.js";
import { readWishes } from "./wishes.js";
import { plain, t } from "./texts.js";

export class PresetList {
  /** `current()` is the chat on the screen, `models()` those that can be chosen, `account()` whether one answers,
   * `use(preset)` has the chat go by a preset, `projects(field)` puts a list of them in its place, `tell(text, undo)` shows a notice. */
  constructor({ presets, current, models, account, use, projects, tell }) {
    Object.assign(this, { presets, current, models, account, use, projects, tell });
    this.list = el("ul", { "aria-label": t("preset.title") });
    this.none = el("p", { class: "hint", text: t("preset.none") });
    this.more = el("button", { type: "button", text: t("preset.keep"), on: { click: () => this.edit(presetOf(this.current(), ""), true) } });
    at("presets").append(el("h3", { text: t("preset.title") }), this.none, this.list, el("div", { class: "row" }, this.more));
    this.show();
  }

  show() {
    this.none.hidden = this.presets.all.length > 0;
    this.list.hidden = !this.none.hidden;
    this.more.disabled = this.presets.all.length >= MOST_PRESETS;
    this.list.replaceChildren(...this.presets.all.map((preset) => this.row(preset)));
  }

  row(preset) {
    const { name, model, effort, system, wishes } = preset;
    const pick = () => {
      at("prompts").close();
      this.use(preset);
    };
    const parts = [
      preset === this.presets.usual ? t("preset.usual") : "",
      this.models().find(({ id }) => id === model)?.display_name || model,
      effortName(wordOf(effort)),
      wishes.kind === "search" ? t("wish.searchHint") : "",
      wishes.keep === "temporary" ? t("wish.temporaryHint") : "",
      system.replace(/\s+/g, " ").trim().slice(0, 80),
    ];
    const words = [el("span", { class: "name", dir: "auto", text: plain(name) }), el("span", { class: "about", dir: "auto", text: parts.filter(Boolean).join(" · ") })];
    return el(
      "li",
      { class: "kept" },
      el("button", { type: "button", class: "pick", "aria-label": t("preset.use", { name }), on: { click: pick } }, ...words),
      iconButton("rename", t("preset.edit", { name }), () => this.edit(preset)),
      iconButton("delete", t("preset.forget", { name }), () => this.forget(preset)),
    );
  }

  forget(preset) {
    const undo = this.presets.forget(preset);
    this.show();
    this.more.focus();
    this.tell(t("preset.forgotten", { name: preset.name }), () => (undo(), this.show()));
  }

  /** Have a preset written, in a dialog of its own. */
  edit(preset, isNew = false) {
    const dialog = el("dialog", { class: "preset", "aria-labelledby": "preset-title" });
    const form = el("form", { method: "dialog" }, ...this.fields(preset, isNew));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const said = form.elements;
      const wishes = readWishes({ kind: said.search.checked ? "search" : "", keep: said.keep.value, memory: said.memory.checked, project: said.project.value.trim() });
      const name = said.name.value.trim();
      if (!name) return said.name.focus();
      const written = { id: preset.id, name, model: said.model.value, effort: said.effort.value, system: said.system.value, wishes };
      const isKept = this.presets.keep(written, said.usual.checked);
      dialog.close();
      if (!isKept) this.tell(t("kept.full"));
      return undefined;
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      this.show();
      this.more.focus();
    });
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
    form.elements.name.select();
    if (this.account()) this.projects(form.elements.project);
    this.dialog = dialog;
  }

  /** What can be chosen has changed. Who was quick has the form open already. */
  know() {
    if (!this.dialog?.open) return;
    const { model } = this.dialog.querySelector("form").elements;
    model.replaceWith(Object.assign(choice("model", this.choices(model.value), model.value), { id: model.id }));
    if (!this.account() || !this.switches.hidden) return;
    this.switches.hidden = false;
    this.projects(this.dialog.querySelector("form").elements.project);
  }

  /** [id, name] of each model, and of the one that is chosen. */
  choices(model) {
    const ids = this.models().map((one) => [one.id, one.display_name || one.id]);
    return ids.some(([one]) => one === model) ? ids : [[model, model], ...ids];
  }

  fields({ name, model, effort, system, wishes, id }, isNew) {
    const efforts = [["", t("preset.effortUsual")], ...Object.entries(EFFORTS).map(([word, value]) => [value, effortName(word)])];
    const keeps = [["", t("wish.keepUsual")], ["temporary", t("wish.keepTemporary")], ["kept", t("wish.keepKept")]];
    const check = (key, text, checked) => el("label", { class: "check" }, made("input", { type: "checkbox", name: key }, { checked }), text);
    this.switches = el(
      "div",
      { hidden: !this.account() },
      check("search", t("preset.search"), wishes.kind === "search"),
      ...labelled("keep", t("wish.keep"), choice("keep", keeps, wishes.keep)),
      check("memory", t("wish.memory"), wishes.memory),
      ...labelled("project", t("wish.project"), made("input", { type: "text", name: "project", placeholder: "g-p-…", autocomplete: "off", dir: "ltr" }, { value: wishes.project })),
    );
    return [
      el("h2", { id: "preset-title", text: t(isNew ? "preset.new" : "preset.change") }),
      ...labelled("name", t("preset.name"), made("input", { type: "text", name: "name", required: true, maxlength: "80", autocomplete: "off", dir: "auto" }, { value: name })),
      ...labelled("model", t("model.name"), choice("model", this.choices(model), model)),
      ...labelled("effort", t("preset.effort"), choice("effort", efforts, effort)),
      ...labelled("system", t("preset.system"), made("textarea", { name: "system", rows: "3", dir: "auto" }, { value: system })),
      this.switches,
      check("usual", t("preset.usual"), this.presets.usualId === id),
      el("div", { class: "row" }, el("button", { type: "button", text: t("common.cancel"), on: { click: () => this.dialog.close() } }), el("button", { type: "submit", class: "primary", text: t("common.save") })),
    ];
  }
}

const wordOf = (effort) => Object.keys(EFFORTS).find((word) => EFFORTS[word] === effort) ?? effort;
const made = (name, attributes, properties) => Object.assign(el(name, attributes), properties);

function choice(name, options, value) {
  const select = el("select", { name }, ...options.map(([key, text]) => el("option", { value: key, text })));
  return Object.assign(select, { value });
}

function labelled(key, text, field) {
  field.id = `preset-${key}`;
  return [el("label", { for: field.id, text }), field];
}
