// The optional parts: colours for code, and LaTeX. Rule: they are fetched when an answer first has use for them; without
// them the source stays readable as it is.

import { sanitizedSpans } from "./sanitize.js";

const CODE_CHARACTERS = 50_000;
const TEX_CHARACTERS = 5000;
const vendor = (path) => new URL(`../vendor/${path}`, import.meta.url).href;
const loaded = { highlight: null, katex: null };

/** Colour the `code` inside; `language` is the word behind the fence. */
export async function colour(code, language) {
  if (!language || code.textContent.length > CODE_CHARACTERS) return;
  const highlight = loaded.highlight ?? (await fetched("highlight"));
  if (!highlight?.getLanguage(language)) return;
  const { value } = highlight.highlight(code.textContent, { language, ignoreIllegals: true });
  code.replaceChildren(sanitizedSpans(value));
}

/** Set the LaTeX that `node` has as its text. */
export async function typeset(node) {
  const tex = node.textContent;
  if (tex.length > TEX_CHARACTERS) return;
  const katex = loaded.katex ?? (await fetched("katex"));
  if (!katex) return;
  const displayMode = node.classList.contains("display");
  const made = document.createElement("span");
  try {
    katex.render(tex, made, { displayMode, throwOnError: true, trust: false, strict: "ignore", maxSize: 20, maxExpand: 300 });
  } catch {
    return; // It is not LaTeX, or not yet all of it: the source stays.
  }
  made.className = displayMode ? "formula display" : "formula";
  made.dir = "ltr";
  if (displayMode) made.tabIndex = 0;
  node.replaceWith(made);
}

const FETCH = {
  highlight: async () => (await import(vendor("highlight/highlight.min.js"))).default,
  katex: async () => {
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = vendor("katex/katex.min.css");
    document.head.append(style);
    await import(vendor("katex/katex.min.js"));
    return globalThis.katex;
  },
};
const fetching = {};

function fetched(name) {
  fetching[name] ??= FETCH[name]().then(
    (part) => (loaded[name] = part),
    () => null, // The network or a new version is in the way.
  );
  return fetching[name];
}
