// What is told of an answer beneath it: who answered, how hard it thought, how long it took. Rule: only what was told
// or measured; nothing is guessed.

import { number, plain, t } from "./texts.js";

const EFFORTS = { none: "effort.none", min: "effort.min", standard: "effort.standard", extended: "effort.extended", max: "effort.max" };

const inUnit = (value, unit, options) => number(value, { style: "unit", unit, ...options });

/** So many seconds, as a person says it. */
export function timeName(seconds) {
  if (seconds < 60) return inUnit(seconds, "second");
  const [large, small] = seconds < 3600 ? [[Math.floor(seconds / 60), "minute"], [seconds % 60, "second"]] : [[Math.floor(seconds / 3600), "hour"], [Math.ceil((seconds % 3600) / 60), "minute"]];
  return `${inUnit(...large)} ${inUnit(...small)}`;
}

/** So many milliseconds; below ten seconds with a tenth. */
export const secondsName = (milliseconds) => (milliseconds < 9950 ? inUnit(milliseconds / 1000, "second", { minimumFractionDigits: 1, maximumFractionDigits: 1 }) : timeName(Math.round(milliseconds / 1000)));

/** What a person calls so many bytes. */
export function sizeName(bytes) {
  if (bytes < 1000) return inUnit(bytes, "byte", { unitDisplay: "long" });
  return bytes < 1_000_000 ? inUnit(Math.round(bytes / 1000), "kilobyte") : inUnit(bytes / 1_000_000, "megabyte", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
}

/** The name of a thinking effort, which is the web backend's own word. */
export const effortName = (effort) => (EFFORTS[effort] ? t(EFFORTS[effort]) : effort ? t("effort.other", { effort }) : "");

/** One line of facts; an answer from before they were kept has its model only. */
export function answeredBy({ model, by, took, tokens }) {
  const counted = tokens ? t("answer.tokens", { count: tokens }) : "";
  return [plain(by.slug || model), effortName(by.effort), took ? secondsName(took) : "", counted].filter(Boolean).join(" · ");
}
