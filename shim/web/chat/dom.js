// Elements. Rule: text becomes text; the only markup is what `markdown.js` has sanitised.

import { t } from "./texts.js";

/** The element with this id. */
export const at = (id) => document.getElementById(id);

/** A new element. `properties` are attributes, but for `text`, `on` (listeners) and booleans; null leaves one out. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  const { text, on = {}, ...attributes } = properties;
  if (text !== undefined) made.textContent = text;
  for (const [type, listener] of Object.entries(on)) made.addEventListener(type, listener);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "boolean") made.toggleAttribute(key, value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** One of the page's symbols, to look at only. */
export function icon(name) {
  const made = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  made.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#i-${name}`);
  made.append(use);
  return made;
}

/** A button that is a picture with a name. */
export function iconButton(name, label, onClick) {
  return el("button", { type: "button", class: "icon small", "data-act": name, "aria-label": label, title: label, on: { click: onClick } }, icon(name));
}

/** A button that copies what `source()` gives, and shows that it did. */
export function copyButton(label, source) {
  const button = iconButton("copy", label, async () => {
    const done = await copy(source());
    button.replaceChildren(icon(done ? "done" : "close"));
    button.setAttribute("aria-label", done ? t("copy.done") : t("copy.refused"));
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, 1600);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // Pages on plain http have no clipboard.
  }
}

function copyBySelection(text) {
  const before = document.activeElement;
  const field = el("textarea", { class: "unseen", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus();
  return done;
}
