"""Accounts as people are shown them: how each is doing and why, and never a secret."""

import msgspec

from shim.accounts.account import EVERY_MODEL, Account, Condition, Quota
from shim.accounts.states import RENEWAL, State, state_of

_EXPIRED = "the access token has expired"
_NOT_FETCHED = "no access token yet: one is fetched at the first turn"


class ModelCooling(msgspec.Struct, frozen=True):
    """One model that upstream will not serve to an account before `until`."""

    slug: str
    until: float
    why: str


class AccountView(msgspec.Struct, frozen=True):
    """One account at one moment. Times are in seconds since 1970; `why` and `until` are None where there is nothing to
    say. `cooling` has one entry a model; a limit on all models is the state itself."""

    id: str
    state: State
    plan: str | None
    why: str | None
    until: float | None
    last_used: float
    turns: int
    active: int
    cooling: tuple[ModelCooling, ...]
    renewable: bool
    quotas: tuple[Quota, ...] = ()
    quotas_at: float = 0.0


def view_of(account: Account, condition: Condition, renewing: bool, active: int, now: float) -> AccountView:
    """The view of one account, with `active` turns under way."""
    state = state_of(account, condition, renewing, now)
    reasons = condition.reasons
    why: str | None = None
    until: float | None = None
    match state:
        case State.PARKED:
            why = condition.parked  # without an end: only a person, or a new token, brings it back
        case State.EXPIRED:
            why = reasons.get(RENEWAL, _NOT_FETCHED if account.access_token is None else _EXPIRED)
            until = condition.retry_at if condition.retry_at > now else None
        case State.COOLING:
            why, until = reasons.get(EVERY_MODEL), condition.cooling[EVERY_MODEL]
    return AccountView(
        id=account.id,
        state=state,
        plan=account.plan,
        why=why,
        until=until,
        last_used=condition.last_used,
        turns=condition.turns,
        active=active,
        # Expired limits may still be in the condition: they are dropped when it next changes.
        cooling=tuple(
            ModelCooling(slug, ends, reasons.get(slug, ""))
            for slug, ends in condition.cooling.items()
            if slug != EVERY_MODEL and ends > now
        ),
        renewable=account.renewable,
        quotas=condition.quotas,
        quotas_at=condition.quotas_at,
    )
