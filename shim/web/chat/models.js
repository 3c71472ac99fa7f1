// Choosing a model: a list to search in, with what the gateway tells of each, and how hard it is to think. Rule: only
// what is on the gateway's list is offered; a chat keeps a model that is not on it any more.

import { at, el } from "./dom.js";
import { effortName } from "./facts.js";
import { listed, plain, t } from "./texts.js";

// The words of the APIs for what the web backend calls its efforts.
export const EFFORTS = { min: "low", standard: "medium", extended: "high", max: "xhigh" };

export class ModelPicker {
  /** `current()` gives {model, effort} of the chat on the screen; `choose({model, effort})` is told of another. */
  constructor({ current, choose }) {
    Object.assign(this, { current, choose, models: [{ id: "auto" }] });
    at("model").addEventListener("click", () => this.open());
    at("model-search").addEventListener("input", () => this.list());
    at("models").addEventListener("keydown", (event) => this.key(event));
    at("models-close").addEventListener("click", () => at("models").close());
  }

  /** The models that can be had, as `/v1/models` describes them. */
  know(models) {
    this.models = models;
    this.show();
    if (at("models").open) this.list(); // Who was quick sees them come.
  }

  /** The name of what is chosen, on the button. */
  show() {
    const { model, effort } = this.current();
    const name = listed([nameOf(this.named(model)), effort && effortName(wordOf(effort))]);
    at("model").querySelector("span").textContent = name;
    at("model").setAttribute("aria-label", t("model.chosen", { name }));
    at("model").dataset.model = model;
  }

  /** Show the list. `then` gets the choice in the place of `choose`. */
  open({ title = t("model.name"), then = this.choose } = {}) {
    this.then = then;
    at("models-title").textContent = title;
    at("model-search").value = "";
    this.list();
    at("models").showModal();
    at("model-search").focus();
  }

  list() {
    const words = at("model-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.models.filter((model) => words.every((word) => `${model.id} ${model.display_name ?? ""} ${aboutOf(model)}`.toLowerCase().includes(word)));
    at("model-list").replaceChildren(...found.map((model) => this.row(model)));
    at("no-models").hidden = found.length > 0;
  }

  row(model) {
    const { model: chosen, effort } = this.current();
    const isChosen = model.id === chosen;
    const pick = (picked) => {
      at("models").close();
      this.then({ model: model.id, effort: picked });
    };
    const about = [model.display_name && model.display_name !== model.id ? model.id : "", aboutOf(model)].filter(Boolean).join(" · ");
    const button = el("button", { type: "button", class: "pick", "aria-current": isChosen ? "true" : null, on: { click: () => pick("") } }, el("span", { class: "name", text: nameOf(model) }), about ? el("span", { class: "about", text: about }) : null);
    const efforts = (model.efforts ?? []).filter((word) => Object.hasOwn(EFFORTS, word));
    const ways = efforts.map((word) => el("button", { type: "button", "aria-pressed": String(isChosen && effort === EFFORTS[word]), text: effortName(word), on: { click: () => pick(EFFORTS[word]) } }));
    return el("li", {}, button, ways.length ? el("div", { class: "efforts", role: "group", "aria-label": t("model.efforts", { name: nameOf(model) }) }, ...ways) : null);
  }

  // Arrows go through what is found; Enter in the search field takes the first.
  key(event) {
    const buttons = [...at("model-list").querySelectorAll("button")];
    if (event.key === "Enter" && event.target === at("model-search")) {
      event.preventDefault();
      buttons[0]?.click();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !buttons.length) return;
    event.preventDefault();
    const place = buttons.indexOf(document.activeElement) + step;
    (buttons[place] ?? at("model-search")).focus();
  }

  named(id) {
    return this.models.find((model) => model.id === id) ?? { id };
  }
}

const nameOf = (model) => plain((typeof model.display_name === "string" && model.display_name) || model.id);
const wordOf = (effort) => Object.keys(EFFORTS).find((word) => EFFORTS[word] === effort) ?? effort;

function aboutOf({ id, context_window: context, tools, efforts, preset_of: preset }) {
  return listed([
    id === "auto" ? t("model.auto") : "",
    preset ? t("model.preset", { name: preset }) : "",
    Number.isFinite(context) ? t("model.reads", { count: context }) : "",
    efforts?.length ? t("model.thinks") : "",
    tools?.includes("search") ? t("model.searches") : "",
  ]);
}
