// Without the gateway: the page opens from what its worker has kept, and what is written waits. Rule: where a browser has
// no workers (plain http from elsewhere), the page works just without.

const ADDRESS = new URL("offline.js", document.baseURI).href;
const AGAIN_MS = 10_000;

/** Have the page's files kept, once the page itself is there. */
export function keepForOffline() {
  if (!navigator.serviceWorker) return;
  const policy = globalThis.trustedTypes?.createPolicy("offline", { createScriptURL: () => ADDRESS });
  const begin = () => {
    // It is of use only later: a server that has none, or a browser that keeps nothing, changes nothing now.
    navigator.serviceWorker.register(policy?.createScriptURL("") ?? ADDRESS, { updateViaCache: "none" }).catch(() => undefined);
  };
  if (document.readyState === "complete") begin();
  else addEventListener("load", begin, { once: true });
}

/** Whether the gateway can be reached, as far as is known. `look()` asks it, and tells `found` what came of that. */
export class Reach {
  away = false;

  constructor(look) {
    this.look = look;
    addEventListener("online", () => this.away && look());
    document.addEventListener("visibilitychange", () => !document.hidden && this.away && look());
  }

  found(away) {
    this.away = away;
    clearTimeout(this.timer);
    if (away) this.timer = setTimeout(() => (document.hidden ? undefined : this.look()), AGAIN_MS);
  }
}
