"""The exception tree: facts about failures. How one is written is each API's own.

    GatewayError                      status  type
     ├─ RequestError                   400    invalid_request_error    the client's request; also 404, 413, 422
     ├─ CredentialError                401    authentication_error     no key, a wrong key, a dead token
     ├─ RefusedError                   403    upstream_error           upstream (or its challenge) said no
     ├─ LimitError                     429    rate_limit_error         carries `retry_after`
     ├─ UpstreamError                  502    upstream_error           upstream broke, or broke the protocol
     │   └─ DeadlineError              504    upstream_error           one of the deadlines passed
     ├─ UnavailableError               503    server_error             a part of the gateway itself is away or busy
     └─ ConfigurationError             500    configuration_error      the operator has to change a setting

Beside what the client is told, an error carries facts for whoever decides what is done about it: what it is `about`,
how far the call got (`sent`), and whether it may pass by itself (`transient`). They are set where the failure is
recognised; nobody compares `code`, which is a word for clients.

Rules: an error says what happened and what to do; it never carries a token, a cookie or message text. It is not changed
once it is made, because several waiters may hold the same one. Statuses, types and codes: protocol.md 9.2.
"""

import enum
import time
from typing import ClassVar

import msgspec

_SOON = 20.0
"""Seconds that a program may be kept waiting unasked."""

MAX_WAIT_SECONDS = 31 * 86400.0
"""No limit of upstream's lasts longer than a month, so a wait that would is a mistake, and is cut to this."""


class Field(enum.Enum):
    """A field of the request that the core has something against. Each API calls it by its own name."""

    PROMPT = "prompt"
    MODEL = "model"
    EFFORT = "effort"


class About(enum.Enum):
    """What would have to be different for the same call to work."""

    REQUEST = "request"
    CONTENT = "content"  # what the request's text says: upstream's content policy
    CHECK = "check"  # a check that this gateway does not perform, or could not pass
    ADDRESS = "address"  # where we ask from: upstream's edge wants to see a browser
    ACCESS = "access"  # what upstream lets this account do
    TOKEN = "token"  # noqa: S105  the access token; another one of the same account may do
    ACCOUNT = "account"  # the account as a whole: its limit, or its end
    MODEL = "model"  # one model of the account
    TURNS = "turns"  # how many turns the account has under way
    PROXY = "proxy"
    ROUTE = "route"  # the proxy or the origin: nothing was reached, so it can't be told which
    ORIGIN = "origin"
    TIME = "time"  # a deadline
    UPSTREAM = "upstream"  # upstream, in no place that is known better
    POOL = "pool"  # every account of the pool at once
    POOL_BUSY = "pool busy"  # the same, until some turn ends
    PROOF = "proof"  # proofs of work, which this gateway can't make just now
    GATEWAY = "gateway"  # this gateway itself: its store, its settings, its own end


class Sent(enum.Enum):
    """How far a call that failed got."""

    NEVER = "never"  # it never left this gateway
    DECLINED = "declined"  # upstream itself answered that it did nothing
    MAYBE_TAKEN = "maybe taken"  # it went out, and nobody knows what became of it


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """What upstream itself said: the HTTP `status` (0: inside a stream), its own sentence or word, and the headers that
    tell of limits, "name: value" each; shortened, without tokens and mail addresses. It is for the operator."""

    status: int = 0
    words: str = ""
    header: str = ""


class GatewayError(Exception):
    """Any failure a client is told of. `status` is a hint: after the first byte it can no longer be sent."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    about: About = About.GATEWAY
    sent: Sent = Sent.DECLINED
    transient: ClassVar[bool] = False
    evidence: Evidence | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | Field | None = None,
        status: int | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        resets_at: float | None = None,
        about: About | None = None,
        sent: Sent | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.resets_at = resets_at
        self.http_status = status or self.status
        self.error_type = type or self.type
        self.about = about or self.about
        self.sent = sent or self.sent

    def witnessed(self, evidence: Evidence) -> "GatewayError":
        """The same error with what upstream said; for whoever makes it, before anybody else has it."""
        self.evidence = evidence
        return self

    def retry_in(self, now: float) -> float | None:
        """Seconds until it is worth trying again; None where nobody said. Upstream gives a time (`resets_at`, seconds
        since 1970) or a span, and a time that is over already is taken for one that is about to be."""
        if self.retry_after is not None or self.resets_at is None:
            return self.retry_after
        # No less than a second: with a clock behind upstream's it would be asked again too early, and limited for
        # longer.
        return min(max(1.0, self.resets_at - now), MAX_WAIT_SECONDS)

    def headers(self, now: float | None = None) -> dict[str, str]:
        """`Retry-After` in whole seconds where known, and `x-should-retry`, which the official SDKs obey. They sleep
        silently for Retry-After, so a wait over 20 s is surfaced as an error instead. `now` is the time of day unless
        given."""
        wait = self.retry_in(time.time() if now is None else now)
        # Always said, for without the header the SDKs go by the status, and try a 429 again that lasts for hours.
        headers = {"x-should-retry": "true" if self.transient and (wait is None or wait <= _SOON) else "false"}
        if wait is not None:
            headers["retry-after"] = str(max(1, round(wait)))
        return headers


class RequestError(GatewayError):
    """The request can't be served as it stands; `param` names the field: by the client's own name for
    it, which the API that read it composed, or as a `Field`, which the API that answers names."""

    status = 400
    type = "invalid_request_error"
    about = About.REQUEST


class CredentialError(GatewayError):
    """No credential, a wrong one, or one that upstream no longer takes: then `cause` is upstream's own code, and
    `expired` tells that the token's time is over, which says nothing against its account."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    about = About.TOKEN

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        cause: str | None = None,
        about: About | None = None,
        expired: bool = False,
    ) -> None:
        super().__init__(message, code=code, about=about)
        self.cause = cause
        self.expired = expired


class RefusedError(GatewayError):
    """Upstream refused the turn, or asked for something this gateway does not do."""

    status = 403
    type = "upstream_error"
    code = "upstream_forbidden"
    about = About.ACCESS


class LimitError(GatewayError):
    """A rate or usage limit. It is honoured: the client waits, nothing routes around it."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    about = About.ACCOUNT
    transient = True


class UpstreamError(GatewayError):
    """Upstream failed, or sent what the protocol does not allow."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    about = About.UPSTREAM
    sent = Sent.MAYBE_TAKEN
    transient = True


class DeadlineError(UpstreamError):
    """Upstream did not answer in time."""

    status = 504
    code = "timeout"
    about = About.TIME


class UnavailableError(GatewayError):
    """A part of the gateway itself can't be reached or has too much to do; no turn was sent, nothing was changed."""

    status = 503
    code = "store_unavailable"
    transient = True


class ConfigurationError(GatewayError):
    """Only the operator can mend this: a setting is missing or wrong."""

    type = "configuration_error"
    code = "configuration_error"
