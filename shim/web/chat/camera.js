// A picture from the camera, looked at before it is used. Rule: the camera is on while its dialog is open, and no longer.

import { reasonOf, release } from "./capture.js";
import { el } from "./dom.js";
import { t } from "./texts.js";

const MOST_PIXELS = 2048; // on the longer side
const QUALITY = 0.9;
const REASONS = { denied: "camera.denied", missing: "camera.missing", taken: "camera.taken" };

export class Camera {
  constructor({ attach }) {
    Object.assign(this, { attach, cameras: [] });
    this.wanted = { facingMode: "environment" }; // the camera on the back, where there are two
    const button = (name, act, kind = null) => el("button", { type: "button", class: kind, text: t(name), on: { click: act } });
    this.live = el("video", { autoplay: true, playsinline: true, "aria-label": t("camera.live") });
    this.live.muted = true;
    this.still = el("img", { alt: t("camera.picture") });
    this.trouble = el("p", { class: "hint", role: "status" });
    this.close = button("common.cancel", () => this.dialog.close());
    this.other = button("camera.other", () => this.turn());
    this.shoot = button("camera.shoot", () => this.take(), "primary");
    this.again = button("camera.again", () => this.watch());
    this.use = button("camera.use", () => this.hand(), "primary");
    this.dialog = el("dialog", { class: "camera", "aria-label": t("camera.take") }, this.live, this.still, this.trouble, el("div", { class: "row" }, this.close, this.other, this.again, this.shoot, this.use));
    this.dialog.addEventListener("close", () => this.end());
    document.body.append(this.dialog);
  }

  async open() {
    if (document.querySelector("dialog[open]")) return;
    this.dialog.showModal();
    this.watch();
    await this.start();
  }

  async start() {
    const { wanted } = this;
    release(this.stream);
    this.stream = null;
    this.show(t("camera.asking"));
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { ...wanted, width: { ideal: MOST_PIXELS } } });
      if (!this.dialog.open || wanted !== this.wanted) return release(stream);
      this.stream = stream;
      this.live.srcObject = stream;
      await this.live.play().catch(() => {}); // It was closed meanwhile.
      const devices = await navigator.mediaDevices.enumerateDevices();
      this.cameras = devices.filter(({ kind }) => kind === "videoinput").map(({ deviceId }) => deviceId);
      this.show("");
      this.shoot.focus();
    } catch (failure) {
      this.show(t(REASONS[reasonOf(failure)]));
    }
    return undefined;
  }

  turn() {
    const now = this.cameras.indexOf(this.stream?.getVideoTracks()[0].getSettings().deviceId);
    this.wanted = { deviceId: { exact: this.cameras[(now + 1) % this.cameras.length] } };
    return this.start();
  }

  watch() {
    this.picture = null;
    this.show("");
    this.shoot.focus();
  }

  async take() {
    const { videoWidth: width, videoHeight: height } = this.live;
    const scale = Math.min(1, MOST_PIXELS / Math.max(width, height));
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d").drawImage(this.live, 0, 0, canvas.width, canvas.height);
    const bytes = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    if (!bytes || !this.dialog.open) return;
    this.picture = new File([bytes], `${t("camera.photo")}.jpg`, { type: "image/jpeg" });
    URL.revokeObjectURL(this.still.src);
    this.still.src = URL.createObjectURL(this.picture);
    this.show("");
    this.use.focus();
  }

  hand() {
    const { picture } = this;
    this.dialog.close();
    this.attach([picture]);
  }

  end() {
    release(this.stream);
    URL.revokeObjectURL(this.still.src);
    Object.assign(this, { stream: null, picture: null });
    this.live.srcObject = null;
  }

  show(trouble) {
    const { picture, stream } = this;
    this.trouble.textContent = trouble;
    this.trouble.hidden = !trouble;
    this.live.hidden = Boolean(picture) || !stream;
    this.still.hidden = this.again.hidden = this.use.hidden = !picture;
    this.shoot.hidden = Boolean(picture);
    this.shoot.disabled = !stream;
    this.other.hidden = Boolean(picture) || this.cameras.length < 2;
  }
}
