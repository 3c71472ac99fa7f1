// What an empty page offers to ask. Each is a whole question that any model can be asked; the demo has an answer to each.

import { el } from "./dom.js";
import { t } from "./texts.js";

const SUGGESTIONS = ["suggest.code", "suggest.table", "suggest.picture", "suggest.run", "suggest.limit"];

/** Fill the list; `ask(text)` sends the one that is chosen. */
export function showSuggestions(list, ask) {
  const button = (text) => el("button", { type: "button", text, on: { click: () => ask(text) } });
  list.replaceChildren(...SUGGESTIONS.map((key) => el("li", {}, button(t(key)))));
}
