// Pictures and files that go with a question. Rule: they travel inside the request, and every later request of the chat
// takes them along again; so the limit is for all of a chat together.

import { el, icon, iconButton } from "./dom.js";
import { sizeName } from "./facts.js";
import { plain, t } from "./texts.js";

/** All attachments of a chat, in bytes: what the gateway's usual MAX_REQUEST_BYTES holds once written in base64. */
const MOST_BYTES = 20 * 1024 * 1024;
const PICTURE = /^image\/(?:png|jpeg|webp|gif)$/;

/** The files as attachments, `used` bytes being taken already: {taken, refused}, the latter sentences. */
export async function readFiles(files, used) {
  const taken = [];
  const refused = [];
  for (const file of files) {
    if (used + file.size > MOST_BYTES) {
      refused.push(t("attach.large", { name: file.name, size: sizeName(file.size), most: sizeName(MOST_BYTES) }));
      continue;
    }
    if (!file.size) {
      refused.push(t("attach.empty", { name: file.name }));
      continue;
    }
    try {
      const url = await dataUrl(file);
      if (PICTURE.test(file.type)) await Object.assign(new Image(), { src: url }).decode(); // One that is none is refused with all of its chat.
      taken.push({ name: file.name || "picture.png", type: file.type, size: file.size, url });
      used += file.size;
    } catch {
      refused.push(t("attach.unreadable", { name: file.name }));
    }
  }
  return { taken, refused };
}

/** The bytes of a file as an address that holds them. */
export function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(file.type ? reader.result : reader.result.replace(/^data:[^;,]*/, "data:application/octet-stream"));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** The bytes of all attachments of a chat. */
export const bytesOf = (chat) => chat.messages.flatMap((message) => message.attachments ?? []).reduce((sum, { size }) => sum + size, 0);

/** An attachment to look at; with `remove` it can be taken away. */
export function attachmentView(attachment, remove = null) {
  const { type, size, url } = attachment;
  const name = plain(attachment.name);
  const isPicture = PICTURE.test(type);
  const sight = isPicture ? el("img", { src: url, alt: name, tabindex: remove ? null : "0" }) : el("span", { class: "sheet" }, icon("file"));
  const words = isPicture && !remove ? null : el("span", { class: "words" }, el("span", { class: "name", dir: "auto", text: name }), el("span", { class: "size", text: sizeName(size) }));
  const button = remove ? iconButton("close", t("attach.remove", { name }), remove) : null;
  return el("li", { class: isPicture ? "attachment picture" : "attachment" }, sight, words, button);
}
