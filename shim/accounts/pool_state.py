"""The pool as it stands: which accounts there are, what is known of each, and their turns.

No I/O, no clock: `now` is an argument.

Rules:
* who takes a turn is decided by `selection.choose`; never more than `limit` turns on an account at once, never one on
  an account that is parked or cooling;
* every change of a condition is dirty until `take_dirty`: storing the dirty ones is enough to rebuild the same pool;
* nothing is kept for the model names that clients choose.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from shim.accounts.account import Account, Condition, Quota
from shim.accounts.selection import Entry, NoAccountError, Shortage, choose
from shim.accounts.states import (
    AccountEvent,
    Adjusted,
    PoolError,
    Refused,
    RenewalBegan,
    RenewalDropped,
    RenewalFailed,
    RenewalRefused,
    Renewed,
    State,
    Succeeded,
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


class Slot(msgspec.Struct, frozen=True):
    """One of the turns that an account may have at once, on the model `slug`. It ends with `PoolState.end`.

    Where `needs_renewal`, there is no good access token now: the account has to be renewed first, and
    `PoolState.account_of(slot)` then has the new one.
    """

    id: str
    account: Account
    slug: str
    begun: float
    needs_renewal: bool = False

    def succeeded(self) -> Succeeded:
        """The event for a turn that went well."""
        return Succeeded(self.slug, self.begun)


class PoolState:
    """Accounts and their conditions, in memory. `limit` is how many turns an account may have at once."""

    def __init__(self, limit: int = 1) -> None:
        self._limit = limit
        self._entries: dict[str, Entry] = {}
        # By user and workspace: two credentials of one person are one account, and are found under this.
        self._users: dict[tuple[str, str | None], Entry] = {}
        # By slot, the entry whose turn it is: also one that was removed meanwhile, or became another.
        self._slots: dict[str, Entry] = {}
        self._removed: dict[str, Entry] = {}  # only while something of theirs is under way
        # Who has never been used is taken in the order of arrival.
        self._numbers = itertools.count()
        self._latest = 0.0
        # Ids of conditions that the store does not have yet; it is written behind, four times a second at most.
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
        # A timestamp in the future (another machine's clock) would starve this account until then.
        rank = (min(condition.last_used, now), next(self._numbers))
        entry = Entry(account, condition, rank)
        self._entries[account.id] = entry
        name = _name(account)
        if name is not None:
            self._users[name] = entry
        # An account that was removed and is back again has its turns still, and its renewal.
        before = self._removed.pop(account.id, None)
        if before is not None:
            self._move_slots(before, entry)
            entry.renewing = before.renewing
        return True

    def find(self, account: Account) -> str | None:
        """The id under which `account` (or its user in the same workspace) is in the pool."""
        if account.id in self._entries:
            return account.id
        name = _name(account)
        entry = self._users.get(name) if name is not None else None
        return entry.account.id if entry is not None else None

    def remove(self, id: str) -> bool:
        """Forget an account; whether it was there. Its turns continue, but their outcome is ignored."""
        entry = self._entries.get(id)
        if entry is None:
            return False
        self._forget(entry)
        if entry.active or entry.renewing is not None:
            self._removed[id] = entry
        return True

    def clear(self) -> int:
        """Forget all of them; how many there were."""
        return sum(self.remove(id) for id in list(self._entries))  # a copy, because `remove` takes them out

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
        elif newer and account.tokens != entry.account.tokens:
            entry.condition = after(ours, Supplied(account), now)
        return self._adopt(entry, account) if newer else None

    def learn(self, id: str, slugs: Iterable[str]) -> None:
        """Tell which models an account has. None at all means that its list could not be had."""
        entry = self._entries.get(id)
        if entry is not None:
            entry.slugs = frozenset(slugs) or None

    # --- turns -----------------------------------------------------------------------------------------------------

    def lease(
        self,
        slugs: tuple[str, ...],
        now: float,
        *,
        slot_id: str,
        exclude: frozenset[str] = frozenset(),
        owner: str | None = None,
        prefer: str | None = None,
    ) -> Slot:
        """A turn with an account that has one of `slugs` (what the model could mean, best first).

        `exclude` are ids that this exchange has tried; with `owner` it is that account or none, with `prefer` that one
        where it can take the turn now. Raises NoAccountError.
        """
        if not slugs or slot_id in self._slots:
            raise PoolError("a turn needs a slug and an id of its own")
        suitable: Collection[Entry] = self._entries.values()
        if owner is not None:
            if owner not in self._entries:
                raise NoAccountError(Shortage.GONE)
            suitable = (self._entries[owner],)
        preferred = self._entries.get(prefer) if prefer is not None and owner is None else None
        if preferred is not None and preferred.is_free(slugs, now, self._limit) and prefer not in exclude:
            suitable = (preferred,)
        entry, slug = choose(suitable, slugs, now, limit=self._limit, exclude=exclude)
        # The rank rises even where the clock was put back, or the account would be next again and again.
        self._latest = max(self._latest, now)
        entry.rank = (self._latest, next(self._numbers))
        entry.active += 1
        entry.condition = replace(entry.condition, last_used=now)
        self._slots[slot_id] = entry
        return Slot(slot_id, entry.account, slug, now, is_expired(entry.account, entry.condition, now))

    def account_of(self, slot: Slot) -> Account | None:
        """The account of a turn as it is now, also where it became one with another; None where it was removed."""
        entry = self._slots.get(slot.id)
        return entry.account if entry is not None and self._has(entry) else None

    def end(self, slot: Slot, event: TurnEvent, now: float) -> None:
        """Give a turn back, with what it showed. Ending it again does nothing."""
        entry = self._slots.pop(slot.id, None)
        if entry is None:
            return
        entry.active -= 1
        if not self._has(entry):
            self._let_go(entry)
            return
        if type(event) is not Unused:
            # Not dirty by that: uses are stored apart, and added up (`take_uses`).
            entry.condition = replace(entry.condition, turns=entry.condition.turns + 1)
            last_used, turns = self._uses.get(entry.account.id, (0.0, 0))
            self._uses[entry.account.id] = (max(last_used, slot.begun), turns + 1)
        if (
            isinstance(event, Refused | TokenExpired)
            and not slot.needs_renewal  # else the turn waited for a renewal, and had the new token
            and slot.account.access_token != entry.account.access_token
        ):
            return  # what is said of a token that was replaced meanwhile is not held against the new one
        self._happen(entry, event, now)

    def report(self, id: str, event: AccountEvent, now: float) -> str | None:
        """Tell what happened to an account outside of its turns. Nothing happens where it is not there (any more).

        Returns the id of the account that turned out to be the same and vanished into this one, if any: it is to be
        removed from the store, too. Raises PoolError for what can't happen in the account's state.
        """
        entry = self._entries.get(id)
        if entry is None:
            # Of what happens to an account that was removed only the end of its renewal matters.
            removed = self._removed.get(id)
            if removed is not None and isinstance(event, Renewed | RenewalFailed | RenewalRefused | RenewalDropped):
                removed.renewing = None
                self._let_go(removed)
            return None
        match event:
            case RenewalBegan():
                if not entry.account.renewable:
                    raise PoolError("an account with nothing but an access token can't be renewed")
                self._happen(entry, event, now)
                entry.renewing = entry.account.version
            case RenewalFailed() | RenewalRefused() | RenewalDropped():
                # What is said of credentials that were replaced meanwhile is not held against the new ones.
                check(entry.state(now), event)
                overtaken = entry.renewing != entry.account.version
                self._happen(entry, RenewalDropped() if overtaken else event, now)
                entry.renewing = None
            case Renewed(account=account) | Supplied(account=account) | Adjusted(account=account):
                return self._take_credentials(entry, event, account, now)
            case _:
                self._happen(entry, event, now)
        return None

    # --- what is to be stored ---------------------------------------------------------------------------------------

    def note_quotas(self, id: str, quotas: tuple[Quota, ...], now: float) -> None:
        """Upstream said what is left of an account's quotas."""
        entry = self._entries.get(id)
        if entry is not None and entry.condition.quotas != quotas:
            entry.condition = replace(entry.condition, quotas=quotas, quotas_at=now)
            self._dirty.add(id)

    def take_dirty(self) -> dict[str, Condition]:
        """The conditions that have changed since the last call. What can't be stored goes back with `mark_dirty`."""
        dirty = {id: self._entries[id].condition for id in self._dirty}
        self._dirty.clear()
        return dirty

    def mark_dirty(self, ids: Iterable[str]) -> None:
        """These conditions were not stored after all."""
        self._dirty.update(id for id in ids if id in self._entries)

    def take_uses(self) -> dict[str, tuple[float, int]]:
        """For each account used since the last call: (last used, further turns). What can't be stored goes back with
        `put_back`."""
        uses, self._uses = self._uses, {}
        return uses

    def put_back(self, uses: Mapping[str, tuple[float, int]]) -> None:
        """These uses were not stored after all."""
        for id, (last_used, turns) in uses.items():
            if id in self._entries:
                later, more = self._uses.get(id, (0.0, 0))
                self._uses[id] = (max(last_used, later), turns + more)

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

    def found(self, words: str, now: float, state: State | None = None) -> Iterator[AccountView]:
        """Those that `AccountView.matches` these words, in the same order."""
        for entry in self._entries.values():
            if (state is None or entry.state(now) is state) and (view := _view(entry, now)).matches(words):
                yield view

    def view(self, id: str, now: float) -> AccountView | None:
        """One account as people see it, or None where there is none with this id."""
        entry = self._entries.get(id)
        return _view(entry, now) if entry is not None else None

    def counts(self, now: float) -> dict[State, int]:
        """How many accounts are in each state."""
        counts = dict.fromkeys(State, 0)
        for entry in self._entries.values():
            counts[entry.state(now)] += 1
        return counts

    def due(self, now: float, ahead: float) -> list[str]:
        """Accounts whose access token expires within `ahead` seconds and which may be renewed now."""
        due: list[str] = []
        for id, entry in self._entries.items():
            account, condition = entry.account, entry.condition
            # An account that has never had a token gets its first one when a turn needs it, not ahead of time.
            if not account.renewable or account.access_token is None or entry.renewing is not None:
                continue
            if condition.parked is not None or condition.retry_at > now or account.paused is not None:
                continue
            if condition.expired or not account.is_fresh(now, ahead):
                due.append(id)
        return due

    # --- events -----------------------------------------------------------------------------------------------------

    def _happen(self, entry: Entry, event: AccountEvent, now: float) -> None:
        check(entry.state(now), event)
        condition = after(entry.condition, event, now)
        if condition is not entry.condition:
            self._change(entry, condition)

    def _change(self, entry: Entry, condition: Condition) -> None:
        entry.condition = condition
        self._dirty.add(entry.account.id)

    def _take_credentials(self, entry: Entry, event: AccountEvent, account: Account, now: float) -> str | None:
        """The credentials, unless they are late."""
        if account.id != entry.account.id:
            raise PoolError("these are the credentials of another account")
        check(entry.state(now), event)
        if type(event) is Renewed:
            entry.renewing = None
        if account.version <= entry.account.version:
            return None
        self._change(entry, after(entry.condition, event, now))
        return self._adopt(entry, account)

    def _adopt(self, entry: Entry, account: Account) -> str | None:
        """Put the credentials in place. The same user's account under another id vanishes; returns that id."""
        # Credentials may say for the first time whose they are, so an account can get a name, and a twin, only now.
        before, name = _name(entry.account), _name(account)
        if before is not None and self._users.get(before) is entry:
            del self._users[before]
        entry.take(account)
        twin = self._users.get(name) if name is not None else None
        if twin is not None:
            # Two accounts were one. The one whose credentials came last stays: it is stored already, so that a kill
            # between its being stored and the other's being removed loses nothing.
            self._forget(twin)
            self._move_slots(twin, entry)
            entry.rank = max(entry.rank, twin.rank)
            last_used, turns = self._uses.pop(account.id, (0.0, 0))
            self._uses[account.id] = (max(last_used, twin.condition.last_used), turns + twin.condition.turns)
            self._change(entry, united(entry.condition, twin.condition))
        if name is not None:
            self._users[name] = entry
        return twin.account.id if twin is not None else None

    # --- entries ----------------------------------------------------------------------------------------------------

    def _has(self, entry: Entry) -> bool:
        return self._entries.get(entry.account.id) is entry

    def _forget(self, entry: Entry) -> None:
        id, name = entry.account.id, _name(entry.account)
        del self._entries[id]
        if name is not None and self._users.get(name) is entry:
            del self._users[name]
        self._dirty.discard(id)
        self._uses.pop(id, None)

    # --- removed while something was under way ----------------------------------------------------------------------

    def _move_slots(self, before: Entry, entry: Entry) -> None:
        if before.active:
            self._slots.update({id: entry for id, holder in self._slots.items() if holder is before})
        entry.active += before.active
        before.active = 0

    def _let_go(self, entry: Entry) -> None:
        if not entry.active and entry.renewing is None:
            self._removed.pop(entry.account.id, None)


def _name(account: Account) -> tuple[str, str | None] | None:
    """What two accounts have in common that are the same, where it is known."""
    return (account.user, account.workspace_id) if account.user is not None else None


def _view(entry: Entry, now: float) -> AccountView:
    return view_of(entry.account, entry.condition, entry.renewing is not None, entry.active, now)
