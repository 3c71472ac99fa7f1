// The report of a research, to be read as what it is: a document with its headings and sources, which can be kept. Rule: it
// is made of the same sanitised elements as the answer.

import { copyButton, el } from "./dom.js";
import { timeName } from "./facts.js";
import { linkTarget } from "./links.js";
import { blocksOf, elementsOf } from "./markdown.js";
import { download, fileName, pageOf } from "./saving.js";
import { plain, t } from "./texts.js";

/** Open the report that this answer is; `title` names it where it has no heading of its own. */
export function openReport(message, title) {
  const env = {};
  const body = el("div", { class: "prose" });
  body.append(elementsOf(blocksOf(message.text, env), env));
  const headings = [...body.querySelectorAll("h1, h2, h3")];
  const name = plain(headings.find(({ localName }) => localName === "h1")?.textContent.trim() || title);
  const button = (key, act, kind = null) => el("button", { type: "button", class: kind, text: t(key), on: { click: act } });
  const dialog = el(
    "dialog",
    { class: "report", "aria-label": name },
    el("div", { class: "paper", tabindex: "0" }, contentsOf(headings), body, sourcesOf(message)),
    el(
      "div",
      { class: "row" },
      copyButton(t("report.copy"), () => markdownOf(message)),
      button("save.markdown", () => download(`${fileName(name)}.md`, markdownOf(message), "text/markdown")),
      button("save.page", async () => download(`${fileName(name)}.html`, await pageOf(name, { messages: [message] }), "text/html")),
      button("report.print", () => print()),
      button("common.close", () => dialog.close(), "primary"),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  dialog.querySelector(".paper").focus();
}

function contentsOf(headings) {
  if (headings.length < 3) return null;
  const go = (heading) => {
    heading.tabIndex = -1;
    heading.scrollIntoView({ block: "start" });
    heading.focus({ preventScroll: true });
  };
  const entry = (heading) => el("li", { class: heading.localName }, el("button", { type: "button", dir: "auto", text: heading.textContent, on: { click: () => go(heading) } }));
  return el("nav", { "aria-label": t("report.contents") }, el("h2", { text: t("report.contents") }), el("ol", {}, ...headings.map(entry)));
}

const linksOf = ({ citations }) => citations.map(({ url, title }) => [linkTarget(url), plain(title)]).filter(([target]) => target);

function sourcesOf(message) {
  const links = linksOf(message);
  const facts = el("p", { class: "hint", text: t("report.took", { time: timeName(Math.round(message.took / 1000)) }) });
  if (!links.length) return facts;
  const outside = { target: "_blank", rel: "noopener noreferrer nofollow" };
  const items = links.map(([target, title]) => el("li", {}, el("a", { href: target, ...outside, dir: "auto", text: title || target }), " ", el("span", { class: "hint", text: new URL(target).hostname })));
  return el("section", { class: "sources" }, el("h2", { text: t("answer.sources") }), el("ol", {}, ...items), facts);
}

function markdownOf(message) {
  const links = linksOf(message).map(([target, title], place) => `${place + 1}. [${(title || target).replace(/[[\]]/g, "")}](<${target.replace(/[<>]/g, "")}>)`);
  return `${message.text}\n${links.length ? `\n## ${t("answer.sources")}\n\n${links.join("\n")}\n` : ""}`;
}
