// A chat as a file to read elsewhere: Markdown, or a page of its own. Rule: what an answer says is no more alive there
// than here: the page is made of the same sanitised elements, and its own policy lets nothing run or be fetched.

import { dataUrl } from "./attachments.js";
import { el } from "./dom.js";
import { linkTarget } from "./links.js";
import { plain, t } from "./texts.js";

const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
const STYLE = "body{max-width:46rem;margin:2rem auto;padding:0 1rem;font:16px/1.6 system-ui,sans-serif}pre,table{overflow-x:auto}pre{padding:.8rem;background:#f4f5f7}img{max-width:100%}td,th{border:1px solid #ccc;padding:.3rem .6rem}table{border-collapse:collapse}section{margin:1.5rem 0}h2{font-size:1rem;color:#555}.said{white-space:pre-wrap}.said,li,td,th,blockquote p{unicode-bidi:plaintext}";

const speaker = ({ role, by, model }) => (role === "user" ? t("question.name") : plain(by.slug || model));

/** The chat as Markdown. */
export function markdownOf(title, chat) {
  const parts = chat.messages.map((message) => {
    const files = (message.attachments ?? []).map(({ name }) => `*${t("save.attached", { name })}*`).join("\n");
    const sources = (message.citations ?? []).map(({ title: name, url }, place) => `${place + 1}. [${plain(name).replace(/[[\]]/g, "")}](<${url.replace(/[<>]/g, "")}>)`).join("\n");
    return [`## ${speaker(message)}`, files, message.text, sources].filter(Boolean).join("\n\n");
  });
  return `# ${title}\n\n${parts.join("\n\n")}\n`;
}

/** The chat as one HTML page. */
export async function pageOf(title, chat) {
  const { blocksOf, elementsOf } = await import("./markdown.js");
  const page = document.implementation.createHTMLDocument(title);
  const { lang, dir } = document.documentElement;
  Object.assign(page.documentElement, { lang, dir });
  page.head.prepend(el("meta", { charset: "utf-8" }), el("meta", { "http-equiv": "Content-Security-Policy", content: POLICY }));
  page.body.append(el("h1", { dir: "auto", text: title }));
  for (const message of chat.messages) {
    const body = el("div", message.role === "user" ? { class: "said", text: message.text } : {});
    if (message.role !== "user") {
      const env = {};
      body.append(elementsOf(blocksOf(message.text, env), env));
    }
    const attached = (message.attachments ?? []).map(({ name, url }) => (url.startsWith("data:image/") ? el("img", { src: url, alt: plain(name) }) : el("p", { text: t("save.attached", { name }) })));
    const links = (message.citations ?? []).map(({ url, title: name }) => [linkTarget(url), name]).filter(([target]) => target);
    const sources = links.length ? el("ol", {}, ...links.map(([target, name]) => el("li", {}, el("a", { href: target, rel: "noopener noreferrer nofollow", dir: "auto", text: plain(name || target) })))) : null;
    await standAlone(body);
    page.body.append(el("section", {}, ...[el("h2", { dir: "auto", text: speaker(message) }), ...attached, body, sources].filter(Boolean)));
  }
  // This page's own policy lets no style element be made here; the first "</head>" is the real one, as a title's is escaped.
  return `<!doctype html>\n${page.documentElement.outerHTML.replace("</head>", `<style>${STYLE}</style></head>`)}\n`;
}

// A file reaches no gateway and has no style of KaTeX's: pictures are taken along, formulas stay as MathML.
async function standAlone(body) {
  body.querySelectorAll("button, .katex-html").forEach((node) => node.remove());
  const diagrams = [...body.querySelectorAll(".mermaid > pre")];
  if (diagrams.length) await (await import("./diagrams.js")).addPictures(diagrams);
  for (const picture of body.querySelectorAll("img:not([src^='data:'])")) {
    const bytes = await fetch(picture.src).then((answer) => (answer.ok ? answer.blob() : null), () => null);
    picture.removeAttribute("loading"); // it is here already, and a lazy one would be missing in print
    if (bytes?.type.startsWith("image/")) picture.src = await dataUrl(bytes);
    else picture.replaceWith(picture.alt || t("picture.name"));
  }
}

/** Have the browser save a text as a file. */
export function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A name for a file of this chat, without its ending. */
export const fileName = (title) => title.replace(/[^\p{L}\p{N} _-]+/gu, "").trim().slice(0, 40) || "chat";
