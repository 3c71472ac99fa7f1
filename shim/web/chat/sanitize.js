// The wall between what a model writes and the page. Rule: an allow-list of elements and attributes; no style, no form,
// no id or name, no SVG but a diagram's picture; every address is judged by `links.js`.

import "../vendor/dompurify/purify.min.js";
import { linkTarget, pictureSource } from "./links.js";

const purify = globalThis.DOMPurify;
const TAGS = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre",
  "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const ATTRIBUTES = ["alt", "class", "href", "src", "start", "title"];
const CLASS = /^(?:language-[\w+#.-]{1,40}|math|display|left|center|right|remote|task|hljs-[\w-]+|[a-z]+_)$/;
const OPTIONS = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|blob:|[^a-z]|[a-z+.-]+(?:[^a-z+.\-:]|$))/i,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.hasAttribute?.("class")) keepClasses(node);
  if (node.localName === "a") pointOutside(node);
  if (node.localName === "img") guardPicture(node);
});

function keepClasses(node) {
  node.className = [...node.classList].filter((name) => CLASS.test(name)).join(" ");
}

function pointOutside(node) {
  const target = linkTarget(node.getAttribute("href") ?? "");
  node.removeAttribute("href");
  if (target === null) return;
  node.setAttribute("href", target);
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
}

function guardPicture(node) {
  const source = pictureSource(node.getAttribute("src") ?? "");
  if (source === null) node.removeAttribute("src");
  else node.setAttribute("src", source);
}

/** Markup as a fragment that can do nothing. */
export const sanitized = (html) => purify.sanitize(html, OPTIONS);

// What a value may call: colours, ways to move, and parts of the same drawing.
const HARMLESS_CALL = /\b(?:rgba?|hsla?|color|matrix|translate|scale|rotate|skew[XY])\(|\burl\(["']?#/gi;
const DRAWING = {
  USE_PROFILES: { svg: true },
  FORBID_TAGS: ["a", "animate", "animatecolor", "animatemotion", "animatetransform", "foreignobject", "image", "set", "style", "use"],
  FORBID_ATTR: ["class", "style"],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** A drawing as the text of an SVG file that runs nothing and points nowhere; "" where it is none. */
export function sanitizedDrawing(svg) {
  const [drawing] = purify.sanitize(svg, DRAWING).children;
  if (drawing?.localName !== "svg") return "";
  for (const node of [drawing, ...drawing.querySelectorAll("*")]) {
    for (const { name, value } of [...node.attributes]) {
      const isLink = /^(?:xlink:)?(?:href|src)$/i.test(name);
      if (isLink ? !value.startsWith("#") : /[(\\]/.test(value.replace(HARMLESS_CALL, ""))) node.removeAttribute(name);
    }
  }
  return new XMLSerializer().serializeToString(drawing);
}

/** The same for coloured code: spans and their classes only. */
export const sanitizedSpans = (html) => purify.sanitize(html, { ...OPTIONS, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] });
