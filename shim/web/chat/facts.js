// What is told of an answer beneath it: who answered, how hard it thought, how long it took. Rule: only what was told
// or measured; nothing is guessed.

const EFFORTS = { none: "no thinking", min: "light thinking", standard: "standard thinking", extended: "extended thinking", max: "longest thinking" };

/** So many seconds, as a person says it. */
export function timeName(seconds) {
  if (seconds < 60) return `${seconds} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ${seconds % 60} s` : `${Math.floor(seconds / 3600)} h ${Math.ceil((seconds % 3600) / 60)} min`;
}

/** So many milliseconds; below ten seconds with a tenth. */
export const secondsName = (milliseconds) => (milliseconds < 9950 ? `${(milliseconds / 1000).toFixed(1)} s` : timeName(Math.round(milliseconds / 1000)));

/** The name of a thinking effort, which is the web backend's own word. */
export const effortName = (effort) => EFFORTS[effort] ?? (effort ? `${effort} thinking` : "");

/** One line of facts; an answer from before they were kept has its model only. */
export function answeredBy({ model, by, took, tokens }) {
  const counted = tokens ? `${tokens.toLocaleString()} ${tokens === 1 ? "token" : "tokens"}` : "";
  return [by.slug || model, effortName(by.effort), took ? secondsName(took) : "", counted].filter(Boolean).join(" · ");
}
