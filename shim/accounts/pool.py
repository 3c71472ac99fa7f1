"""The pool in use: memory decides, the store remembers, renewals keep tokens good.

    AccountPool ── lease, end ──> PoolState (memory)
       ├── claims, saves ──> StoreSync        in the background: changes of others in, conditions and uses out
       └── renews ─────────> Renewals         in the background: tokens that will soon expire

Rules:
* what a person or a rotation brought is stored before it is acknowledged; how accounts are doing is written behind;
* while the store is away the pool goes on from memory, says so in `health`, and catches up by itself.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from shim.accounts.account import Account, Condition, Quota, account_of
from shim.accounts.imports import SHARED, ImportedLine, once, read_text, write_accounts
from shim.accounts.pool_state import PoolState, Slot
from shim.accounts.renewal import ExchangeTokens, Renewals, RenewalTimes
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import AccountEvent, Adjusted, Reset, State, Supplied, TurnEvent, Unused
from shim.accounts.store_sync import StoreSync
from shim.accounts.stores import Store, StoreError
from shim.accounts.views import AccountView
from shim.accounts.waiting import SlotWish, WaitingLine
from shim.background import Background
from shim.protocol.turn.renewal import DeadCredentialError

# How far this process is behind others on the same store, at most, while that answers.
_SYNC_SECONDS = 0.25
# How often it is looked for tokens that end soon; the hours below leave many such looks.
_AHEAD_SECONDS = 30.0
_AHEAD_OF_END = 2 * 3600  # seconds before a token ends, at which its renewal is thought of
# How often it is asked for a turn that another process has: nobody tells when it ends there.
_CLAIM_POLL_SECONDS = 0.05
_PROLONG_TIMES = 4  # in the life of a claim, so that one that fails, or a busy loop, loses none
# Accounts of callers with tokens of their own, who may be anybody.
_MAX_HOSTED = 10_000
# An account is written by comparing versions, and who was slower than another process looks again. Only a storm of
# changes makes somebody lose so often in a row.
_SUPPLY_TRIES = 5
# After so many the loop lets others in. Each costs some microseconds, so that streams wait a few milliseconds at most.
_LINES_AT_ONCE = 200


class PoolOptions(msgspec.Struct, frozen=True):
    """`limit`: turns an account may have at once. `shared`: other processes use the same store. Seconds: `patience` to
    wait for an account that is busy, `renewal` for one that is being renewed, `claim` until a claim in the store ends
    that its holder does not prolong."""

    limit: int = 4
    shared: bool = False
    patience: float = 30.0
    renewal: float = 75.0
    claim: float = 16.0


class LineResult(msgspec.Struct, frozen=True):
    """What became of one line of an upload, or of one entry of a file in it; never with anything of its content."""

    line: int
    where: str
    outcome: Literal["added", "updated", "known", "refused", "passed over"]
    why: str = ""
    account: str | None = None


class AddReport(msgspec.Struct, frozen=True):
    """What became of an upload: the ids of new and of changed accounts, a result for every line, and what whoever
    brought it should know."""

    added: tuple[str, ...]
    updated: tuple[str, ...]
    results: tuple[LineResult, ...]
    notes: tuple[str, ...] = ()

    @property
    def duplicates(self) -> tuple[int, ...]:
        """The lines that brought nothing new."""
        return tuple(one.line for one in self.results if one.outcome == "known")

    @property
    def invalid(self) -> tuple[tuple[int, str], ...]:
        """The lines that were refused, and why."""
        return tuple((one.line, one.why) for one in self.results if one.outcome == "refused")


class PoolHealth(msgspec.Struct, frozen=True):
    """What an operator wants to know at a glance: accounts by state, "ok" or why the store can't be reached, how many
    renewed accounts it does not have yet, and the background tasks that fail, with the kind of failure."""

    accounts: dict[str, int]
    store: str
    unsaved: int
    background: dict[str, str]


class AccountPool:
    """One of these a process. `new_id` makes ids for leases; `holder` names this process among all that share the
    store, and `is_dead` tells of another holder's name whether that process is known to be gone."""

    def __init__(
        self,
        store: Store,
        exchange: ExchangeTokens,
        options: PoolOptions,
        *,
        holder: str,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        is_dead: Callable[[str], bool] = lambda _holder: False,
        heard: Callable[[AccountEvent], None] = lambda _event: None,
    ) -> None:
        self._store = store
        self._options = options
        self._clock = clock
        self._new_id = new_id
        self._is_dead = is_dead
        self._pool = PoolState(options.limit)
        # Who waits for a turn is served from here when one ends, so that nobody asks again and again.
        self._line = WaitingLine(self._lease)
        self._places = itertools.count()  # in the line of those who wait
        self._background = Background("the accounts")
        # Memory and store, in both directions; what changes there may be what somebody in the line waits for.
        self._synced = StoreSync(
            store,
            self._pool,
            holder=holder,
            limit=options.limit,
            claim_seconds=options.claim if options.shared else None,
            clock=clock,
            on_change=self._line.offer,
        )

        def report(id: str, event: AccountEvent) -> None:
            heard(event)
            vanished = self._pool.report(id, event, clock())
            if vanished is not None:
                self._background.spawn(self._synced.forget(vanished))

        # Last, for it reports to the pool and catches up by the sync.
        self._renewals = Renewals(
            store,
            exchange,
            latest=self._pool.account,
            report=report,
            catch_up=self._synced.catch_up,
            holder=holder,
            clock=clock,
            jitter=random.random,
            times=RenewalTimes(wait=options.renewal),
        )
        self._met: set[str] = set()  # accounts that are not stored, because upstream has not accepted them yet

    def __len__(self) -> int:
        return len(self._pool)

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self, *, background: bool = True) -> None:
        """Load everything. Raises StoreError where the store can't be had at the start."""
        await self._store.open()
        await self._synced.load()
        if self._options.shared:
            # Turns of workers that were killed are over. Their claims end by themselves, but only seconds later.
            await self._store.release_held_by(self._is_dead)
        if background:
            self._background.repeat(_SYNC_SECONDS, "sync", self._synced.sync)
            self._background.repeat(_AHEAD_SECONDS, "renewal", self._renew_ahead)
            self._background.repeat(self._options.claim / _PROLONG_TIMES, "claims", self._synced.prolong)

    async def close(self) -> None:
        """Store what is left to store, and let go."""
        # In this order: nothing new is begun; what renewals bring is stored; then what has become of the accounts is.
        await self._background.close()
        await self._renewals.close()
        await self._synced.close()
        await self._store.close()

    # --- leases -----------------------------------------------------------------------------------------------------

    async def lease(
        self,
        slugs: tuple[str, ...],
        *,
        exclude: frozenset[str] = frozenset(),
        owner: str | None = None,
        prefer: str | None = None,
    ) -> Slot:
        """A turn with an account that may have one of `slugs`, waiting where all are busy; with the one to `prefer`
        where that is free. Raises NoAccountError."""
        wish, place = SlotWish(slugs, exclude, owner, prefer), next(self._places)
        until = asyncio.get_running_loop().time() + self._options.patience
        taken: frozenset[str] = frozenset()  # at their limit by the turns of other processes
        while True:
            try:
                slot = self._lease(wish, taken)
            except NoAccountError as shortage:
                if not shortage.busy and not taken:
                    raise
                left = until - asyncio.get_running_loop().time()
                if left <= 0:
                    raise NoAccountError(Shortage.BUSY) from None
                # Until a turn ends here; but only for a moment where turns of other processes are in the way.
                given = await self._given(wish, place, min(left, _CLAIM_POLL_SECONDS) if taken else left)
                taken = frozenset()
                if given is None:
                    continue
                slot = given
            try:
                if await self._synced.claim(slot):
                    return slot
            except BaseException:  # cancelled, or the store's: either way the turn is nobody's
                self.end(slot, Unused())
                raise
            # Other processes have all of its turns; the next one is asked for without it. Nobody here is offered this
            # one: whoever waits would ask the store, too, and give it on for ever.
            self._pool.end(slot, Unused(), self._clock())
            taken |= {slot.account.id}

    def _lease(self, wish: SlotWish, taken: frozenset[str] = frozenset()) -> Slot:
        return self._pool.lease(
            wish.slugs,
            self._clock(),
            slot_id=self._new_id(),
            exclude=wish.exclude | taken,
            owner=wish.owner,
            prefer=wish.prefer,
        )

    async def _given(self, wish: SlotWish, place: int, seconds: float) -> Slot | None:
        """A slot that somebody else gives back, None where nobody does in this time. Raises NoAccountError."""
        waiting = self._line.join(wish, place)
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        except asyncio.CancelledError:
            if (slot := self._line.leave(wish, place, waiting)) is not None:
                self.end(slot, Unused())
            raise
        return waiting.result() if waiting.done() else self._line.leave(wish, place, waiting)

    async def ready(self, slot: Slot) -> Account:
        """The account of a turn with a good access token. Raises GatewayError (DeadCredentialError: it was parked)."""
        account = self._pool.account_of(slot)
        if account is None:
            raise DeadCredentialError("account_removed")
        return await self._good(account)

    def account(self, id: str) -> Account | None:
        """One account as it is, whatever its token is worth; None where it is not there."""
        return self._pool.account(id)

    async def beside(self, id: str) -> Account | None:
        """An account with a good access token for a call that is no turn, beside its turns and its limits; None where
        it is not there. Raises GatewayError."""
        account = self._pool.account(id)
        return None if account is None else await self._good(account)

    async def _good(self, account: Account) -> Account:
        condition = self._pool.condition(account.id) or Condition()
        if condition.expired or not account.is_fresh(self._clock()):
            if not account.renewable:
                raise DeadCredentialError("token_expired")
            return await self._renewals.renew(account)
        return account

    def end(self, slot: Slot, event: TurnEvent) -> None:
        """Give a turn back with what it showed. Ending it again does nothing."""
        self._pool.end(slot, event, self._clock())
        self._line.offer()
        if (releasing := self._synced.give_back(slot)) is not None:
            self._background.spawn(releasing)

    def learn(self, id: str, slugs: Iterable[str]) -> None:
        """Tell which models an account has."""
        self._pool.learn(id, slugs)

    def note_quotas(self, id: str, quotas: tuple[Quota, ...]) -> None:
        """Tell what upstream said of an account's quotas."""
        self._pool.note_quotas(id, quotas, self._clock())

    # --- for people -------------------------------------------------------------------------------------------------

    async def add(self, text: str) -> AddReport:
        """Take in what a person has at hand, in any form that `imports` knows. What is reported as added or updated is
        stored. Raises StoreError."""
        return await self.add_lines(await asyncio.to_thread(read_text, text))

    async def add_lines(self, lines: Iterable[ImportedLine]) -> AddReport:
        """The same for what has been read already, of several files say."""
        lines, now = once(lines), self._clock()
        fresh: list[Account] = []
        updated: list[str] = []
        results: list[LineResult] = []
        for place, line in enumerate(lines):
            if place % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)  # an upload may have a hundred thousand
            if line.credential is None:
                outcome: Any = "passed over" if line.passed else "refused"
                results.append(LineResult(line.line, line.where, outcome, line.why))
                continue
            account = account_of(line.credential, now)
            known = self._pool.find(account)
            if known is None:
                fresh.append(account)
                outcome = "added"
            elif await self._supply(known, account):
                updated.append(known)
                outcome = "updated"
            else:
                outcome = "known"
            results.append(LineResult(line.line, line.where, outcome, account=known or account.id))
        await self._synced.noted(self._store.add(fresh))
        for place, account in enumerate(fresh):
            if place % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
            self._pool.add(account, Condition(), now)
        self._line.offer()
        notes = (SHARED,) if any(line.shared for line in lines) else ()
        return AddReport(tuple(one.id for one in fresh), tuple(updated), tuple(results), notes)

    def find(self, account: Account) -> str | None:
        """The id under which an account is here."""
        return self._pool.find(account)

    def meet(self, account: Account) -> str:
        """Take in the account of a caller whom upstream has not accepted yet, in memory alone; its id."""
        if len(self._pool) >= _MAX_HOSTED:
            # Whoever brought it can bring it again, and one that is in use goes on: its turns end as they would have.
            self._pool.remove(self.page(limit=1)[0].id)
        self._pool.add(account, Condition(), self._clock())
        self._met.add(account.id)
        return account.id

    async def dismiss(self, id: str) -> None:
        """Forget an account that upstream does not accept."""
        self._pool.remove(id)
        if id in self._met:
            self._met.discard(id)
        else:
            await self._synced.guarded(self._store.remove([id]))

    async def host(self, account: Account, *, keep: bool = False) -> str:
        """Take in the account of a caller who brought their own credential; its id. While the store is away it is kept
        in memory alone: whoever brought it can bring it again. With `keep` one that was only met is stored, too."""
        known = self._pool.find(account)
        if known is not None:
            if keep and known in self._met:
                self._met.discard(known)
                await self._synced.guarded(self._store.add([self._pool.account(known) or account]))
            await self._synced.guarded(self._supply(known, account))
            return known
        if len(self._pool) >= _MAX_HOSTED:
            await self._synced.guarded(self.remove(self.page(limit=1)[0].id))
        await self._synced.guarded(self._store.add([account]))
        self._pool.add(account, Condition(), self._clock())
        return account.id

    def export(self) -> str:
        """Every account with all of its tokens, as a file that `add` takes again."""
        accounts = [self._pool.account(view.id) for view in self.page()]
        return write_accounts(account for account in accounts if account is not None)

    async def remove(self, id: str) -> bool:
        """Forget one account; whether it was there. Raises StoreError."""
        # The store first: what stayed there would come back with the next sync, after a person was told it is gone.
        removed = await self._synced.noted(self._store.remove([id]))
        was_there = self._pool.remove(id)
        self._line.offer()  # who waited for it waits for nothing
        return was_there or removed > 0

    async def clear(self) -> int:
        """Forget all accounts; how many there were. Raises StoreError."""
        await self._synced.noted(self._store.remove(None))
        cleared = self._pool.clear()
        self._line.offer()
        return cleared

    async def reset(self, id: str) -> bool:
        """Forget what is known against an account; whether it is there. Raises StoreError."""
        if id not in self._pool:
            return False
        self._pool.report(id, Reset(), self._clock())
        await self._synced.noted(self._synced.write_behind())
        self._line.offer()
        return True

    async def adjust(self, id: str, **changes: Any) -> bool:
        """Have an account used otherwise: `changes` are fields of `Handling`. False where it is gone. Raises
        StoreError."""
        for _ in range(_SUPPLY_TRIES):
            known = self._pool.account(id)
            if known is None:
                return False
            if all(getattr(known, name) == value for name, value in changes.items()):
                return True
            changed = msgspec.structs.replace(known, version=known.version + 1, **changes)
            if await self._store.save_account(changed):
                self._pool.report(id, Adjusted(changed), self._clock())
                self._line.offer()
                return True
            await self._synced.catch_up()  # somebody was first
        raise StoreError("the account is being changed by others all the time; try again")

    async def pause(self, id: str) -> bool:
        """Give an account no new turns until it is resumed; those under way go on. Whether it is there."""
        account = self._pool.account(id)
        return account is not None and (account.paused is not None or await self.adjust(id, paused=self._clock()))

    async def resume(self, id: str) -> bool:
        """Take a pause back. Whether the account is there."""
        return await self.adjust(id, paused=None)

    async def renew(self, id: str) -> Account | None:
        """The account with a good access token, renewed where it can be; None where it is not there.

        Raises GatewayError.
        """
        account = self._pool.account(id)
        if account is None or not account.renewable:
            return account
        return await self._renewals.renew(account)

    def report(self, id: str, event: TurnEvent) -> None:
        """Tell what a probe showed."""
        self._pool.report(id, event, self._clock())
        self._line.offer()

    def view(self, id: str) -> AccountView | None:
        """One account, as people are shown it."""
        return self._pool.view(id, self._clock())

    def page(self, *, offset: int = 0, limit: int | None = None, state: State | None = None) -> list[AccountView]:
        """A page of accounts in the order they were added, without secrets."""
        return self._pool.snapshot(self._clock(), offset=offset, limit=limit, state=state)

    async def found(self, words: str, state: State | None = None) -> list[AccountView]:
        """All accounts (of those in `state`, if given) that have each of these words in what is shown of them."""
        views = []
        for place, view in enumerate(self._pool.found(words, self._clock(), state)):
            if place % _LINES_AT_ONCE == 0:
                await asyncio.sleep(0)
            views.append(view)
        return views

    def counts(self) -> dict[State, int]:
        """How many accounts are in each state."""
        return self._pool.counts(self._clock())

    @property
    def waiting(self) -> int:
        """How many turns wait for an account that is busy."""
        return len(self._line)

    def health(self) -> PoolHealth:
        """How the pool is."""
        counts = {state.value: number for state, number in self.counts().items() if number}
        return PoolHealth(counts, self._synced.away or "ok", self._renewals.unsaved, dict(self._background.failing))

    async def _renew_ahead(self) -> None:
        due = [self._pool.account(id) for id in self._pool.due(self._clock(), _AHEAD_OF_END)]
        await self._renewals.keep_fresh([account for account in due if account is not None], pause=1.0)

    async def _supply(self, id: str, given: Account) -> bool:
        """New credentials for an account that is there; False where they are no better than the ones it has."""
        for _ in range(_SUPPLY_TRIES):
            known = self._pool.account(id)
            if known is None or (merged := known.merged_with(given)) == known:
                return False
            if await self._store.save_account(merged):
                await self._synced.forget(self._pool.report(id, Supplied(merged), self._clock()))
                return True
            await self._synced.catch_up()  # somebody was first
        raise StoreError("the account is being changed by others all the time; try again")
