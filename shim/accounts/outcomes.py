"""What a failure says about the account it happened to, and whether another account may try.

Rule: two tables. A limit is honoured for as long as upstream says, and for a default where it says nothing; a refusal
rests the account for a short while; what is the request's own fault says nothing and is never tried again.
"""

import msgspec

from shim.accounts.states import Limited, Refused, Released, TokenExpired, TurnEvent
from shim.errors import CredentialError, DeadlineError, GatewayError, LimitError, RefusedError, UpstreamError

_LIMIT_SECONDS = 60.0  # where upstream gives no time
_PARALLEL_SECONDS = 5.0  # "Only one message at a time": the other turn is soon over
_REFUSED_SECONDS = 30.0
_MODEL_LIMITS = frozenset({"model_cap_exceeded"})
# Refusals that are about who asks, not about what is asked.
_BLOCKED = frozenset({"upstream_forbidden", "cf-please-wait"})
# Credentials that no renewal brings back.
_DEAD = frozenset({"account_deactivated"})
_BACKOFF_SECONDS = 0.25  # doubles with every try
_MAX_BACKOFF_SECONDS = 4.0
# Failures of the way to upstream: nothing was sent, so nothing can be done twice.
_UNSENT = frozenset({"upstream_unreachable", "upstream_proxy", "upstream_tls", "connect_timeout"})


class Attempt(msgspec.Struct):
    """How far one attempt at a turn got: whether the conversation call had begun, and whether upstream had taken it."""

    sent: bool = False
    accepted: bool = False


class Tries:
    """The attempts at one turn: who has been tried, what failed last, and whether there may be another.

    `alone` tells that there is nobody else to try: then only what may pass by itself, or by a new access token, is
    tried again. `until` is in seconds since 1970. What shows that an account can't be used, before anything was sent
    with it, does not use a try up: otherwise a few dead accounts would fail a request while others are free.
    """

    def __init__(self, times: int, until: float, *, alone: bool) -> None:
        self.alone = alone
        self.tried: frozenset[str] = frozenset()
        self.failure: GatewayError | None = None
        self._times = times
        self._left = times
        self._until = until
        self._pauses = 0
        self._renewed: set[str] = set()

    def note(
        self, error: GatewayError, attempt: Attempt, account: str | None, now: float, *, renewable: bool = False
    ) -> None:
        """An attempt with `account` failed. Raises `error` where it was the last one. An account whose token was
        refused may be tried again if it is `renewable`, with a new token, once."""
        if (
            attempt.accepted
            or now >= self._until
            or not self._times
            or not self._helps(error, attempt, account, renewable)
        ):
            raise error
        if attempt.sent or not isinstance(error, CredentialError | LimitError):
            self._left -= 1
        if self._left < 0:
            raise error
        self.failure = error
        if account is None:
            return
        if renewable and isinstance(error, CredentialError) and account not in self._renewed:
            self._renewed.add(account)
        else:
            self.tried |= {account}

    def _helps(self, error: GatewayError, attempt: Attempt, account: str | None, renewable: bool) -> bool:
        if self.alone and not isinstance(error, UpstreamError):
            return isinstance(error, CredentialError) and renewable and account not in self._renewed
        return may_retry(error, sent=attempt.sent)

    def pause(self) -> float:
        """Seconds to wait before the same way is tried again; longer each time."""
        self._pauses += 1
        return min(_BACKOFF_SECONDS * 2.0 ** (self._pauses - 1), _MAX_BACKOFF_SECONDS)


def event_of(error: GatewayError, *, slug: str, renewable: bool, now: float, own: bool = False) -> TurnEvent:
    """What the pool is told of a turn that failed with `error`. `now` is in seconds since 1970.

    For a caller's `own` account only what upstream itself says is kept: nobody else is there to take the turn, so a
    rest of our making would only stand in the way.
    """
    error.settle(now)
    match error:
        case CredentialError(cause=cause):
            return _credential_event(cause or "unauthorized", renewable=renewable)
        case LimitError():
            return Released() if own and error.retry_after is None else _limit_event(error, slug, now)
        case RefusedError() if error.code in _BLOCKED and not own:
            return Limited(now + _REFUSED_SECONDS, None, error.code or "refused")
        case _:
            return Released()


def may_retry(error: GatewayError, *, sent: bool) -> bool:
    """Whether the turn may be tried again. `sent` tells that the conversation call had begun: then only an answer that
    said no proves that it was not taken."""
    match error:
        case DeadlineError():
            return error.code in _UNSENT
        case UpstreamError():
            return not sent or error.code in _UNSENT or (error.code or "").startswith("upstream_5")
        case CredentialError() | LimitError():
            return True
        case RefusedError():
            return error.code in _BLOCKED
        case _:
            return False


def _credential_event(cause: str, *, renewable: bool) -> TurnEvent:
    """An expired token is not a dead account; one that was taken back is, unless it can be renewed."""
    if cause in _DEAD:
        return Refused(cause)
    return TokenExpired() if renewable or cause == "token_expired" else Refused(cause)


def _limit_event(error: LimitError, slug: str, now: float) -> TurnEvent:
    default = _PARALLEL_SECONDS if "one message at a time" in error.message.lower() else _LIMIT_SECONDS
    seconds = default if error.retry_after is None else error.retry_after
    return Limited(now + seconds, slug if error.code in _MODEL_LIMITS else None, error.code or "limited")
