// LaTeX in markdown: $…$, $$…$$, \(…\) and \[…\] become elements of class "math" with the source as their text.
// Rule: money is no mathematics ($5 and $6): a dollar that opens or closes has no space inside and no digit behind.

const INLINE = [
  { open: "$$", close: "$$", display: true },
  { open: "\\[", close: "\\]", display: true },
  { open: "\\(", close: "\\)", display: false },
  { open: "$", close: "$", display: false },
];
const BLOCK = [
  { open: "$$", close: "$$" },
  { open: "\\[", close: "\\]" },
];

/** A plugin for markdown-it. */
export function math(markdown) {
  markdown.inline.ruler.before("escape", "math", inline);
  markdown.block.ruler.before("paragraph", "math_block", block, { alt: ["paragraph", "list", "blockquote"] });
  const escape = markdown.utils.escapeHtml;
  markdown.renderer.rules.math = (tokens, index) => `<code class="math">${escape(tokens[index].content)}</code>`;
  markdown.renderer.rules.math_display = (tokens, index) => `<code class="math display">${escape(tokens[index].content)}</code>`;
  markdown.renderer.rules.math_block = (tokens, index) => `<p><code class="math display">${escape(tokens[index].content)}</code></p>\n`;
}

function inline(state, silent) {
  const kind = INLINE.find(({ open }) => state.src.startsWith(open, state.pos));
  if (!kind) return false;
  const start = state.pos + kind.open.length;
  const end = closing(state, kind, start);
  if (end < 0) return false;
  if (!silent) state.push(kind.display ? "math_display" : "math", "code", 0).content = state.src.slice(start, end).trim();
  state.pos = end + kind.close.length;
  return true;
}

// That there is no end from here on is noted: a text full of beginnings is searched once.
function closing(state, { open, close }, start) {
  const none = (state.noMathEnd ??= {});
  if (none[open] <= start) return -1;
  let end = state.src.indexOf(close, start);
  while (end > 0 && state.src[end - 1] === "\\" && close[0] === "$") end = state.src.indexOf(close, end + 1);
  if (end < 0) none[open] = start;
  if (end <= start || (open === "$" && !isMath(state.src, start, end))) return -1;
  return end;
}

function isMath(source, start, end) {
  return !/\s/.test(source[start]) && !/\s/.test(source[end - 1]) && !/\d/.test(source[end + 1] ?? "") && !source.slice(start, end).includes("\n\n");
}

function block(state, first, last, silent) {
  const line = (number) => state.src.slice(state.bMarks[number] + state.tShift[number], state.eMarks[number]).trim();
  const kind = BLOCK.find(({ open }) => line(first).startsWith(open));
  if (!kind || state.sCount[first] - state.blkIndent >= 4) return false;
  const opening = line(first).slice(kind.open.length);
  const content = [];
  let next = first;
  for (let rest = opening; ; rest = line(next)) {
    const end = rest.indexOf(kind.close);
    if (end >= 0 && rest.slice(end + kind.close.length).trim()) return false;
    content.push(end >= 0 ? rest.slice(0, end) : rest);
    if (end >= 0) break;
    next += 1;
    if (next >= last || state.sCount[next] < state.blkIndent) return false;
  }
  if (silent) return true;
  state.line = next + 1;
  const token = state.push("math_block", "p", 0);
  token.content = content.join("\n").trim();
  token.map = [first, state.line];
  token.block = true;
  return true;
}
