// Answers that go on without this page: the gateway writes them in the background, and a page that was reloaded, or whose
// connection broke, takes them up where it was. Rule: the gateway forgets an answer as soon as the page has all of it.

import { call, events, lines } from "./client.js";
import { Refusal, refusalFrom } from "./errors.js";
import { t } from "./texts.js";

const ADDRESS = "v1/responses";
// A gateway or a proxy without this API, or a request that is too large for it: asked as a plain chat instead.
const NOT_HERE = [404, 405, 413, 501];
const STATUS_OF_CODE = { rate_limit_exceeded: 429, invalid_prompt: 400, server_error: 502 };
const FINISHES = { max_output_tokens: "length", content_filter: "content_filter" };

let isHere = true;

/** Ask in the background: the deltas of `streamAnswer`, each with {job: {id, number}} to follow it by; or null where this
 * gateway can't. Throws a Refusal, at once or after some of them. */
export async function askInBackground(request, { key, signal }) {
  if (!isHere) return null;
  const body = { ...inputOf(request), background: true, stream: true };
  try {
    return deltas(await call(ADDRESS, { key, signal, body }));
  } catch (refusal) {
    if (NOT_HERE.includes(refusal.status)) isHere = refusal.status === 413;
    else if (refusal.code !== "too_many_in_background") throw refusal;
    return null;
  }
}

/** Go on with a job where it was left. */
export async function* followJob({ id, number }, { key, signal }) {
  const address = `${ADDRESS}/${encodeURIComponent(id)}?stream=true&starting_after=${number}`;
  yield* deltas(await call(address, { key, signal }), id);
}

/** End a job that nobody waits for any more. */
export async function endJob({ id }, { key, isOver }) {
  const address = `${ADDRESS}/${encodeURIComponent(id)}`;
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  const options = { headers, keepalive: true, cache: "no-store" };
  try {
    if (!isOver) await fetch(`${address}/cancel`, { ...options, method: "POST" });
    await fetch(address, { ...options, method: "DELETE" });
  } catch {
    // The gateway forgets it by itself in time.
  }
}

async function* deltas(answer, id = "") {
  if (!(answer.headers.get("content-type") ?? "").startsWith("text/event-stream")) throw new Refusal({ code: "not_an_answer" });
  for await (const data of events(answer.body)) {
    const event = parsed(data);
    id ||= event.response?.id ?? "";
    const job = id ? { id, number: event.sequence_number ?? 0 } : null;
    yield { text: "", reasoning: "", citations: [], finish: "", by: null, tokens: 0, ...(READ[event.type]?.(event) ?? {}), job };
    if (event.type === "response.failed") throw failed(event.response?.error);
    if (ENDS.includes(event.type)) return;
  }
  throw new Refusal({ code: "cut" });
}

function parsed(data) {
  try {
    const event = JSON.parse(data);
    if (event.type === "error") throw refusalFrom(event.error ?? event);
    return event;
  } catch (failure) {
    throw failure instanceof Refusal ? failure : new Refusal({ code: "not_an_answer" });
  }
}

function failed(error) {
  const { code = "", message, retry_at: at } = error ?? {};
  const retryAfter = Number.isFinite(at) ? Math.max(0, Math.ceil(at - Date.now() / 1000)) : null;
  return new Refusal({ status: STATUS_OF_CODE[code] ?? 502, code, message: lines(message), retryAfter });
}

const ENDS = ["response.completed", "response.incomplete", "response.failed", "response.cancelled"];
const READ = {
  __proto__: null, // A type is a word of the server's.
  "response.output_text.delta": ({ delta }) => ({ text: lines(delta) }),
  "response.reasoning_summary_text.delta": ({ delta }) => ({ reasoning: lines(delta) }),
  "response.output_text.annotation.added": ({ annotation }) => ({ citations: annotation?.url ? [annotation] : [] }),
  "response.output_item.added": ({ item }) => (item?.type === "reasoning" ? { opens: true } : {}),
  "response.output_item.done": ({ item }) => (item?.type === "web_search_call" && item.action?.query ? { opens: true, reasoning: t("answer.searched", { query: item.action.query }) } : {}),
  "response.completed": end,
  "response.incomplete": end,
  "response.failed": end,
};

// What was written while nobody listened may come with the last event only.
function end({ response }) {
  const parts = (response?.output ?? []).filter((item) => item?.type === "message").flatMap((item) => item.content ?? []);
  const whole = lines(parts.map((part) => part?.text ?? "").join(""));
  const finish = response?.status === "incomplete" ? (FINISHES[response.incomplete_details?.reason] ?? "") : "stop";
  return { whole, finish: response?.status === "failed" ? "" : finish, by: response?.chatgpt ?? null, tokens: response?.usage?.output_tokens ?? 0, over: true };
}

/** The same request in the words of this API. */
function inputOf({ model, messages, reasoning_effort: effort, chatgpt }) {
  const input = messages.map(({ role, content }) => ({ role, content: typeof content === "string" ? content : content.map(partOf) }));
  return { model, input, reasoning: { summary: "auto", ...(effort && { effort }) }, ...(chatgpt && { chatgpt }) };
}

function partOf(part) {
  if (part.type === "text") return { type: "input_text", text: part.text };
  if (part.type === "image_url") return { type: "input_image", image_url: part.image_url.url, detail: "auto" };
  return { type: "input_file", ...part.file };
}
