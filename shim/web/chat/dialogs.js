// One question at a time in a dialog, and short notices that can be undone. Rule: focus returns to where it was.

import { at, el } from "./dom.js";
import { t } from "./texts.js";

const TOAST_MS = 8000;
const FIELDS = {
  line: () => el("input", { id: "ask-field", type: "text", autocomplete: "off", maxlength: "400", dir: "auto" }),
  secret: () => el("input", { id: "ask-field", type: "password", autocomplete: "off", spellcheck: "false", maxlength: "8192", dir: "ltr" }),
  lines: () => el("textarea", { id: "ask-field", rows: "8", dir: "auto" }),
};

/** Ask for a text: `kind` is a row of FIELDS. `offer` {text, make(signal)} is a button that fetches one to begin with; why it
 * can't is what `make` throws. Resolves to the text, or to null when it was not given. */
export function ask({ title, why = "", label, value = "", kind = "line", yes = t("common.save"), offer = null }) {
  const dialog = at("ask");
  const field = FIELDS[kind]();
  if (dialog.open) return Promise.resolve(null);
  field.value = value;
  at("ask-title").textContent = title;
  at("ask-why").textContent = why;
  at("ask-label").textContent = label;
  at("ask-yes").textContent = yes;
  at("ask-place").replaceChildren(field);
  at("ask-offer").hidden = !offer;
  at("ask-offer").textContent = offer?.text ?? "";
  at("ask-offer").onclick = () => fetchInto(field, offer, dialog);
  dialog.returnValue = "";
  dialog.showModal();
  field.focus();
  if (kind === "line") field.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? field.value : null), { once: true });
  });
}

async function fetchInto(field, { text, make, busy }, dialog) {
  const button = at("ask-offer");
  if (button.ariaBusy === "true") return;
  const controller = new AbortController();
  dialog.addEventListener("close", () => controller.abort(), { once: true });
  const told = (state, words) => Object.assign(button, { ariaBusy: String(state), textContent: words });
  told(true, busy);
  at("ask-why").textContent = "";
  try {
    const made = await make(controller.signal);
    if (controller.signal.aborted) return;
    field.value = made;
    field.select();
    field.focus();
  } catch (failure) {
    if (!controller.signal.aborted) at("ask-why").textContent = failure.message;
  } finally {
    told(false, controller.signal.aborted ? "" : text);
  }
}

/** Make the dialog work. */
export function prepareDialogs() {
  const dialog = at("ask");
  at("ask-no").addEventListener("click", () => dialog.close("no"));
  at("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close("yes");
  });
}

/** A notice that goes by itself; with `undo` it has a button for that. */
export function toast(text, undo = null) {
  const made = el("div", { class: "toast" }, el("span", { text }));
  const timer = setTimeout(() => made.remove(), TOAST_MS);
  const close = () => {
    clearTimeout(timer);
    made.remove();
  };
  if (undo) made.append(el("button", { type: "button", text: t("common.undo"), on: { click: () => (close(), undo()) } }));
  at("toasts").replaceChildren(made);
}
