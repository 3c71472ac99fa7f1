// Markdown to elements. Rule: raw HTML in an answer is text; what comes out of here has been through `sanitize.js`.

import "../vendor/markdown-it/markdown-it.min.js";
import { copyButton, el, iconButton } from "./dom.js";
import { linkTarget, pictureSource } from "./links.js";
import { math } from "./math.js";
import { colour, typeset } from "./parts.js";
import { download } from "./saving.js";
import { sanitized } from "./sanitize.js";
import { t } from "./texts.js";

const ENDINGS = { python: "py", javascript: "js", typescript: "ts", markdown: "md", shell: "sh", bash: "sh", rust: "rs", ruby: "rb", csharp: "cs", kotlin: "kt", "c++": "cpp", text: "txt", plaintext: "txt" };
const TASK = /^\[([ xX])\] /;
const LANGUAGE = /^[\w+#.-]{1,40}/;
const markdown = globalThis.markdownit({ html: false, linkify: true, breaks: false, typographer: false, maxNesting: 40 }).use(math);
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });
markdown.validateLink = (address) => linkTarget(address) !== null || pictureSource(address) !== null;

// "- [x] done" is a task: a box in front, and no bullet.
markdown.core.ruler.push("tasks", ({ tokens }) => {
  tokens.forEach((token, place) => {
    const first = token.children?.[0];
    const item = tokens[place - 2];
    const [mark, state] = (first?.type === "text" && item?.type === "list_item_open" && TASK.exec(first.content)) || [];
    if (!mark) return;
    first.content = `${state === " " ? "☐" : "☑"} ${first.content.slice(mark.length)}`;
    item.attrJoin("class", "task");
  });
});

const { escapeHtml } = markdown.utils;

// A picture from elsewhere would tell its host that the answer was read: it becomes a link.
markdown.renderer.rules.image = (tokens, index, options, env, renderer) => {
  const [token] = [tokens[index]];
  const source = token.attrGet("src") ?? "";
  const alt = renderer.renderInlineAsText(token.children, options, env);
  if (pictureSource(source) !== null) return `<img src="${escapeHtml(source)}" alt="${escapeHtml(alt)}">`;
  const inside = env.links > 0;
  const label = escapeHtml(t("answer.picture", { name: alt || source.slice(0, 80) }));
  return inside ? label : `<a class="remote" href="${escapeHtml(source)}">${label}</a>`;
};

// A linked picture must not become a link within a link.
for (const [name, step] of [["link_open", 1], ["link_close", -1]]) {
  markdown.renderer.rules[name] = (tokens, index, options, env, renderer) => {
    env.links = (env.links ?? 0) + step;
    return renderer.renderToken(tokens, index, options);
  };
}

// Columns are aligned by class, as the page allows no inline style.
for (const name of ["th_open", "td_open"]) {
  markdown.renderer.rules[name] = (tokens, index, options, env, renderer) => {
    const token = tokens[index];
    const [, side] = /text-align:(\w+)/.exec(token.attrGet("style") ?? "") ?? [];
    token.attrs = side ? [["class", side]] : null;
    return renderer.renderToken(tokens, index, options);
  };
}

/** The top-level blocks of `text`: {tokens, line}, the line being where the block begins. */
export function blocksOf(text, env) {
  const blocks = [];
  for (const token of markdown.parse(text, env)) {
    if (token.level === 0 && token.nesting >= 0) blocks.push({ tokens: [], line: token.map?.[0] ?? 0 });
    blocks.at(-1).tokens.push(token);
  }
  return blocks;
}

/** Blocks as a fragment, ready to be shown. `whole`: nothing more comes to them, so that diagrams can be drawn. */
export function elementsOf(blocks, env, { whole = false } = {}) {
  const html = markdown.renderer.render(blocks.flatMap((block) => block.tokens), markdown.options, env);
  const fragment = sanitized(html);
  giveDirections(fragment);
  fragment.querySelectorAll("pre > code").forEach((code) => frameCode(code, whole));
  fragment.querySelectorAll("table").forEach(frameTable);
  fragment.querySelectorAll("code.math").forEach(typeset);
  fragment.querySelectorAll("img").forEach((picture) => {
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.tabIndex = 0; // Enter shows it whole.
  });
  return fragment;
}

// Each block is read from its own first letter on; code, and formulas, from left to right whatever is around them.
function giveDirections(fragment) {
  for (const block of fragment.children) block.dir = "auto";
  for (const code of fragment.querySelectorAll("pre, code")) code.dir = "ltr";
}

function frameCode(code, whole) {
  const pre = code.parentElement;
  const [, named = ""] = /(?:^|\s)language-(\S+)/.exec(code.className) ?? [];
  const [language = ""] = LANGUAGE.exec(named) ?? [];
  code.removeAttribute("class");
  const text = code.textContent;
  pre.tabIndex = 0;
  const wrap = iconButton("wrap", t("code.wrap"), () => wrap.setAttribute("aria-pressed", String(pre.classList.toggle("wrapped"))));
  const save = iconButton("export", t("code.download"), () => download(`code.${ENDINGS[language] ?? (language || "txt")}`, text, "text/plain"));
  const head = el("div", { class: "code-head" }, el("span", { text: language || t("code.text") }), el("span", { class: "code-acts" }, wrap, save, copyButton(t("code.copy"), () => text)));
  const frame = el("div", { class: "code" });
  pre.replaceWith(frame);
  frame.append(head, pre);
  colour(code, language);
  if (language !== "mermaid") return;
  frame.classList.add("mermaid");
  if (whole) import("./diagrams.js").then(({ offerDiagram }) => offerDiagram(frame, text), () => undefined); // The code stays.
}

function frameTable(table) {
  const frame = el("div", { class: "table", role: "region", "aria-label": t("answer.table"), tabindex: "0", dir: "auto" });
  table.removeAttribute("dir"); // It is the frame's, which begins to scroll where the table begins.
  table.replaceWith(frame);
  frame.append(table);
}
