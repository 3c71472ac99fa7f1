// Mermaid diagrams as pictures. Rule: the library runs in a frame without an origin and without a network; what comes out of
// it is believed to be text, made harmless by `sanitize.js`, and shown as an image only.

import { el, iconButton } from "./dom.js";
import { sanitizedDrawing } from "./sanitize.js";
import { download } from "./saving.js";
import { t } from "./texts.js";

const FRAME = new URL("diagram.html", import.meta.url).href;
const CHARACTERS = 20_000;
const SVG_CHARACTERS = 2_000_000;
const LOAD_MS = 30_000;
const DRAW_MS = 6000;
const IDLE_MS = 60_000;
const KEPT = 40;
const WATCHED = 200;
const MOST_SAVED = 50; // in one page

// What is told instead of a diagram; the code stays.
const TROUBLES = { away: "diagram.away", kind: "diagram.kind", large: "diagram.large", odd: "diagram.odd", slow: "diagram.slow", wrong: "diagram.wrong" };

// What Mermaid's words mean: the last for any others.
const TOLD = [[/No diagram type|UnknownDiagram|not supported/i, "kind"], [/Edge limit|Maximum text size/i, "large"], [/(?:)/, "wrong"]];

class NoDrawing extends Error {}

/** The frame, made when it is first needed, and anew after a drawing that did not end. One drawing at a time. */
class Studio {
  last = Promise.resolve();
  asked = 0;

  /** The SVG of a diagram. Throws NoDrawing with a key of TROUBLES. */
  draw(text, theme) {
    const drawing = this.last.then(() => this.drawNow(text, theme));
    this.last = drawing.catch(() => undefined);
    return drawing;
  }

  async drawNow(text, theme) {
    clearTimeout(this.idle);
    this.open ??= this.make();
    await this.open;
    const asked = (this.asked += 1);
    const fontFamily = getComputedStyle(document.body).fontFamily;
    const answer = this.told((data) => data.asked === asked, DRAW_MS, "slow");
    this.frame.contentWindow.postMessage({ asked, text, theme, fontFamily }, "*"); // Its origin has no name.
    const { svg, wrong } = await answer;
    this.idle = setTimeout(() => this.close(), IDLE_MS);
    if (typeof svg !== "string") throw new NoDrawing(TOLD.find(([words]) => words.test(wrong))[1]);
    if (svg.length > SVG_CHARACTERS) throw new NoDrawing("large");
    const harmless = sanitizedDrawing(svg);
    if (!harmless) throw new NoDrawing("odd");
    return harmless;
  }

  make() {
    this.frame = el("iframe", { id: "diagrams", sandbox: "allow-scripts", "aria-hidden": "true", tabindex: "-1", title: "" });
    this.frame.src = FRAME;
    const ready = this.told((data) => data.ready === true, LOAD_MS, "away");
    document.body.append(this.frame);
    return ready;
  }

  close() {
    this.frame?.remove();
    this.open = this.frame = null;
  }

  told(isIt, wait, trouble) {
    const { frame } = this;
    return new Promise((resolve, reject) => {
      const listen = ({ source, data }) => {
        if (source === frame.contentWindow && data && isIt(data)) end(() => resolve(data));
      };
      const timer = setTimeout(() => end(() => (this.close(), reject(new NoDrawing(trouble)))), wait);
      const end = (then) => {
        clearTimeout(timer);
        removeEventListener("message", listen);
        then();
      };
      addEventListener("message", listen);
    });
  }
}

const studio = new Studio();
const drawings = new Map();

/** The SVG of a diagram, drawn once for each theme. Throws NoDrawing. */
function drawing(text, theme) {
  const name = `${theme}\n${text}`;
  if (text.length > CHARACTERS) return Promise.reject(new NoDrawing("large"));
  const found = drawings.get(name) ?? studio.draw(text, theme);
  drawings.delete(name);
  drawings.set(name, found);
  if (drawings.size > KEPT) drawings.delete(drawings.keys().next().value);
  found.catch(({ message }) => message !== "wrong" && message !== "kind" && drawings.delete(name));
  return found;
}

const sourceOf = (svg) => `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
const nameOf = (svg) => /<title[^>]*>([^<]{1,200})</.exec(svg)?.[1].trim() || t("diagram.name");
const picture = (svg) => el("img", { src: sourceOf(svg), alt: nameOf(svg), tabindex: "0" });

const night = matchMedia("(prefers-color-scheme: dark)");
const themeNow = () => ((document.documentElement.dataset.theme ?? (night.matches ? "dark" : "light")) === "dark" ? "dark" : "default");

// Only what is looked at is drawn.
const watch = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) frames.get(target)?.();
});
const frames = new WeakMap();
const shown = new Set();

function forgetGone() {
  for (const frame of shown) if (!frame.isConnected) shown.delete(frame);
}

function onTheme() {
  forgetGone();
  for (const frame of shown) watch.unobserve(frame), watch.observe(frame);
}
night.addEventListener("change", onTheme);
new MutationObserver(onTheme).observe(document.documentElement, { attributeFilter: ["data-theme"] });

/** Show the diagram that the code in this frame is of, as soon as the frame is in sight. */
export function offerDiagram(frame, text) {
  const [head, code] = frame.children;
  const place = el("div", { class: "diagram", hidden: true });
  const trouble = el("p", { class: "trouble", role: "note", hidden: true });
  const other = iconButton("diagram", t("diagram.code"), () => turn(code.hidden));
  const save = iconButton("export", t("diagram.save"), async () => download("diagram.svg", await drawing(text, "default"), "image/svg+xml"));
  const turn = (toCode) => {
    code.hidden = !toCode;
    place.hidden = toCode;
    for (const button of ownActs) button.hidden = !toCode;
    other.title = toCode ? t("diagram.show") : t("diagram.code");
    other.setAttribute("aria-label", other.title);
  };
  const ownActs = [...head.querySelectorAll("button")].slice(0, -1); // Copying is of use for both.
  let theme = "";
  const draw = async () => {
    if (theme === themeNow()) return;
    theme = themeNow();
    const wanted = theme;
    try {
      const svg = await drawing(text, wanted);
      if (wanted !== theme) return;
      const isFirst = !place.firstChild;
      place.replaceChildren(picture(svg));
      trouble.remove();
      if (!isFirst) return;
      head.querySelector(".code-acts").prepend(other, save);
      frame.append(place);
      turn(false);
    } catch (failure) {
      if (!(failure instanceof NoDrawing)) throw failure;
      trouble.textContent = t(TROUBLES[failure.message]);
      trouble.hidden = false;
      if (failure.message === "away") theme = ""; // It is tried again when it comes into sight again.
      head.after(trouble);
    }
  };
  if (shown.size > WATCHED) forgetGone();
  frames.set(frame, draw);
  shown.add(frame);
  watch.observe(frame);
}

/** Put a picture before the code of each diagram, where it can be drawn. */
export async function addPictures(codes) {
  for (const code of codes.slice(0, MOST_SAVED)) {
    const svg = await drawing(code.textContent, "default").catch(() => "");
    if (svg) code.before(el("img", { src: sourceOf(svg), alt: nameOf(svg) }));
  }
}
