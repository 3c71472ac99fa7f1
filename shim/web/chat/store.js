// Where chats are kept: IndexedDB, or memory where the browser gives none. Rule: a failure to keep something is told,
// never thrown away; the chat on the screen goes on without it.

import { headOf, readChat, readHead } from "./chats.js";

const NAME = "chat2api";
const OPEN_MS = 4000;

/** A store: list, load, save, remove. `kept` says whether it outlives the page. */
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
  }

  /** {heads, broken}: what can be listed, newest first, and how many entries can't be read. */
  async list() {
    const stored = await this.run("readonly", ({ heads }) => heads.getAll());
    return sorted(stored);
  }

  /** The chat, or null where it is gone or can't be read. */
  async load(id) {
    return readChat(await this.run("readonly", ({ bodies }) => bodies.get(id)));
  }

  async save(chat) {
    await this.run("readwrite", ({ heads, bodies }) => {
      heads.put(headOf(chat));
      return bodies.put(chat);
    });
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
      const asked = work({ heads: transaction.objectStore("heads"), bodies: transaction.objectStore("bodies") });
      if (mode === "readwrite") transaction.commit?.(); // A page that is being closed hears of no success to end it by.
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
  }

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

/** Keep a small choice; an empty one is forgotten. */
export function remember(name, value, area = localStorageOrNull()) {
  try {
    value ? area?.setItem(`chat2api.${name}`, value) : area?.removeItem(`chat2api.${name}`);
  } catch {
    // It holds until the page is closed.
  }
}

function localStorageOrNull() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}
