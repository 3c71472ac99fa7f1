"""The exception tree: facts about failures. How one is written is each API's own.

    GatewayError                      status  type
     ├─ RequestError                   400    invalid_request_error    the client's request; also 404, 413, 422
     ├─ CredentialError                401    authentication_error     no key, a wrong key, a dead token
     ├─ RefusedError                   403    upstream_error           upstream (or its challenge) said no
     ├─ LimitError                     429    rate_limit_error         carries `retry_after`
     ├─ UpstreamError                  502    upstream_error           upstream broke, or broke the protocol
     │   └─ DeadlineError              504    upstream_error           one of the deadlines passed
     ├─ UnavailableError               503    server_error             a part of the gateway itself is away for now
     └─ ConfigurationError             500    configuration_error      the operator has to change a setting

Rule: an error says what happened and what to do; it never carries a token, a cookie or message text.
Statuses, types and codes: protocol.md 9.2.
"""

from typing import ClassVar

_SOON = 20.0
"""Seconds that a program may be kept waiting unasked."""


class GatewayError(Exception):
    """Any failure a client is told of. `status` is a hint: after the first byte it can no longer be sent."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    transient: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        resets_at: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.resets_at = resets_at
        self.http_status = status or self.status
        self.error_type = type or self.type

    def settle(self, now: float) -> None:
        """Where upstream said when a limit ends (`resets_at`, seconds since 1970) and not how long it lasts."""
        if self.retry_after is None and self.resets_at is not None:
            self.retry_after = max(0.0, self.resets_at - now)

    def headers(self) -> dict[str, str]:
        """`Retry-After` in whole seconds where known, and `x-should-retry`, which the official SDKs obey: they sleep
        that long without a word, so a long wait is told to whoever asked instead."""
        soon = self.retry_after is None or self.retry_after <= _SOON
        headers = {"x-should-retry": "true" if self.transient and soon else "false"}
        if self.retry_after is not None:
            headers["retry-after"] = str(max(1, round(self.retry_after)))
        return headers


class RequestError(GatewayError):
    """The request can't be served as it stands; `param` names the field."""

    status = 400
    type = "invalid_request_error"


class CredentialError(GatewayError):
    """No credential, a wrong one, or one that upstream no longer takes: then `cause` is upstream's own code."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None, cause: str | None = None) -> None:
        super().__init__(message, code=code)
        self.cause = cause


class RefusedError(GatewayError):
    """Upstream refused the turn, or asked for something this gateway does not do."""

    status = 403
    type = "upstream_error"
    code = "upstream_forbidden"


class LimitError(GatewayError):
    """A rate or usage limit. It is honoured: the client waits, nothing routes around it."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    transient = True


class UpstreamError(GatewayError):
    """Upstream failed, or sent what the protocol does not allow."""

    status = 502
    type = "upstream_error"
    code = "upstream_error"
    transient = True


class DeadlineError(UpstreamError):
    """Upstream did not answer in time."""

    status = 504
    code = "timeout"


class UnavailableError(GatewayError):
    """What the gateway keeps its state in can't be reached; nothing was changed."""

    status = 503
    code = "store_unavailable"
    transient = True


class ConfigurationError(GatewayError):
    """Only the operator can mend this: a setting is missing or wrong."""

    type = "configuration_error"
    code = "configuration_error"
