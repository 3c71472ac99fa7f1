"""Which account takes the next turn: the least recently used of those that can serve it now.

Rules:
* by when its last turn began, not by how many turns it has under way: that would give a quick account more turns than a
  slow one. So, as long as none is at its limit, accounts that can serve the same get the same number of turns, give or
  take one;
* a plain scan. People have a handful of accounts, and even at 1,000 it takes less than 100 microseconds, in whatever
  order they stand (measured by `scripts/bench --only selection`): no index would be worth its upkeep.

Pure: no I/O, no clock.
"""

import enum
import math
import operator
import re
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from shim.accounts.account import EVERY_MODEL, Account, Condition
from shim.accounts.states import RENEWAL, State, state_of, usable_from
from shim.protocol.models import AUTO

_NOT_RENEWED = "not renewed"
_rank = operator.attrgetter("rank")


class Shortage(enum.Enum):
    """Why there is no account for a turn."""

    EMPTY = "there are no accounts"
    GONE = "the account that owns the conversation is not here any more"
    NO_MODEL = "no account has this model"
    BUSY = "every account that could serve is at its limit of concurrent turns"
    TRIED = "every account that could serve has been tried"
    LATER = "every account that could serve has to wait"
    NOT_RENEWED = "no account that could serve has a good access token, and none could be renewed"
    NEVER = "no account that could serve is good any more"


class NoAccountError(Exception):
    """No account. `retry_after` is the seconds until one is usable by time alone (LATER), or until one is renewed again
    (NOT_RENEWED). `counts`: suitable accounts per reason; empty for BUSY, which is asked often and explains itself.
    `told`: the same in words, with why and until when, for clients: no account's id, mail or label is in it.
    `unlisted`: these are accounts whose models are unknown, and no other has the model."""

    def __init__(
        self,
        shortage: Shortage,
        retry_after: float | None = None,
        counts: Mapping[str, int] | None = None,
        told: str = "",
        *,
        unlisted: bool = False,
    ) -> None:
        self.shortage = shortage
        self.unlisted = unlisted
        self.retry_after = retry_after
        self.counts = dict(counts or {})
        self.told = told
        super().__init__(f"{shortage.value} ({told})" if told else shortage.value)

    def again(self) -> "NoAccountError":
        """The same for one more who waits: an exception is raised once."""
        return NoAccountError(self.shortage, self.retry_after, self.counts, self.told, unlisted=self.unlisted)

    @property
    def busy(self) -> bool:
        """Whether the end of another turn is worth waiting for."""
        return self.shortage is Shortage.BUSY


class Entry:
    """One account in the pool. `slugs` are the models it has, None where they are not known; `rank` orders by last use;
    `renewing` is the version of the credentials being renewed, or None; `active` counts turns under way."""

    __slots__ = ("account", "active", "condition", "most", "rank", "renewing", "slugs")

    def __init__(self, account: Account, condition: Condition, rank: tuple[float, int]) -> None:
        self.take(account)
        self.condition = condition
        self.rank = rank
        self.slugs: frozenset[str] | None = None
        self.active = 0
        self.renewing: int | None = None

    def take(self, account: Account) -> None:
        """The account as it is now. `most`: how many turns it may have at once, 0 where it has no such limit itself."""
        self.account = account
        self.most = account.limit or 0

    def state(self, now: float) -> State:
        """The account's state at `now`."""
        return state_of(self.account, self.condition, self.renewing is not None, now)

    def usable_from(self, slug: str, now: float) -> float:
        """When a turn on `slug` may begin (`states.usable_from`)."""
        return usable_from(self.account, self.condition, self.renewing is not None, slug, now)

    def best(self, slugs: tuple[str, ...]) -> str | None:
        """The first of `slugs` that it has. One whose list is not known is taken to have it; `auto` is always there."""
        if self.slugs is None:
            return slugs[0]
        for slug in slugs:
            if slug in self.slugs or slug == AUTO:
                return slug
        return None

    def obstacle(self, slug: str, now: float, limit: int) -> str:
        """Why it can't take a turn on `slug` now, in a word for people; "ready" where it can."""
        if self.usable_from(slug, now) <= now:
            return "ready" if not self.is_full(limit) else "busy"
        if self.account.paused is not None:
            return "paused"
        if self.condition.parked is not None:
            return "parked"
        cooling = self.condition.cooling
        if max(cooling.get(slug, 0.0), cooling.get(EVERY_MODEL, 0.0)) > now:
            return "cooling"
        if self.condition.retry_at <= now:
            return "expired"
        return f"{_NOT_RENEWED}: {self.condition.reasons.get(RENEWAL, 'failed')}"

    def is_full(self, limit: int) -> bool:
        """Whether it has as many turns as it may have at once: of its own limit and everybody's, its own counts."""
        return self.active >= (self.most or limit)

    def is_free(self, slugs: tuple[str, ...], now: float, limit: int) -> bool:
        """Whether it can take a turn on one of `slugs` now."""
        slug = self.best(slugs)
        return slug is not None and not self.is_full(limit) and self.usable_from(slug, now) <= now

    def reason(self, slug: str, now: float) -> str:
        """The word for why it is parked or cools; "" where there is none that may be shown."""
        condition = self.condition
        if condition.parked is not None:
            word = condition.parked
        else:
            key = max((slug, EVERY_MODEL), key=lambda each: condition.cooling.get(each, 0.0))
            word = condition.reasons.get(key, "") if condition.cooling.get(key, 0.0) > now else ""
        return word if _WORD.fullmatch(word) else ""


def choose(
    entries: Collection[Entry], slugs: tuple[str, ...], now: float, *, limit: int, exclude: frozenset[str]
) -> tuple[Entry, str]:
    """(the entry that takes the turn, with which of `slugs`). Raises NoAccountError."""
    # The cheap questions first, in one pass: each that is asked of 1,000 accounts costs 20 microseconds or more.
    free = [
        entry
        for entry in entries
        if entry.active < (entry.most or limit)  # `is_full` in place
        and (not (cooling := entry.condition.cooling) or cooling.get(EVERY_MODEL, 0.0) <= now)
        and not (exclude and entry.account.id in exclude)
    ]
    while free:
        entry = min(free, key=_rank)
        slug = entry.best(slugs)
        if slug is not None and entry.usable_from(slug, now) <= now:
            return entry, slug
        # Rare enough to be asked of all the others at once: an access token that ran out, a model it does not have.
        free = [
            other for other in free if (slug := other.best(slugs)) is not None and other.usable_from(slug, now) <= now
        ]
    raise _shortage(entries, slugs, now, limit, exclude)


def _shortage(
    entries: Collection[Entry], slugs: tuple[str, ...], now: float, limit: int, exclude: frozenset[str]
) -> NoAccountError:
    """The error for `choose` finding no entry: the shortage, and when it ends where that is known."""
    if not entries:
        return NoAccountError(Shortage.EMPTY)
    able = [(entry, slug) for entry in entries if (slug := entry.best(slugs)) is not None]
    starts = [entry.usable_from(slug, now) for entry, slug in able]
    for (entry, _), start in zip(able, starts, strict=True):
        if start <= now and entry.account.id not in exclude:
            return NoAccountError(Shortage.BUSY)
    soonest = min(starts, default=math.inf)
    # Accounts that only may have the model (their lists are unknown), and that time alone does not bring back, give no
    # hope against those that are known not to have it.
    unlisted = all(entry.slugs is None for entry, _ in able) and len(able) < len(entries)
    if soonest == math.inf and unlisted:
        return NoAccountError(Shortage.NO_MODEL)
    obstacles = [entry.obstacle(slug, now, limit) for entry, slug in able]
    counts, told = Counter(obstacles), _told(able, obstacles, now)
    if soonest <= now:
        return NoAccountError(Shortage.TRIED, None, counts, told)
    if soonest == math.inf:
        return NoAccountError(Shortage.NEVER, None, counts, told)
    shortage = Shortage.LATER if counts["cooling"] else Shortage.NOT_RENEWED
    return NoAccountError(shortage, soonest - now, counts, told, unlisted=unlisted)


def _told(able: Collection[tuple[Entry, str]], obstacles: Collection[str], now: float) -> str:
    """How many accounts are in the way of what: "2 limited: usage_limit_reached, the first until 2026-05-01T08:00:00Z".
    Where there are many reasons those of most accounts are told. Who asks has no need of the operator's word for it."""
    groups: dict[str, list[float]] = {}
    for (entry, slug), obstacle in zip(able, obstacles, strict=True):
        why = entry.reason(slug, now) if obstacle in {"parked", "cooling"} else ""
        what = "limited" if obstacle == "cooling" else obstacle
        groups.setdefault(f"{what}: {why}" if why else what, []).append(entry.usable_from(slug, now))
    told = []
    for what, starts in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))[:_TOLD_REASONS]:
        soonest = min(starts)
        end = ""
        if now < soonest < math.inf:
            # Whole seconds, rounded up: at that time it is over.
            until = datetime.fromtimestamp(math.ceil(min(soonest, _END_OF_TIME)), UTC)
            # Of an end that is the same for all nobody is the first.
            first = "the first " if max(starts) != soonest else ""
            end = f", {first}until {until:%Y-%m-%dT%H:%M:%SZ}"
        told.append(f"{len(starts)} {what}{end}")
    left = len(groups) - len(told)
    return "; ".join([*told, *([f"{left} more reasons"] if left > 0 else [])])


# An error is read by people: of a pool of a thousand accounts the commonest reasons say enough.
_TOLD_REASONS = 5
_END_OF_TIME = 253_402_300_799  # seconds; of the year 9999, behind which no date can be shown
# Reasons may hold upstream's own words; only what is one plain word is safe to be told to every client.
_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)
