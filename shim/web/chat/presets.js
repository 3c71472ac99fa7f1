// Choices that are used again: a model, an effort, instructions and switches under a name. Rule: what is stored, or comes
// from a file, is not believed; a preset changes the chats it is used in, and no other.

import { newId } from "./chats.js";
import { follow, recall, remember } from "./store.js";
import { lasting, readWishes } from "./wishes.js";

export const MOST_PRESETS = 100;
const NAME_CHARACTERS = 80;
const SYSTEM_CHARACTERS = 50_000;
const KEY = "presets";

/** The choices of a chat as a preset; what costs much each time (a picture, research) is none of them. */
export const presetOf = ({ model, effort, system, wishes }, name) => ({ id: newId(), name, model, effort, system, wishes: lasting(wishes) });

/** What a preset says, for a chat. */
export const choicesOf = ({ model, effort, system, wishes }) => ({ model, effort, system, wishes: { ...wishes } });

export class Presets {
  /** `changed()` is told when another tab has changed them. */
  constructor(changed) {
    this.read();
    follow(KEY, () => {
      this.read();
      changed();
    });
  }

  read() {
    const { presets = [], usual = "" } = parsed(recall(KEY));
    this.all = readPresets(presets);
    this.usualId = this.all.some(({ id }) => id === usual) ? usual : "";
  }

  /** The one that new chats begin with, or null. */
  get usual() {
    return this.all.find(({ id }) => id === this.usualId) ?? null;
  }

  /** Keep a preset, in the place of an earlier one with its id; whether the browser kept it. */
  keep(preset, isUsual = false) {
    const place = this.all.findIndex(({ id }) => id === preset.id);
    if (place < 0) this.all.unshift(preset);
    else this.all[place] = preset;
    if (isUsual) this.usualId = preset.id;
    else if (this.usualId === preset.id) this.usualId = "";
    return this.store();
  }

  /** Forget one; gives a function that brings it back. */
  forget(preset) {
    const { all, usualId } = this;
    this.all = all.filter(({ id }) => id !== preset.id);
    if (usualId === preset.id) this.usualId = "";
    this.store();
    return () => this.keep(preset, usualId === preset.id);
  }

  /** Take in those of a file: one that is here already, with all it says, stays as it is. How many were new, and whether
   * the browser kept them. */
  take(stored) {
    const known = new Set(this.all.map(contentOf));
    const fresh = readPresets(stored).filter((preset) => !known.has(contentOf(preset))).slice(0, Math.max(0, MOST_PRESETS - this.all.length));
    this.all.push(...fresh.map((preset) => ({ ...preset, id: newId() })));
    return { count: fresh.length, isKept: !fresh.length || this.store() };
  }

  store() {
    return remember(KEY, this.all.length ? JSON.stringify({ presets: this.all, usual: this.usualId }) : "");
  }
}

const contentOf = ({ id: _, ...preset }) => JSON.stringify(preset);

function parsed(stored) {
  try {
    return JSON.parse(stored || "{}") ?? {};
  } catch {
    return {};
  }
}

function readPresets(stored) {
  const read = Array.isArray(stored) ? stored.slice(0, MOST_PRESETS).map(readPreset).filter(Boolean) : [];
  return [...new Map(read.map((preset) => [preset.id, preset])).values()];
}

function readPreset(stored) {
  const name = typeof stored?.name === "string" ? stored.name.trim().slice(0, NAME_CHARACTERS) : "";
  if (!name) return null;
  const text = (value, most) => (typeof value === "string" ? value.slice(0, most) : "");
  return {
    id: /^[0-9a-f]{24}$/.test(stored.id) ? stored.id : newId(),
    name,
    model: text(stored.model, 200) || "auto",
    effort: /^\w{1,12}$/.test(stored.effort) ? stored.effort : "",
    system: text(stored.system, SYSTEM_CHARACTERS),
    wishes: lasting(readWishes(stored.wishes)),
  };
}
