// The two calls this page makes. Rule: addresses are relative, and every way of failing becomes a Refusal.

import { Refusal, refusalFrom, secondsFrom } from "./errors.js";
import { EventReader } from "./sse.js";
import { t } from "./texts.js";
import { chatgptOf } from "./wishes.js";

/** {models, account}: the models as the gateway lists them, and whether an account answers for this key: without one
 * there are no files and no pictures. */
export async function listModels(key) {
  const answer = await call("v1/models", { key });
  const listed = await answer.json().catch(() => null);
  if (!Array.isArray(listed?.data)) throw new Refusal({ code: "not_an_answer" });
  const models = listed.data.filter((model) => typeof model?.id === "string").map(readModel);
  return { models, account: answer.headers.get("x-chat2api-account") !== "false" };
}

// What is told of a model is asked for all over the page: only what has the type it should is there.
function readModel({ id, display_name: name, context_window: context, preset_of: preset, efforts, tools }) {
  const texts = (list) => (Array.isArray(list) ? list.filter((one) => typeof one === "string") : undefined);
  return { id, display_name: lines(name), context_window: context, preset_of: lines(preset), efforts: texts(efforts), tools: texts(tools) };
}

/** The deltas {text, reasoning, citations, finish, by, tokens} of a streamed answer. Throws a Refusal, also after some of them. */
export async function* streamAnswer(request, { key, signal }) {
  const answer = await call("v1/chat/completions", { key, signal, body: { ...request, stream: true, stream_options: { include_usage: true } } });
  const type = answer.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) throw new Refusal({ code: "not_an_answer" });
  let finished = false;
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") return;
    const delta = readChunk(data);
    finished ||= Boolean(delta.finish);
    yield delta;
  }
  if (!finished) throw new Refusal({ code: "cut" });
}

/** The answer to a call, where it is a good one; the body is sent as JSON, or is a form. Throws a Refusal. */
export async function call(address, { key, signal, body }) {
  const isForm = body instanceof FormData;
  const headers = { ...(key && { authorization: `Bearer ${key}` }), ...(body && !isForm && { "content-type": "application/json" }) };
  const options = { method: body ? "POST" : "GET", headers, signal, cache: "no-store", redirect: "error" };
  if (body) options.body = isForm ? body : JSON.stringify(body);
  const answer = await reach(() => fetch(address, options));
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  const message = `${t("answer.serverAnswered", { status: String(answer.status) })} ${answer.statusText}`.trim();
  throw refusalFrom(told?.error ?? { message }, { status: answer.status, retryAfter: secondsFrom(answer.headers.get("retry-after")) });
}

/** The data of each event of a body. */
export async function* events(body) {
  const events = new EventReader();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reach(() => reader.read(), "cut");
      yield* done ? events.flush() : events.decode(value);
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function reach(work, code = "unreachable") {
  try {
    return await work();
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Refusal({ code });
  }
}

function readChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new Refusal({ code: "not_an_answer" });
  }
  if (chunk?.error) throw refusalFrom(chunk.error);
  const choice = chunk?.choices?.[0];
  const delta = choice?.delta ?? {};
  return {
    text: lines(delta.content),
    reasoning: lines(delta.reasoning_content),
    citations: (delta.annotations ?? []).map((annotation) => annotation?.url_citation).filter((citation) => citation?.url),
    finish: lines(choice?.finish_reason),
    by: chunk?.chatgpt ?? null,
    tokens: chunk?.usage?.completion_tokens ?? 0,
  };
}

export const lines = (text) => (typeof text === "string" ? text.replace(/\r\n?/g, "\n") : "");

/** The request body for a chat: what failed without a word is left out. `goesOn`: its last answer is to be continued. */
export function requestOf(chat, goesOn = false) {
  const said = chat.messages.filter((message) => message.role === "user" || message.text);
  if (goesOn) said.push({ role: "user", text: t("write.goOn") });
  const system = chat.system.trim() ? [{ role: "system", content: chat.system }] : [];
  const chatgpt = chatgptOf(chat.wishes);
  const beside = { ...(chat.effort && { reasoning_effort: chat.effort }), ...(chatgpt && { chatgpt }) };
  return { model: chat.model, ...beside, messages: [...system, ...said.map(({ role, text, attachments = [] }) => ({ role, content: contentOf(text, attachments) }))] };
}

function contentOf(text, attachments) {
  if (!attachments.length) return text;
  return [...(text ? [{ type: "text", text }] : []), ...attachments.map(partOf)];
}

function partOf({ name, type, url }) {
  if (/^image\/(png|jpeg|webp|gif)$/.test(type)) return { type: "image_url", image_url: { url } };
  return { type: "file", file: { filename: name, file_data: url } };
}
