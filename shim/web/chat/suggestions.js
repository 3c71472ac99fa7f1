// What an empty page offers to ask. Each is a whole question that any model can be asked; the demo has an answer to each.

import { el } from "./dom.js";

const SUGGESTIONS = [
  "List prime numbers in Python",
  "Compare 401, 403 and 429 in a table",
  "Draw mountains at sunset",
  "Work out the first ten squares with Python",
  "What happens when I reach a limit?",
];

/** Fill the list; `ask(text)` sends the one that is chosen. */
export function showSuggestions(list, ask) {
  const button = (text) => el("button", { type: "button", text, on: { click: () => ask(text) } });
  list.replaceChildren(...SUGGESTIONS.map((text) => el("li", {}, button(text))));
}
