// Where chats are kept: IndexedDB, or memory where the browser gives none. Rule: a failure to keep something is told,
// never thrown away; the chat on the screen goes on without it.

import { headOf, newId, readChat, readHead } from "./chats.js";
import { knownOf, mergeInto } from "./merging.js";

const NAME = "chat2api";
const OPEN_MS = 4000;

/** A store: list, load, save, take, remove. `kept` says whether it outlives the page. */
export async function openStore() {
  try {
    return new Kept(await open());
  } catch {
    return new Forgetful();
  }
}

class Kept {
  kept = true;

  constructor(database) {
    this.database = database;
    this.known = new WeakMap(); // of a chat: what was stored of it when it was last read or stored here, and by which stamp
  }

  /** {heads, broken}: what can be listed, newest first, and how many entries can't be read. */
  async list() {
    const stored = await this.run("readonly", ({ heads }) => heads.getAll());
    return sorted(stored);
  }

  /** The chat, or null where it is gone or can't be read. */
  async load(id) {
    let head;
    const body = await this.run("readonly", ({ heads, bodies }, { then }) => {
      then(heads.get(id), (found) => (head = found));
      return bodies.get(id);
    });
    const chat = readChat(body);
    if (chat) this.known.set(chat, { ...knownOf(chat), stamp: head?.stamp });
    return chat;
  }

  /** Keep the chat, with what another tab has stored of it since it was read; that is then in `chat`, too. With `hasten`
   * it is stored as it is, at once: there may be no time for more. Resolves to "merged" where there was something of
   * another tab, and to "gone" where another tab has deleted the chat: then it is stored only with `anew`. */
  async save(chat, { hasten = false, anew = false } = {}) {
    const stamp = newId();
    let found = "";
    const before = this.known.get(chat);
    const known = before ?? { ...knownOf({ messages: [], branches: {} }), stamp: undefined };
    const saving = this.run("readwrite", ({ heads, bodies }, { commit, then }) => {
      const put = () => {
        this.known.set(chat, { ...knownOf(chat), stamp });
        heads.put({ ...headOf(chat), stamp });
        return bodies.put(chat);
      };
      if (hasten) {
        const asked = put();
        commit(); // A page that is being closed hears of no success to end it by.
        return asked;
      }
      return then(heads.get(chat.id), (head) => {
        if (!head && known.stamp !== undefined && !anew) {
          found = "gone";
          return null;
        }
        if (!head || head.stamp === known.stamp) return put();
        return then(bodies.get(chat.id), (body) => {
          const stored = readChat(body);
          if (stored) found = "merged";
          if (stored) mergeInto(chat, stored, known);
          put();
        });
      });
    });
    try {
      await saving;
    } catch (failure) {
      // Nothing was stored, so that nobody need have deleted what is not there the next time.
      if (this.known.get(chat)?.stamp === stamp) before ? this.known.set(chat, before) : this.known.delete(chat);
      throw failure;
    }
    return found;
  }

  /** Take into `chat` what is stored of it. */
  async take(chat) {
    const known = this.known.get(chat);
    const stored = await this.load(chat.id);
    if (!stored || !known || this.known.get(chat) !== known) return;
    if (stored.messages.at(-1)?.error?.code === "closed") return; // The other tab is still writing it.
    mergeInto(chat, stored, known);
    this.known.set(chat, this.known.get(stored));
  }

  async remove(id) {
    await this.run("readwrite", ({ heads, bodies }) => {
      heads.delete(id);
      return bodies.delete(id);
    });
  }

  // What `work` asks for is there when the whole transaction is: only then is a full disk known.
  run(mode, work) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(["heads", "bodies"], mode);
      const then = (request, next) => {
        request.onsuccess = () => {
          try {
            next(request.result);
          } catch (failure) {
            reject(failure);
            transaction.abort();
          }
        };
        return request;
      };
      const stores = { heads: transaction.objectStore("heads"), bodies: transaction.objectStore("bodies") };
      const asked = work(stores, { commit: () => transaction.commit?.(), then });
      transaction.oncomplete = () => resolve(asked.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("The browser gave up storing"));
      transaction.onerror = () => reject(transaction.error);
    });
  }
}

class Forgetful {
  kept = false;
  chats = new Map();

  async list() {
    return sorted([...this.chats.values()].map(headOf));
  }

  async load(id) {
    return this.chats.get(id) ?? null;
  }

  async save(chat) {
    this.chats.set(chat.id, chat);
    return "";
  }

  async take() {}

  async remove(id) {
    this.chats.delete(id);
  }
}

function open() {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("IndexedDB does not answer")), OPEN_MS);
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => {
      asked.result.createObjectStore("heads", { keyPath: "id" });
      asked.result.createObjectStore("bodies", { keyPath: "id" });
    };
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => {
      asked.result.onversionchange = () => asked.result.close();
      resolve(asked.result);
    };
  });
}

function sorted(stored) {
  const heads = stored.map(readHead).filter(Boolean);
  return { heads: heads.sort((one, other) => other.updated - one.updated), broken: stored.length - heads.length };
}

/** Small choices: "" where nothing is kept. */
export function recall(name, area = localStorageOrNull()) {
  try {
    return area?.getItem(`chat2api.${name}`) ?? "";
  } catch {
    return "";
  }
}

/** Keep a small choice; an empty one is forgotten. Whether the browser did. */
export function remember(name, value, area = localStorageOrNull()) {
  try {
    value ? area?.setItem(`chat2api.${name}`, value) : area?.removeItem(`chat2api.${name}`);
    return Boolean(area);
  } catch {
    return false; // It holds until the page is closed.
  }
}

/** Have `changed()` told when another tab has changed a small choice. */
export function follow(name, changed) {
  addEventListener("storage", ({ key }) => (key === null || key === `chat2api.${name}`) && changed());
}

function localStorageOrNull() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
