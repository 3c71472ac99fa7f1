"""Every refusal of protocol.md 9.1 as a table, and the one exception that carries a refusal to the edge.

Rule: a row is data. Handlers raise `RefusedError(FAILURES["name"])`; only the app turns that into a response.
"""

from typing import Any, Literal
from uuid import uuid4

import msgspec

# The words a client looks for in an HTML block page (protocol.md 9.1, status 403).
BLOCK_PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>Just a moment...</title></head>
<body><div id="cf-please-wait" class="cf-spinner-please-wait">Checking your browser before access.</div>
<script src="/cdn-cgi/challenge-platform/h/b/orchestrate/chl_page/v1"></script></body></html>
"""
ERROR_PAGE = """<!DOCTYPE html>
<html><head><title>{status}</title></head><body><h1>Error {status}</h1>
<p>The web server is not available.</p></body></html>
"""
HTML = "text/html"
JSON = "application/json"


class Failure(msgspec.Struct, frozen=True):
    """One way of saying no: a status and the `detail` value, or the text of a page when it is not JSON.

    `bare`: the value is all of the body, as where one logs in, which knows no `detail`. `retry_after`: the header.
    """

    status: int
    detail: Any
    media_type: str = JSON
    bare: bool = False
    retry_after: int | None = None

    def content(self) -> bytes:
        """The response body; `<uuid>` in a sentence becomes a fresh one, as in the sentinel refusal."""
        if self.media_type != JSON:
            return str(self.detail).encode()
        if self.bare:
            return msgspec.json.encode(self.detail)
        detail = self.detail.replace("<uuid>", str(uuid4())) if isinstance(self.detail, str) else self.detail
        return msgspec.json.encode({"detail": detail})


class RefusedError(Exception):
    """The stand-in refuses the request; `failure` is what the client gets to see."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.status, failure.detail)
        self.failure = failure


def coded(status: int, code: str, message: str, **more: object) -> Failure:
    """A refusal whose detail is an object with code and message."""
    return Failure(status, {"message": message, "code": code, **more})


def _token(code: str, message: str) -> Failure:
    return coded(401, code, message, type="invalid_request_error", param=None)


ONE_AT_A_TIME = (
    "Only one message at a time. Please allow any other responses to complete before sending another message, "
    "or wait one minute."
)

# Name -> refusal. The first row of a status is the one `[[status=N]]` means.
FAILURES: dict[str, Failure] = {
    "bad_request": Failure(400, "Invalid request"),
    "content_policy": coded(400, "content_policy_violation", "This request may violate our content policies."),
    "authorized_blob": Failure(400, "A link to a blob takes no authorization"),
    "unauthorized": Failure(401, "Unauthorized"),
    "token_expired": _token("token_expired", "Your authentication token has expired. Please try signing in again."),
    "token_invalidated": _token("token_invalidated", "Your authentication token has been invalidated."),
    "token_revoked": _token("token_revoked", "Encountered invalidated oauth token for user, failing request"),
    "invalid_jwt": _token("invalid_jwt", "Could not parse your authentication token. Please try signing in again."),
    "account_deactivated": _token("account_deactivated", "Your account has been deactivated."),
    "unusual_activity": Failure(
        403, "Our systems have detected unusual activity coming from your system. Please try again later."
    ),
    "sentinel": Failure(403, "Unusual activity has been detected from your device. Try again later. (<uuid>)"),
    "something_wrong": Failure(403, "Something went wrong. If this issue persists please contact us."),
    "cloudflare": Failure(403, BLOCK_PAGE, HTML),
    "wrong_workspace": Failure(403, "You do not have access to this workspace."),
    "not_found": Failure(404, "Not Found"),
    "conversation_not_found": Failure(404, "Conversation not found"),
    "model_not_found": coded(404, "model_not_found", "The model does not exist or you do not have access to it."),
    "gizmo_not_found": Failure(404, "Gizmo not found"),
    "file_not_found": coded(404, "file_not_found", "The file was not found."),
    "message_not_found": Failure(404, "Message not found"),
    "tokenless_resume_unavailable": coded(
        404,
        "tokenless_resume_unavailable",
        "A network error occurred. Please check your connection and try again.",
    ),
    "conduit_miss": coded(404, "conduit_miss", "Not found"),
    "history_disabled_conversation_not_found": coded(
        404, "history_disabled_conversation_not_found", "Conversation not found"
    ),
    "history_disabled_conversation_expired": coded(
        404, "history_disabled_conversation_expired", "Conversation expired"
    ),
    "conversation_deleted": coded(404, "conversation_deleted", "Conversation deleted"),
    "conversation_inaccessible": coded(404, "conversation_inaccessible", "Conversation inaccessible"),
    "persisted_final_available": coded(410, "persisted_final_available", "The answer has been saved."),
    "method_not_allowed": Failure(405, "Method Not Allowed"),
    "not_acceptable": Failure(406, "Not Acceptable"),
    "parallel": Failure(409, ONE_AT_A_TIME),
    "work_usage_limit": coded(409, "work_usage_limit_exceeded", "You have reached the usage limit of your plan."),
    "too_long": coded(
        413,
        "message_length_exceeds_limit",
        "The message you submitted was too long, please reload the conversation and submit something shorter.",
    ),
    "file_too_large": coded(413, "file_too_large", "The file is too large."),
    "conversation_too_large": coded(413, "conversation_too_large", "This conversation is too large to continue."),
    "invalid_body": Failure(422, "Invalid conversation body"),
    "missing_messages": Failure(
        422, [{"loc": ["body", "messages"], "msg": "field required", "type": "value_error.missing"}]
    ),
    "missing_file": Failure(422, [{"loc": ["body", "file"], "msg": "field required", "type": "value_error.missing"}]),
    "file_not_ready": coded(422, "file_not_ready", "The file was not uploaded completely."),
    "model_cap": coded(
        429,
        "model_cap_exceeded",
        "You have sent too many messages to the model. Please try again later.",
        clears_in=5400,
    ),
    "too_many_requests": Failure(429, "Too many requests in 1 hour. Try again later."),
    "upload_quota": coded(429, "upload_quota_exceeded", "You have uploaded too many files.", clears_in=3600),
    "one_at_a_time": Failure(429, ONE_AT_A_TIME),
    "limit_page": Failure(429, ERROR_PAGE.format(status=429), HTML),
    "limit_text": Failure(429, "Too many requests", "text/plain"),
    "internal": Failure(500, "Internal server error"),
    "bad_gateway": Failure(502, "Bad gateway"),
    "unavailable": Failure(503, "Service unavailable"),
    "server_is_overloaded": Failure(503, {"code": "server_is_overloaded"}),
    "gateway_timeout": Failure(504, "Gateway timeout"),
    **{f"edge_{status}": Failure(status, ERROR_PAGE.format(status=status), HTML) for status in range(520, 525)},
}


def _oauth(status: int, error: str, description: str) -> Failure:
    return Failure(status, {"error": error, "error_description": description}, bare=True)


def _newer_oauth(code: str, message: str, status: int = 401, param: str | None = None) -> Failure:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    return Failure(status, body, bare=True)


# What the token endpoint and the session endpoint say (protocol.md 8); the session's are no HTTP errors.
LOGIN_FAILURES: dict[str, Failure] = {
    "invalid_grant": _oauth(403, "invalid_grant", "Unknown or invalid refresh token."),
    "access_denied": _oauth(401, "access_denied", "Unauthorized"),
    "refresh_token_reused": _newer_oauth(
        "refresh_token_reused", "Your refresh token has already been used to generate a new access token."
    ),
    "refresh_token_expired": _newer_oauth("refresh_token_expired", "Your refresh token has expired."),
    "refresh_token_invalidated": _newer_oauth("refresh_token_invalidated", "Your session has ended."),
    "refresh_request_expired": _newer_oauth("token_expired", "Could not validate your token."),
    "missing_client_id": _newer_oauth("missing_required_parameter", "Missing 'client_id'", 400, "client_id"),
    "logged_out": Failure(200, {}, bare=True),
    "session_failed": Failure(200, {"error": "RefreshAccessTokenError"}, bare=True),
}


def refused(name: str) -> RefusedError:
    """The exception for one row of the tables."""
    return RefusedError(_row(name))


def _row(name: str) -> Failure:
    return FAILURES[name] if name in FAILURES else LOGIN_FAILURES[name]


def failure_for_status(status: int) -> Failure:
    """The usual refusal with this status; a plain detail for a status the table does not know."""
    rows = (failure for failure in FAILURES.values() if failure.status == status)
    return next(rows, Failure(status, "Error"))


def page_for_status(status: int) -> Failure:
    """An HTML page with this status: the block page for 403 and 503, an outage page otherwise."""
    return Failure(status, BLOCK_PAGE if status in (403, 503) else ERROR_PAGE.format(status=status), HTML)


def missing_field(*where: str) -> Failure:
    """The FastAPI form of 422 for one missing field (protocol.md 9.1)."""
    return Failure(422, [{"loc": ["body", *where], "msg": "field required", "type": "value_error.missing"}])


class PlannedFailure(msgspec.Struct, forbid_unknown_fields=True):
    """A refusal waiting to happen to one account: by name, or by status, `times` times (-1 = for ever).

    `where` is the step that refuses: "sentinel" (requirements, prepare, finalize), "turn", "refresh" (the token
    endpoint), "session" (the session endpoint), "upload" (files), "blob" (the PUT), "confirm" (uploaded and
    process_upload_stream), "download" (every link to a file that is asked for), "speech" (synthesize), "transcript" or
    "history" (reading a conversation, and its stream_status), "status" (that alone) or "socket" (celsius/ws/user).
    """

    where: Literal[
        "sentinel", "turn", "refresh", "session", "upload", "blob", "confirm", "download", "speech", "transcript",
        "history", "status", "socket",
    ] = "turn"  # fmt: skip
    failure: str = ""
    status: int = 500
    html: bool = False
    clears_in: int | None = None
    detail: Any = msgspec.UNSET
    retry_after: int | None = None
    times: int = 1

    def resolve(self) -> Failure:
        """The refusal this plan stands for; `clears_in` and `detail` override what the row says."""
        if self.retry_after is not None:
            return Failure(self.status, "Too many requests", retry_after=self.retry_after)
        if self.detail is not msgspec.UNSET:
            return Failure(self.status, self.detail)
        if self.html:
            return page_for_status(self.status)
        row = _row(self.failure) if self.failure else failure_for_status(self.status)
        return row if self.clears_in is None else with_clears_in(row, self.clears_in)

    def __post_init__(self) -> None:
        known = FAILURES | LOGIN_FAILURES
        if self.failure and self.failure not in known:
            raise ValueError(f"unknown failure {self.failure!r}; known: {', '.join(known)}")


def with_clears_in(failure: Failure, clears_in: int) -> Failure:
    """The same refusal telling that it ends in `clears_in` seconds."""
    detail = dict(failure.detail) if isinstance(failure.detail, dict) else {"message": failure.detail}
    return Failure(failure.status, detail | {"clears_in": clears_in})
