"""The states of an account, and what may lead from one to another. Pure functions over (Account, Condition).

    NEW ──renewal began──> REFRESHING                          (no access token yet; the first turn fetches one)
    READY ──limited──> COOLING ──time, success──> READY        (a limit on one model leaves an account READY)
      ├──token expired──> EXPIRED ──renewal began──> REFRESHING ──renewed──> READY
      ├──refused──> PARKED <────────────renewal refused────┘
      └──an operator pauses it──> PAUSED ──resumes it──> what it is then

Rules:
* the state is never stored: `state_of` derives it, so that nothing can disagree with the condition that is kept;
* TRANSITIONS says which event may come in which state; what is not in it raises PoolError. Where each may lead is
  documentation: no code reads it, but a test compares it with what really happens (tests/accounts/test_pool.py);
* limits belong to the user and outlive a new token; refusals and expiries belong to the token and end with it;
* the end of a turn may be reported in every state, because turns end at any time.
"""

import enum
import heapq
import math
from collections.abc import Collection
from typing import Any

import msgspec

from shim.accounts.account import EVERY_MODEL, Account, Condition
from shim.errors import Evidence

RENEWAL = "!renewal"
"""The key in `Condition.reasons` under which a failed renewal says why. No slug begins with `!`."""
PARKING = "!parked"
EXPIRY = "!expired"
"""The keys under which it is kept since when it is parked or expired, and what upstream said then."""
_OF_TOKEN = (RENEWAL, PARKING, EXPIRY)
_MAX_COOLING = 64  # upstream has fewer models than that; what is kept must not grow by names it might make up
_MAX_REASON = 300  # characters; a reason may be an error page

replace = msgspec.structs.replace


class PoolError(Exception):
    """An event that is impossible in the account's state: the caller's bug, not a fault of a client or of upstream."""


class State(enum.Enum):
    """How an account is. Where several hold at once, the first of these in the order of `state_of` is it."""

    NEW = "new"
    READY = "ready"
    COOLING = "cooling"
    PARKED = "parked"
    EXPIRED = "expired"
    REFRESHING = "refreshing"
    PAUSED = "paused"

    __hash__ = object.__hash__  # members are single; the one of Enum is written in Python, and slow


# --- what can happen to an account ----------------------------------------------------------------------------------


class AccountEvent(msgspec.Struct, frozen=True):
    """Something that happened. All times are in seconds since 1970; reasons carry no token, cookie or message text."""


class Succeeded(AccountEvent, frozen=True):
    """A turn on `model` (a slug) that began at `begun` went well, which ends limits that were learned earlier."""

    model: str
    begun: float


class Limited(AccountEvent, frozen=True):
    """Upstream will not serve `model` (a slug; None: any) before `until`. Of two limits the later one counts."""

    until: float
    model: str | None = None
    reason: str = "limited"
    evidence: Evidence | None = None


class Refused(AccountEvent, frozen=True):
    """Upstream refused the account for good: it is parked until a person resets it or it gets a new token."""

    reason: str
    evidence: Evidence | None = None


class TokenExpired(AccountEvent, frozen=True):
    """Upstream says the access token has expired, whatever the token says itself."""

    evidence: Evidence | None = None


class Released(AccountEvent, frozen=True):
    """A turn ended in a way that says nothing about its account: broken off, or upstream failed."""


class Unused(AccountEvent, frozen=True):
    """A lease came to no turn at all, so it is not counted as one."""


class RenewalBegan(AccountEvent, frozen=True):
    """Somebody has gone for a new access token. Only one at a time may."""


class Renewed(AccountEvent, frozen=True):
    """The renewal brought new credentials. They are already stored."""

    account: Account


class Supplied(AccountEvent, frozen=True):
    """A person, or another process, brought new credentials. They are already stored. A renewal under way continues."""

    account: Account


class RenewalFailed(AccountEvent, frozen=True):
    """The renewal failed, but not for good: it may be tried again at `retry_at`."""

    reason: str
    retry_at: float
    evidence: Evidence | None = None


class RenewalRefused(AccountEvent, frozen=True):
    """What the account is renewed with is dead."""

    reason: str
    evidence: Evidence | None = None


class RenewalDropped(AccountEvent, frozen=True):
    """The renewal ended without an answer (cancelled, or another process was first)."""


class Reset(AccountEvent, frozen=True):
    """A person says: forget what is known against it."""


class Adjusted(AccountEvent, frozen=True):
    """An operator changed how the account is used (`Handling`); its credentials are what they were. It is already
    stored."""

    account: Account


TurnEvent = Succeeded | Limited | Refused | TokenExpired | Released | Unused


# --- the table ------------------------------------------------------------------------------------------------------

_R, _C, _P, _E, _F = {State.READY}, {State.COOLING}, {State.PARKED}, {State.EXPIRED}, {State.REFRESHING}
_N, _S = {State.NEW}, {State.PAUSED}
Transitions = dict[State, dict[type[AccountEvent], set[State]]]

TRANSITIONS: Transitions = {
    State.NEW: {
        Succeeded: _N,  # of a token that was taken from it since
        Limited: _N,
        Refused: _P,
        TokenExpired: _N,
        Released: _N,
        Unused: _N,
        RenewalBegan: _F,
        Supplied: _R | _C | _E,
        Adjusted: _N | _S,
        Reset: _N,
    },
    State.READY: {
        Succeeded: _R,
        Limited: _R | _C,  # of one model, or of all
        Refused: _P,
        TokenExpired: _E,
        Released: _R,
        Unused: _R,
        RenewalBegan: _F,  # ahead of time
        Supplied: _R | _E,  # a token whose time is already over is possible, if useless
        Adjusted: _R | _S,
        Reset: _R,
    },
    State.COOLING: {
        Succeeded: _R | _C,  # it may have begun before the limit was learned
        Limited: _C,
        Refused: _P,
        TokenExpired: _E,
        Released: _C,
        Unused: _C,
        RenewalBegan: _F,
        Supplied: _C | _E,
        Adjusted: _C | _S,
        Reset: _R,
    },
    State.PARKED: {
        Succeeded: _P,  # an older turn ended
        Limited: _P,
        Refused: _P,
        TokenExpired: _P,
        Released: _P,
        Unused: _P,
        RenewalBegan: _F,  # a person probes it
        Supplied: _R | _C | _E,
        Adjusted: _P | _S,
        Reset: _R | _E | _N,
    },
    State.EXPIRED: {
        Succeeded: _E,
        Limited: _E,
        Refused: _P,
        TokenExpired: _E,
        Released: _E,
        Unused: _E,
        RenewalBegan: _F,
        Supplied: _R | _C | _E,
        Adjusted: _E | _S,
        Reset: _R | _E,
    },
    State.PAUSED: {  # nothing but a person ends it; what happens meanwhile shows when it is resumed
        Succeeded: _S,
        Limited: _S,
        Refused: _S,
        TokenExpired: _S,
        Released: _S,
        Unused: _S,
        RenewalBegan: _F,  # a person probes it
        Supplied: _S,
        Adjusted: _N | _R | _C | _P | _E | _S,
        Reset: _S,
    },
    State.REFRESHING: {  # turns that end meanwhile leave their mark, and the renewal's outcome shows it
        Succeeded: _F,
        Limited: _F,
        Refused: _F,
        TokenExpired: _F,
        Released: _F,
        Unused: _F,
        Renewed: _R | _C | _E | _S,
        RenewalFailed: _N | _R | _C | _P | _E | _S,  # READY and COOLING where it was ahead of time
        RenewalRefused: _P | _S,
        RenewalDropped: _N | _R | _C | _P | _E | _S,
        Supplied: _F,
        Adjusted: _F,
        Reset: _F,
    },
}

# Where the mere passing of time leads.
BY_TIME: dict[State, set[State]] = {
    State.NEW: _N,
    State.READY: _R | _E,
    State.COOLING: _R | _C | _E,
    State.PARKED: _P,
    State.EXPIRED: _E,
    State.REFRESHING: _F,
    State.PAUSED: _S,
}


def check(state: State, event: AccountEvent) -> None:
    """Raises PoolError where `event` can't come in `state`."""
    if type(event) not in TRANSITIONS[state]:
        raise PoolError(f"{type(event).__name__} can't happen to an account that is {state.value}")


# --- what follows from (Account, Condition) -------------------------------------------------------------------------


def is_expired(account: Account, condition: Condition, now: float) -> bool:
    """Whether it has no access token that is good at `now`."""
    return condition.expired or not account.is_fresh(now)


def state_of(account: Account, condition: Condition, renewing: bool, now: float) -> State:
    """The state at `now`. A cool-down ends, and a token expires, exactly at its time."""
    if renewing:
        return State.REFRESHING
    if account.paused is not None:
        return State.PAUSED
    if condition.parked is not None:
        return State.PARKED
    if is_expired(account, condition, now):
        return State.NEW if account.access_token is None else State.EXPIRED
    if condition.cooling.get(EVERY_MODEL, 0.0) > now:
        return State.COOLING
    return State.READY


def usable_from(account: Account, condition: Condition, renewing: bool, slug: str, now: float) -> float:
    """When a turn on `slug` may begin, as things stand: `now`, later, or `math.inf` where time alone does not help.

    An expired account is usable where it can be renewed (then a turn waits for that) and no failed renewal forbids it.
    """
    if condition.parked is not None or account.paused is not None:
        return math.inf
    cooling, ends = condition.cooling, account.expires
    start = max(now, cooling.get(slug, 0.0), cooling.get(EVERY_MODEL, 0.0)) if cooling else now
    # `is_expired` in place: selection asks this of every account there is.
    if renewing or (account.access_token is not None and not condition.expired and (ends is None or ends > start)):
        return start
    return max(start, condition.retry_at) if account.renewable else math.inf


def after(condition: Condition, event: AccountEvent, now: float) -> Condition:
    """The condition once `event` has happened; the same object where it changes nothing."""
    match event:
        case Succeeded(model=model, begun=begun):
            # A turn that began before a limit was learned says nothing about it.
            cooling, since = condition.cooling, condition.since
            over = {key for key in (model, EVERY_MODEL) if key in cooling and since.get(key, 0.0) < begun}
            return _only(condition, cooling.keys() - over) if over else condition
        case Limited():
            return _limited(condition, event, now)
        case Refused(reason=reason) if condition.parked is None:  # else the first reason is the one to know
            changes: dict[str, Any] = {"parked": reason[:_MAX_REASON]} | _noted(condition, PARKING, event, now)
        case TokenExpired() if not condition.expired:
            changes = {"expired": True} | _noted(condition, EXPIRY, event, now)
        case Renewed() | Supplied() if condition.parked is not None or condition.expired or condition.retry_at:
            # Refusals and expiries belong to the token that has gone; the limits stay, for they are the user's.
            condition = _only(condition, condition.cooling.keys(), of_token=())
            changes = {"parked": None, "expired": False, "retry_at": 0.0}
        # Not parked: the credential may be good, and is tried again from then on.
        case RenewalFailed(reason=reason, retry_at=retry_at):
            reasons = condition.reasons | {RENEWAL: reason[:_MAX_REASON]}
            changes = {"reasons": reasons, "retry_at": retry_at} | _noted(condition, RENEWAL, event, now)
        case RenewalRefused(reason=reason):
            changes = {"parked": reason[:_MAX_REASON]} | _noted(condition, PARKING, event, now)
        # What a person resets is what is held against the account; how often it was used, and its quotas, are facts.
        case Reset():
            kept = {name: getattr(condition, name) for name in ("last_used", "turns", "quotas", "quotas_at")}
            return Condition(**kept)
        case _:
            return condition
    return replace(condition, **changes)


def united(one: Condition, other: Condition) -> Condition:
    """The condition of an account that was known twice: every limit counts, and all its turns. What is held against a
    token is `one`'s."""
    keys = one.cooling.keys() | other.cooling.keys()
    later = {key: max(one, other, key=lambda each: each.cooling.get(key, 0.0)) for key in keys}
    reasons = {key: each.reasons[key] for key, each in later.items() if key in each.reasons}
    evidence = {key: each.evidence[key] for key, each in later.items() if key in each.evidence}
    own = _only(one, (), of_token=_OF_TOKEN)
    return replace(
        one,
        cooling={key: each.cooling[key] for key, each in later.items()},
        reasons=reasons | own.reasons,
        since={key: each.since.get(key, 0.0) for key, each in later.items()} | own.since,
        evidence=evidence | own.evidence,
        last_used=max(one.last_used, other.last_used),
        turns=one.turns + other.turns,
    )


def _limited(condition: Condition, event: Limited, now: float) -> Condition:
    key = event.model or EVERY_MODEL
    before = condition.cooling.get(key, 0.0)
    if max(event.until, before) <= now:
        return condition
    # The reason goes with the time that counts, which is the later one.
    reason = event.reason[:_MAX_REASON] if event.until > before else condition.reasons.get(key, "")
    noted = _noted(condition, key, event, now)
    if event.until <= before:
        noted.pop("evidence")
    learned = replace(
        condition,
        cooling=condition.cooling | {key: max(event.until, before)},
        reasons=condition.reasons | {key: reason},
        **noted,
    )
    # Kept is what is not over yet, and of too many limits those that end last, besides the one on every model.
    lasting = {key: until for key, until in learned.cooling.items() if until > now}
    if len(lasting) <= _MAX_COOLING:
        return _only(learned, lasting)
    every = lasting.keys() & {EVERY_MODEL}
    return _only(learned, {*heapq.nlargest(_MAX_COOLING, lasting, key=lasting.__getitem__), *every})


def _noted(
    condition: Condition,
    key: str,
    event: Limited | Refused | TokenExpired | RenewalFailed | RenewalRefused,
    now: float,
) -> dict[str, Any]:
    """What changes of `since` and `evidence`: what upstream said before is no evidence of what happened now."""
    evidence = {each: said for each, said in condition.evidence.items() if each != key}
    if event.evidence is not None:
        evidence[key] = event.evidence
    return {"since": condition.since | {key: now}, "evidence": evidence}


def _only(condition: Condition, keys: Collection[str], of_token: Collection[str] = _OF_TOKEN) -> Condition:
    """`condition` with the cool-downs of `keys` alone, and of what is said of its token that under `of_token`."""
    kept = {*keys, *of_token}
    return replace(
        condition,
        cooling={key: condition.cooling[key] for key in condition.cooling if key in keys},
        reasons={key: condition.reasons[key] for key in condition.reasons if key in kept},
        since={key: condition.since[key] for key in condition.since if key in kept},
        evidence={key: condition.evidence[key] for key in condition.evidence if key in kept},
    )
