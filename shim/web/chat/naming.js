// A chat's title, made by the model. Rule: it is asked only when a person wants it, once, about the beginning of the chat, in
// a temporary chat; what comes back is a line of words, whatever else it is.

import { plainTitle } from "./chats.js";
import { call } from "./client.js";
import { Refusal } from "./errors.js";
import { t } from "./texts.js";

const MOST_CHARACTERS = 1200; // of a message; the beginning says what it is about
const MESSAGES = 4;
const AROUND = /^["'“”‘’«»「『*_#\s]+|["'“”‘’«»」』*_.。!\s]+$/gu;
const LEAD = /^(?:[\p{L} ]{1,16})?(?:title|标题|العنوان)\s*[:：]\s*/iu;

/** The title that the model gives this chat. Throws a Refusal. */
export async function titleBy(chat, model, { key, signal }) {
  const said = chat.messages.slice(0, MESSAGES).map(({ role, text }) => `${role}: ${text.slice(0, MOST_CHARACTERS)}`);
  const content = `${t("title.ask")}\n\n<chat>\n${said.join("\n\n")}\n</chat>`;
  const body = { model, messages: [{ role: "user", content }], chatgpt: { temporary: true } };
  const answer = await (await call("v1/chat/completions", { key, signal, body })).json().catch(() => null);
  const title = cleaned(answer?.choices?.[0]?.message?.content);
  if (!title) throw new Refusal({ message: t("title.none") });
  return title;
}

function cleaned(text) {
  const line = (typeof text === "string" ? text : "").split("\n").map((one) => one.trim()).find(Boolean) ?? "";
  return plainTitle(line.slice(0, 400).replace(AROUND, "").replace(LEAD, "").replace(AROUND, ""));
}
