// What the page says, in the language that was chosen. Rule: every text for people comes from a table in `texts`; English
// is always here, another table is fetched when it is used, and what it has not is said in English. What is filled into a
// text can't turn the words around it: it is isolated where its direction may be another one.

import english from "./texts/en.js";

const TURNING = /[\u202a-\u202e\u2066-\u2069]/g;
const LEFT_TO_RIGHT = /\p{L}/u;
const RIGHT_TO_LEFT = /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;
// Where a text of the page's HTML goes: the attribute that names it, and what it is put into.
const PLACES = { text: [], label: ["aria-label"], name: ["aria-label", "title"], title: ["title"], placeholder: ["placeholder"] };

let table = english;
let locale = "en";
let plurals = new Intl.PluralRules("en");

/** The text with this key, its places filled with `values`: numbers are written as the language does. */
export function t(key, values = {}) {
  const entry = table[key] ?? english[key] ?? key;
  const text = typeof entry === "string" ? entry : (entry[plurals.select(values.count)] ?? entry.other);
  return text.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? number(values[name]) : isolated(values[name])));
}

/** A number as the page's language writes it; `options` are those of Intl.NumberFormat. */
export const number = (value, options) => new Intl.NumberFormat(locale, options).format(value);

/** Parts of one thing, as the page's language lists them. */
export const listed = (parts) => parts.filter(Boolean).join(t("common.comma"));

/** A name that others gave (a title, a file, a model) without the marks that would turn what stands beside it. */
export const plain = (name) => name.replace(TURNING, "");

function isolated(value) {
  const name = plain(String(value));
  const mayTurn = document.documentElement.dir === "rtl" ? LEFT_TO_RIGHT.test(name) : RIGHT_TO_LEFT.test(name);
  return mayTurn ? `\u2068${name}\u2069` : name;
}

/** Speak this language from now on, as far as its table can be had. */
export async function useLanguage(code) {
  table = code === "en" ? english : await import(`./texts/${code}.js`).then((module) => module.default, () => english);
  const spoken = table === english ? "en" : code;
  const { language } = new Intl.Locale(spoken);
  locale = navigator.languages.find((tag) => tag.split("-")[0] === language) ?? spoken; // With the region's dates and digits.
  plurals = new Intl.PluralRules(spoken);
  Object.assign(document.documentElement, { lang: spoken, dir: LANGUAGES[spoken].dir });
  fill();
}

// Put the texts where the page's HTML names them: data-text="key", and so on.
function fill() {
  for (const [place, attributes] of Object.entries(PLACES)) {
    for (const node of document.querySelectorAll(`[data-${place}]`)) {
      const text = t(node.dataset[place]);
      if (place === "text") node.textContent = text;
      for (const attribute of attributes) node.setAttribute(attribute, text);
    }
  }
}
