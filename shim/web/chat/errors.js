// What can go wrong, and what a person can do about it, as a table. Rule: the server's own words are always shown too.

/** A failed call. `status` is 0 where no HTTP answer says it; `retryAfter` is in seconds or null. */
export class Refusal extends Error {
  constructor({ status = 0, code = "", message = "", retryAfter = null }) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

// The first row that fits counts. `action`: "key" asks for one, "retry" offers to try again, "none" leaves it to the person.
const ROWS = [
  { code: "unreachable", title: "The gateway can’t be reached", advice: "Check your network and that the gateway runs, then try again.", action: "retry" },
  { code: "cut", title: "The answer broke off", advice: "The connection ended in mid-answer. What had arrived is kept.", action: "retry" },
  { code: "upstream_cut", title: "The answer broke off", advice: "What had arrived is kept.", action: "retry" },
  { code: "closed", title: "The answer was not finished", advice: "It broke off while this page was closed. What had arrived is kept.", action: "retry" },
  { code: "not_an_answer", title: "That was no answer", advice: "Something between this page and the gateway answered in its place.", action: "retry" },
  { code: "model_not_found", title: "There is no such model", advice: "Choose another model above, then try again.", action: "retry" },
  { code: "content_policy_violation", title: "The request was refused", advice: "Change your message and send it again.", action: "none" },
  { code: "account_needed", title: "This needs an account", advice: "Without one there are no pictures, files or kept chats. Enter a key of this gateway, or an access token.", action: "key" },
  { code: "turnstile_required", title: "A browser check is asked for", advice: "This gateway does not do such checks. The operator can use an access token or another network.", action: "retry" },
  { status: 401, title: "A key is needed", advice: "Enter a key of this gateway. It is kept until this tab is closed.", action: "key" },
  { status: 403, title: "The request was refused", advice: "Wait a while, or let the operator look at the account and the network.", action: "retry" },
  { status: 404, title: "Not found", advice: "Reload the page; the gateway may have changed.", action: "retry" },
  { status: 413, title: "That is too much", advice: "Take attachments away, shorten the message, or begin a new chat.", action: "none" },
  { status: 429, title: "A limit is reached", advice: "Wait a moment, then try again.", action: "retry" },
  { status: 503, title: "The gateway is not ready", advice: "It may be short of accounts. Try again in a while.", action: "retry" },
  { status: 504, title: "ChatGPT did not answer in time", advice: "Try again.", action: "retry" },
  { from: 500, title: "Something failed on the way", advice: "Try again. If it stays, the gateway’s log says more.", action: "retry" },
  { from: 400, title: "The request could not be served", advice: "Change your message and send it again.", action: "none" },
  { from: 0, title: "Something failed", advice: "Try again.", action: "retry" },
];

/** The row for an error {status, code}. */
export function adviceFor({ status, code }) {
  return ROWS.find((row) => (row.code ? row.code === code : row.status ? row.status === status : status >= row.from));
}

// After the first byte there is no status: the type says which it would have been (docs/errors.md).
const STATUS_OF_TYPE = { invalid_request_error: 400, authentication_error: 401, rate_limit_error: 429, server_error: 503 };

/** A Refusal from the `error` of an envelope. */
export function refusalFrom(error, { status = STATUS_OF_TYPE[error?.type] ?? 502, retryAfter = null } = {}) {
  const message = typeof error?.message === "string" ? error.message : "";
  return new Refusal({ status, code: error?.code ?? "", message, retryAfter });
}

/** Seconds from a Retry-After header, which is a number or a date; null where it is neither. */
export function secondsFrom(header, now = Date.now()) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header.trim()) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : null;
}
