"""The pool: which account takes the next turn, and what is known of each. No I/O, no clock: `now` is an argument.

Rules:
* the longest-unused account that can serve takes the turn, by when its last turn began. Not the one with the fewest
  turns under way: that would give a quick account more turns than a slow one. So, as long as none is at its limit,
  accounts that can serve the same get the same number of turns, give or take one;
* never more than `limit` leases on an account at once, never one on an account that is parked or cooling;
* every change of a condition is dirty until `take_dirty`: whoever stores the dirty ones can rebuild the same pool;
* whatever names clients choose, what is kept for them is bounded (`queues.py`).
"""

import itertools
import math
from collections.abc import Iterable

from shim.accounts.account import Account, Condition
from shim.accounts.lease import Lease, NoAccountError, Shortage
from shim.accounts.queues import Entry, Found, Offer, Place, Queue, Queues
from shim.accounts.states import (
    Event,
    PoolError,
    Refused,
    RenewalBegan,
    RenewalDropped,
    RenewalFailed,
    RenewalRefused,
    Renewed,
    State,
    Supplied,
    TokenExpired,
    TurnEvent,
    Unused,
    after,
    check,
    is_expired,
    replace,
    united,
)
from shim.accounts.views import AccountView, view_of


class PoolState:
    """Accounts and their conditions, in memory. `limit` is how many turns an account may have at once."""

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit
        self._entries: dict[str, Entry] = {}
        self._users: dict[tuple[str, str | None], Entry] = {}
        self._leases: dict[str, Entry] = {}
        self._removed: dict[str, Entry] = {}  # only while something of theirs is under way
        self._offers: dict[frozenset[str] | None, Offer] = {}
        self._queues = Queues(self._entries, limit)
        self._numbers = itertools.count()
        self._latest = 0.0
        self._dirty: set[str] = set()
        self._uses: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id: str) -> bool:
        return id in self._entries

    # --- who is in it -----------------------------------------------------------------------------------------------

    def add(self, account: Account, condition: Condition, now: float) -> bool:
        """Take an account in. False where it is there already, by its id or its user: then nothing changes."""
        if self.find(account) is not None:
            return False
        rank = (min(condition.last_used, now), next(self._numbers))  # a time to come would keep it waiting until then
        entry = Entry(account, condition, self._offer(None), rank)
        self._entries[account.id] = entry
        name = _name(account)
        if name is not None:
            self._users[name] = entry
        self._resume(entry)
        self._queues.stir(entry)
        return True

    def find(self, account: Account) -> str | None:
        """The id under which `account` (or its user in the same workspace) is in the pool."""
        if account.id in self._entries:
            return account.id
        name = _name(account)
        entry = self._users.get(name) if name is not None else None
        return entry.account.id if entry is not None else None

    def remove(self, id: str) -> bool:
        """Forget an account; whether it was there. Its turns go on, and what they say is not heard."""
        entry = self._entries.get(id)
        if entry is None:
            return False
        self._forget(entry)
        if entry.active or entry.renewing is not None:
            self._removed[id] = entry
        return True

    def clear(self) -> int:
        """Forget all of them; how many there were."""
        return sum(self.remove(id) for id in list(self._entries))

    def replace(self, account: Account, condition: Condition, now: float) -> str | None:
        """Another process changed or added this account. Returns the id that vanished, as `report` does.

        A late version of the credentials is not taken; neither is the condition where ours is not stored yet: it will
        be, and is the newer one.
        """
        entry = self._entries.get(account.id)
        if entry is None:
            self.add(account, condition, now)
            return None
        newer = account.version > entry.account.version
        ours = entry.condition
        if account.id not in self._dirty:
            turns = max(condition.turns, ours.turns)
            entry.condition = replace(condition, last_used=max(condition.last_used, ours.last_used), turns=turns)
        elif newer:
            entry.condition = after(ours, Supplied(account), now)
        vanished = self._adopt(entry, account) if newer else None
        self._queues.stir(entry)
        return vanished

    def learn(self, id: str, slugs: Iterable[str]) -> None:
        """Tell which models an account has. None at all means that its list could not be had."""
        entry = self._entries.get(id)
        if entry is None:
            return
        offer = self._offer(frozenset(slugs) or None)
        self._leave_offer(entry)
        entry.offer = offer
        self._queues.stir(entry)

    # --- leases -----------------------------------------------------------------------------------------------------

    def lease(
        self,
        slugs: tuple[str, ...],
        now: float,
        *,
        lease_id: str,
        exclude: frozenset[str] = frozenset(),
        owner: str | None = None,
    ) -> Lease:
        """A turn with an account that has one of `slugs` (what the model could mean, best first).

        `exclude` are ids that this exchange has tried; with `owner` it is that account or none. Raises NoAccountError.
        """
        if not slugs or lease_id in self._leases:
            raise PoolError("a lease needs a slug and an id of its own")
        self._queues.wake(now)
        found = self._longest_unused(slugs, now, exclude) if owner is None else self._owned(owner, slugs, now, exclude)
        return self._lend(found, lease_id, now)

    def leased(self, lease: Lease) -> Account | None:
        """The account of a lease as it is now, also where it became one with another; None where it was removed."""
        entry = self._leases.get(lease.id)
        return entry.account if entry is not None and self._has(entry) else None

    def end(self, lease: Lease, event: TurnEvent, now: float) -> None:
        """Give a lease back, with what its turn showed. Ending it again does nothing."""
        entry = self._leases.pop(lease.id, None)
        if entry is None:
            return
        entry.active -= 1
        if not self._has(entry):
            self._let_go(entry)
            return
        if type(event) is not Unused:
            self._count(entry, lease.begun)
        if not _is_stale(lease, entry, event):
            self._happen(entry, event, now)
        if entry.active == self._limit - 1:
            self._queues.freed(entry)

    def report(self, id: str, event: Event, now: float) -> str | None:
        """Tell what happened to an account outside of a lease. Nothing happens where it is not there (any more).

        Returns the id of the account that turned out to be the same and vanished into this one, if any: it is to be
        removed from the store, too. Raises PoolError for what can't happen in the account's state.
        """
        entry = self._entries.get(id)
        if entry is None:
            self._report_removed(id, event)
            return None
        match event:
            case RenewalBegan():
                self._begin_renewal(entry, event, now)
            case RenewalFailed() | RenewalRefused() | RenewalDropped():
                self._end_renewal(entry, event, now)
            case Renewed(account=account) | Supplied(account=account):
                return self._take_credentials(entry, event, account, now)
            case _:
                self._happen(entry, event, now)
        return None

    # --- what is to be stored ---------------------------------------------------------------------------------------

    def take_dirty(self) -> dict[str, Condition]:
        """The conditions that have changed since the last call. What can't be stored goes back with `mark_dirty`."""
        dirty = {id: self._entries[id].condition for id in self._dirty}
        self._dirty.clear()
        return dirty

    def mark_dirty(self, ids: Iterable[str]) -> None:
        """These conditions were not stored after all."""
        self._dirty.update(id for id in ids if id in self._entries)

    def take_uses(self) -> dict[str, tuple[float, int]]:
        """For each account used since the last call: (last used, further turns)."""
        uses, self._uses = self._uses, {}
        return uses

    # --- what is shown ----------------------------------------------------------------------------------------------

    def account(self, id: str) -> Account | None:
        """The account, credentials and all."""
        entry = self._entries.get(id)
        return entry.account if entry is not None else None

    def condition(self, id: str) -> Condition | None:
        """How the account is doing, as it is to be stored."""
        entry = self._entries.get(id)
        return entry.condition if entry is not None else None

    def snapshot(
        self, now: float, *, offset: int = 0, limit: int | None = None, state: State | None = None
    ) -> list[AccountView]:
        """A page of the accounts (of those in `state`, if given), in the order they were added."""
        chosen = (entry for entry in self._entries.values() if state is None or entry.state(now) is state)
        page = itertools.islice(chosen, offset, None if limit is None else offset + limit)
        return [_view(entry, now) for entry in page]

    def view(self, id: str, now: float) -> AccountView | None:
        """One account."""
        entry = self._entries.get(id)
        return _view(entry, now) if entry is not None else None

    def counts(self, now: float) -> dict[State, int]:
        """How many accounts are in each state."""
        counts = dict.fromkeys(State, 0)
        for entry in self._entries.values():
            counts[entry.state(now)] += 1
        return counts

    def due(self, now: float, ahead: float) -> list[str]:
        """Accounts whose access token is over within `ahead` seconds and which may be renewed now."""
        return [id for id, entry in self._entries.items() if _is_due(entry, now, ahead)]

    # --- choosing ---------------------------------------------------------------------------------------------------

    def _longest_unused(self, slugs: tuple[str, ...], now: float, exclude: frozenset[str]) -> Found:
        if not any(offer.best(slugs) for offer in self._offers.values()):
            raise NoAccountError(Shortage.NO_MODEL if self._entries else Shortage.EMPTY)
        queue = self._queues.get(slugs)
        found = self._queues.next(queue, now, exclude)
        if found is None:
            raise self._shortage(queue, now, exclude)
        return found

    def _owned(self, owner: str, slugs: tuple[str, ...], now: float, exclude: frozenset[str]) -> Found:
        entry = self._entries.get(owner)
        if entry is None:
            raise NoAccountError(Shortage.GONE)
        slug = entry.offer.best(slugs)
        if slug is None:
            raise NoAccountError(Shortage.NO_MODEL)
        place, until = entry.place(slug, now, self._limit)
        if owner in exclude and place in {Place.QUEUED, Place.BUSY}:
            raise NoAccountError(Shortage.TRIED, None, {place.value: 1})
        if place is Place.BUSY:
            raise NoAccountError(Shortage.BUSY)
        if place is not Place.QUEUED:
            raise _later(until, now, {place.value: 1})
        return Found(entry, slug)

    def _shortage(self, queue: Queue, now: float, exclude: frozenset[str]) -> NoAccountError:
        tried = [self._entries[id] for id in exclude if id in self._entries]
        if queue.is_busy(tried):
            return NoAccountError(Shortage.BUSY)
        counts = queue.counts()
        if queue.has_any():
            return NoAccountError(Shortage.TRIED, None, counts)
        return _later(queue.soonest(now), now, counts)

    def _lend(self, found: Found, lease_id: str, now: float) -> Lease:
        """The rank rises even where the clock was put back, as the queues rely on."""
        entry = found.entry
        account = entry.account
        self._latest = max(self._latest, now)
        entry.rank = (self._latest, next(self._numbers))
        entry.active += 1
        self._queues.used(entry)
        entry.condition = replace(entry.condition, last_used=now)
        self._leases[lease_id] = entry
        return Lease(lease_id, account, found.slug, now, is_expired(account, entry.condition, now))

    # --- events -----------------------------------------------------------------------------------------------------

    def _happen(self, entry: Entry, event: Event, now: float) -> None:
        check(entry.state(now), event)
        condition = after(entry.condition, event, now)
        if condition is not entry.condition:
            self._change(entry, condition)

    def _change(self, entry: Entry, condition: Condition) -> None:
        entry.condition = condition
        self._dirty.add(entry.account.id)
        self._queues.stir(entry)

    def _begin_renewal(self, entry: Entry, event: RenewalBegan, now: float) -> None:
        if not entry.account.renewable:
            raise PoolError("an account with nothing but an access token can't be renewed")
        self._happen(entry, event, now)
        entry.renewing = entry.account.version
        self._queues.stir(entry)

    def _end_renewal(self, entry: Entry, event: Event, now: float) -> None:
        """What is said of credentials that were replaced meanwhile is not held against the new ones."""
        check(entry.state(now), event)
        overtaken = entry.renewing != entry.account.version
        self._happen(entry, RenewalDropped() if overtaken else event, now)
        entry.renewing = None
        self._queues.stir(entry)

    def _take_credentials(self, entry: Entry, event: Event, account: Account, now: float) -> str | None:
        """The credentials, unless they are late."""
        if account.id != entry.account.id:
            raise PoolError("these are the credentials of another account")
        check(entry.state(now), event)
        if type(event) is Renewed:
            entry.renewing = None
        if account.version <= entry.account.version:
            self._queues.stir(entry)
            return None
        self._change(entry, after(entry.condition, event, now))
        return self._adopt(entry, account)

    def _adopt(self, entry: Entry, account: Account) -> str | None:
        """Put the credentials in place. The same user's account under another id vanishes; returns that id."""
        before, name = _name(entry.account), _name(account)
        if before is not None and self._users.get(before) is entry:
            del self._users[before]
        entry.account = account
        twin = self._users.get(name) if name is not None else None
        if twin is not None:
            self._absorb(entry, twin)
        if name is not None:
            self._users[name] = entry
        return twin.account.id if twin is not None else None

    def _absorb(self, entry: Entry, twin: Entry) -> None:
        """Two accounts were one. The one whose credentials came last stays: it is stored already, so that a kill
        between its being stored and the other's being removed loses nothing."""
        self._forget(twin)
        self._move_leases(twin, entry)
        self._queues.forget(entry)  # it comes back with its new rank
        entry.rank = max(entry.rank, twin.rank)
        last_used, turns = self._uses.pop(entry.account.id, (0.0, 0))
        self._uses[entry.account.id] = (max(last_used, twin.condition.last_used), turns + twin.condition.turns)
        self._change(entry, united(entry.condition, twin.condition))

    def _count(self, entry: Entry, begun: float) -> None:
        condition = entry.condition
        entry.condition = replace(condition, turns=condition.turns + 1)
        last_used, turns = self._uses.get(entry.account.id, (0.0, 0))
        self._uses[entry.account.id] = (max(last_used, begun), turns + 1)

    # --- entries ----------------------------------------------------------------------------------------------------

    def _has(self, entry: Entry) -> bool:
        return self._entries.get(entry.account.id) is entry

    def _forget(self, entry: Entry) -> None:
        id, name = entry.account.id, _name(entry.account)
        del self._entries[id]
        if name is not None and self._users.get(name) is entry:
            del self._users[name]
        self._leave_offer(entry)
        self._dirty.discard(id)
        self._uses.pop(id, None)
        self._queues.forget(entry)

    def _offer(self, slugs: frozenset[str] | None) -> Offer:
        offer = self._offers.get(slugs)
        if offer is None:
            offer = self._offers[slugs] = Offer(slugs)
        offer.accounts += 1
        return offer

    def _leave_offer(self, entry: Entry) -> None:
        entry.offer.accounts -= 1
        if not entry.offer.accounts:
            del self._offers[entry.offer.slugs]

    # --- removed while something was under way ----------------------------------------------------------------------

    def _resume(self, entry: Entry) -> None:
        """An account that was removed and is back again has its turns still, and its renewal."""
        before = self._removed.pop(entry.account.id, None)
        if before is not None:
            self._move_leases(before, entry)
            entry.renewing = before.renewing

    def _move_leases(self, before: Entry, entry: Entry) -> None:
        if before.active:
            self._leases.update({id: entry for id, holder in self._leases.items() if holder is before})
        entry.active += before.active
        before.active = 0

    def _report_removed(self, id: str, event: Event) -> None:
        entry = self._removed.get(id)
        if entry is not None and isinstance(event, Renewed | RenewalFailed | RenewalRefused | RenewalDropped):
            entry.renewing = None
            self._let_go(entry)

    def _let_go(self, entry: Entry) -> None:
        if not entry.active and entry.renewing is None:
            self._removed.pop(entry.account.id, None)


def _name(account: Account) -> tuple[str, str | None] | None:
    """What two accounts have in common that are the same, where it is known."""
    return (account.user, account.workspace_id) if account.user is not None else None


def _is_stale(lease: Lease, entry: Entry, event: TurnEvent) -> bool:
    """Whether the turn speaks of an access token the account has no more. A turn that waited for a renewal had the new
    one."""
    if not isinstance(event, Refused | TokenExpired) or lease.needs_renewal:
        return False
    return lease.account.access_token != entry.account.access_token


def _is_due(entry: Entry, now: float, ahead: float) -> bool:
    account, condition = entry.account, entry.condition
    if not account.renewable or account.access_token is None or entry.renewing is not None:
        return False
    if condition.parked is not None or condition.retry_at > now:
        return False
    return condition.expired or not account.is_fresh(now, ahead)


def _later(start: float, now: float, counts: dict[str, int]) -> NoAccountError:
    if start == math.inf:
        return NoAccountError(Shortage.NEVER, None, counts)
    return NoAccountError(Shortage.LATER, max(0.0, start - now), counts)


def _view(entry: Entry, now: float) -> AccountView:
    return view_of(entry.account, entry.condition, entry.renewing is not None, entry.active, now)
