// A microphone and a camera beside the field. Rule: each is offered only where the browser has the device, lets this page
// reach it, and an account can take what comes of it; what works them is fetched when one is used.

import { at } from "./dom.js";
import { t } from "./texts.js";

const devices = navigator.mediaDevices; // A page on plain http has none.
const isHeld = matchMedia("(pointer: coarse)"); // A phone's own camera program is better than any page.

export class Capture {
  allowed = false;

  /** `key()` gives the API key, `insert(text)` puts words into the field, `attach(files)` takes pictures, `tell(text)`
   * shows what went wrong. */
  constructor(acts) {
    this.acts = acts;
    at("say").addEventListener("click", () => this.say());
    at("camera").addEventListener("click", () => this.shoot());
    at("camera-file").addEventListener("change", () => this.shot());
    devices?.addEventListener("devicechange", () => this.offer());
  }

  /** Whether an account could take a recording or a picture. */
  allow(allowed) {
    this.allowed = allowed;
    return this.offer();
  }

  async offer() {
    const kinds = new Set(((await devices?.enumerateDevices().catch(() => [])) ?? []).map(({ kind }) => kind));
    const hears = kinds.has("audioinput") && Boolean(globalThis.MediaRecorder);
    at("say").hidden = !(this.voice?.isBusy || (this.allowed && hears));
    at("camera").hidden = !(this.allowed && (isHeld.matches || kinds.has("videoinput")));
  }

  async say() {
    this.voice ??= await this.part(() => import("./voice.js"), ({ Voice }) => new Voice(this.acts));
    this.voice?.toggle();
  }

  async shoot() {
    if (isHeld.matches) return at("camera-file").click();
    this.camera ??= await this.part(() => import("./camera.js"), ({ Camera }) => new Camera(this.acts));
    return this.camera?.open();
  }

  shot() {
    this.acts.attach([...at("camera-file").files]);
    at("camera-file").value = "";
  }

  /** Make what works them anew when it is used next: the page speaks another language. */
  forget() {
    if (this.voice?.isBusy) return;
    this.voice?.remove();
    this.camera?.dialog.remove();
    Object.assign(this, { voice: null, camera: null });
  }

  async part(fetched, made) {
    try {
      return made(await fetched());
    } catch {
      this.acts.tell(t("part.missing")); // The network or a new version is in the way.
      return null;
    }
  }
}

/** What kept a device from being used: "denied", "missing" or "taken". */
export function reasonOf({ name }) {
  if (name === "NotAllowedError" || name === "SecurityError") return "denied";
  return name === "NotFoundError" || name === "OverconstrainedError" ? "missing" : "taken";
}

/** Let go of a device. */
export const release = (stream) => stream?.getTracks().forEach((track) => track.stop());
