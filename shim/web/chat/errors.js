// What can go wrong, and what a person can do about it, as a table. Rule: the server's own words are always shown too.

import { t } from "./texts.js";

/** A failed call. `status` is 0 where no HTTP answer says it; `retryAfter` is in seconds or null. */
export class Refusal extends Error {
  constructor({ status = 0, code = "", message = "", retryAfter = null }) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
}

// The first row that fits counts. `action`: "key" asks for one, "retry" offers to try again, "none" leaves it to the person.
const ROWS = [
  { code: "unreachable", title: "error.unreachable.title", advice: "error.unreachable.advice", action: "retry" },
  { code: "cut", title: "error.cut.title", advice: "error.cut.advice", action: "retry" },
  { code: "upstream_cut", title: "error.cut.title", advice: "error.upstreamCut.advice", action: "retry" },
  { code: "closed", title: "error.closed.title", advice: "error.closed.advice", action: "retry" },
  { code: "not_an_answer", title: "error.notAnswer.title", advice: "error.notAnswer.advice", action: "retry" },
  { code: "model_not_found", title: "error.noModel.title", advice: "error.noModel.advice", action: "retry" },
  { code: "content_policy_violation", title: "error.refused.title", advice: "error.policy.advice", action: "none" },
  { code: "context_length_exceeded", title: "error.large.title", advice: "error.large.advice", action: "none" },
  { code: "research_failed", title: "error.research.title", advice: "error.research.advice", action: "retry" },
  { code: "account_needed", title: "error.account.title", advice: "error.account.advice", action: "key" },
  { code: "turnstile_required", title: "error.check.title", advice: "error.check.advice", action: "retry" },
  { status: 401, title: "error.key.title", advice: "error.key.advice", action: "key" },
  { status: 403, title: "error.refused.title", advice: "error.forbidden.advice", action: "retry" },
  { status: 404, title: "error.notFound.title", advice: "error.notFound.advice", action: "retry" },
  { status: 413, title: "error.large.title", advice: "error.large.advice", action: "none" },
  { status: 429, title: "error.limit.title", advice: "error.limit.advice", action: "retry" },
  { status: 503, title: "error.notReady.title", advice: "error.notReady.advice", action: "retry" },
  { status: 504, title: "error.late.title", advice: "error.late.advice", action: "retry" },
  { from: 500, title: "error.server.title", advice: "error.server.advice", action: "retry" },
  { from: 400, title: "error.request.title", advice: "error.policy.advice", action: "none" },
  { from: 0, title: "error.other.title", advice: "error.late.advice", action: "retry" },
];

/** {title, advice, action} for an error {status, code}, in words. */
export function adviceFor({ status, code }) {
  const { title, advice, action } = ROWS.find((row) => (row.code ? row.code === code : row.status ? row.status === status : status >= row.from));
  return { title: t(title), advice: t(advice), action };
}

/** One line that says what failed, in the server's own words too where there are some. */
export function lineFor(error) {
  const { title } = adviceFor(error);
  return error.message ? t("error.told", { title, message: error.message }) : title;
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
