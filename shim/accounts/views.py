"""Accounts as people are shown them: how each is doing and why, and never a secret."""

from urllib.parse import urlsplit

import msgspec

from shim.accounts.account import EVERY_MODEL, Account, Condition, CredentialKind, Quota
from shim.accounts.states import EXPIRY, PARKING, RENEWAL, State, state_of
from shim.chatgpt.token import masked_mail
from shim.errors import Evidence

_EXPIRED = "the access token has expired"
_NOT_FETCHED = "no access token yet: one is fetched at the first turn"
_PAUSED = "paused by an operator"
# What brings an account back, where that is not a matter of time.
_BY_PERSON = "a new token of this account, or a reset where upstream was wrong"
_BY_LATER = "a new access token of this account: it came without anything to renew it with"
_CLEARS = {
    State.PAUSED: "being resumed",
    State.COOLING: "its time, a turn that goes well, or a reset",
    State.REFRESHING: "the log-in server's answer",
}


class ModelCooling(msgspec.Struct, frozen=True):
    """One model that upstream will not serve to an account before `until`; `since` is when that was learned."""

    slug: str
    until: float
    why: str
    since: float | None = None
    evidence: Evidence | None = None


class AccountView(msgspec.Struct, frozen=True):
    """One account at one moment. Times are in seconds since 1970. `why`, `since`, `until`, `clears` (what brings it
    back) and `evidence` (what upstream said) are of its state, and None where there is nothing to say. `cooling` has
    one entry a model; a limit on all models is the state itself. `mail` is masked, `proxy` without its password, and
    `limit` None where it is ACCOUNT_LIMIT. `kinds` are the credentials it has, `expires` is when its access token
    does."""

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
    label: str | None = None
    mail: str | None = None
    kinds: tuple[CredentialKind, ...] = ()
    expires: float | None = None
    since: float | None = None
    clears: str | None = None
    evidence: Evidence | None = None
    proxy: str | None = None
    limit: int | None = None
    workspace: bool = False

    def matches(self, words: str) -> bool:
        """Whether each of these words is in what is shown of it. A whole mail address finds the masked one."""
        told = (self.id, self.label, self.mail, self.plan, self.state.value, self.why, *self.kinds)
        text = "\n".join(filter(None, told)).lower()
        return all((masked_mail(word) or word).lower() in text for word in words.split())


def view_of(account: Account, condition: Condition, renewing: bool, active: int, now: float) -> AccountView:
    """The view of one account, with `active` turns under way."""
    # What is shown beside the state depends on it: why, until when, and what ends it.
    state = state_of(account, condition, renewing, now)
    reasons = condition.reasons
    why: str | None = None
    until: float | None = None
    clears = _CLEARS.get(state)
    key = ""
    match state:
        case State.PARKED:
            why, key = condition.parked, PARKING  # without an end: only a person, or a new token, brings it back
            clears = _BY_PERSON
        case State.EXPIRED | State.NEW:
            key = RENEWAL if RENEWAL in reasons else EXPIRY
            why = reasons.get(RENEWAL, _NOT_FETCHED if state is State.NEW else _EXPIRED)
            until = condition.retry_at if condition.retry_at > now else None
            next_turn = "the first turn" if state is State.NEW else "the next turn, which renews it"
            clears = next_turn if account.renewable else _BY_LATER
        case State.COOLING:
            why, until, key = reasons.get(EVERY_MODEL), condition.cooling[EVERY_MODEL], EVERY_MODEL
        case State.PAUSED:
            why = _PAUSED if condition.parked is None else f"{_PAUSED}; parked: {condition.parked}"
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
            ModelCooling(slug, ends, reasons.get(slug, ""), condition.since.get(slug), condition.evidence.get(slug))
            for slug, ends in condition.cooling.items()
            if slug != EVERY_MODEL and ends > now
        ),
        renewable=account.renewable,
        quotas=condition.quotas,
        quotas_at=condition.quotas_at,
        label=account.label,
        mail=account.mail,
        kinds=tuple(kind for kind in _KINDS if getattr(account, f"{kind}_token") is not None),
        expires=account.expires if account.access_token is not None else None,
        since=account.paused if state is State.PAUSED else condition.since.get(key),
        clears=clears,
        evidence=condition.evidence.get(key),
        proxy=shown_proxy(account.proxy_url),
        limit=account.limit,
        workspace=account.workspace_id is not None,
    )


def shown_proxy(url: str | None) -> str | None:
    """A proxy's address without its user and password."""
    if url is None:
        return None
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


_KINDS: tuple[CredentialKind, ...] = ("access", "refresh", "session")
