// The chats of this browser as one thing: list, save, delete with undo, export, import. Rule: what the store can't keep is
// told once in a notice, and the page goes on.

import { exportText, headOf, newId, readExport } from "./chats.js";
import { el } from "./dom.js";

export class Library {
  /** `changed()` when the list is another; `elsewhere(id)` when another tab has changed a chat; `merged(chat)` when
   * something of another tab came into a chat that was saved; `lost(chat, undo)` when another tab has deleted one that was
   * to be saved, which `undo` does all the same; `tell(key, values)` shows a lasting notice, `tell(null)` takes it away. */
  constructor(store, { changed, elsewhere, merged, lost, tell }) {
    Object.assign(this, { store, changed, merged, lost, tell });
    this.touched = new Set(); // chats that another tab has changed since they were saved here
    this.heads = [];
    this.gone = new Set(); // chats that were deleted, here or in another tab
    this.others = new BroadcastChannel("chat2api.chats");
    this.others.onmessage = ({ data }) => {
      this.touched.add(data);
      this.refresh().then(() => this.heads.some(({ id }) => id === data) && this.gone.delete(data)); // Brought back there.
      elsewhere(data);
    };
    if (!store.kept) tell("store.forgetful");
  }

  async refresh() {
    try {
      const { heads, broken } = await this.store.list();
      this.heads = heads;
      if (broken) this.tell("store.broken", { count: broken });
    } catch {
      this.tell("store.unreadable");
    }
    this.changed();
  }

  load(id) {
    return this.store.load(id).catch(() => null);
  }

  /** Take into this chat what another tab has stored of it. */
  take(chat) {
    return this.store.take(chat).catch(() => undefined);
  }

  /** Keep the chat as it is now. `hasten` where the page may be gone in a moment; `anew` also where another tab has
   * deleted it: somebody goes on with it here. */
  async save(chat, { hasten = false, anew = false } = {}) {
    if (anew) this.gone.delete(chat.id);
    if (this.gone.has(chat.id)) return;
    const head = headOf(chat);
    this.heads = [head, ...this.heads.filter(({ id }) => id !== chat.id)].sort((one, other) => other.updated - one.updated);
    this.changed();
    await this.change(chat.id, async () => {
      const found = await this.store.save(chat, { hasten: hasten && !this.touched.has(chat.id), anew });
      this.touched.delete(chat.id);
      if (found === "merged") this.merged(chat);
      if (found !== "gone" || this.gone.has(chat.id)) return;
      this.gone.add(chat.id);
      this.heads = this.heads.filter(({ id }) => id !== chat.id);
      this.changed();
      this.lost(chat, () => this.save(chat, { anew: true }));
    });
  }

  /** Forget a chat; resolves to a function that brings it back, null where there is nothing to bring back. */
  async remove(id, current = null) {
    const chat = current ?? (await this.load(id));
    this.gone.add(id);
    this.heads = this.heads.filter((head) => head.id !== id);
    this.changed();
    await this.change(id, () => this.store.remove(id));
    if (!chat) return null;
    return () => this.save(chat, { anew: true });
  }

  async change(id, work) {
    try {
      await work();
      if (this.failed) this.tell(null);
      this.failed = false;
      this.others.postMessage(id);
    } catch (failure) {
      this.failed = true;
      this.tell(failure?.name === "QuotaExceededError" ? "store.full" : "store.failed");
    }
  }

  /** Have the browser save these chats, and presets, as a file. */
  async export(ids, name, presets = []) {
    const chats = (await Promise.all(ids.map((id) => this.load(id)))).filter(Boolean);
    const url = URL.createObjectURL(new Blob([exportText(chats, presets)], { type: "application/json" }));
    el("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  /** Take in the chats of an export; one that is here already gets a second copy. {chats, presets}, the latter as they
   * stand in the file. Throws an Error that says what is wrong. */
  async import(text) {
    const { chats, presets } = readExport(text);
    for (const chat of chats) {
      if (this.gone.has(chat.id) || this.heads.some(({ id }) => id === chat.id)) chat.id = newId();
      await this.save(chat);
    }
    return { chats, presets };
  }
}
