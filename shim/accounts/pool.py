"""The pool in use: memory decides, the store remembers, renewals keep tokens good.

    AccountPool ── lease, end ──> PoolState (memory)
       ├── claims, saves ──> Store            in the background: changes of others in, conditions and uses out
       └── renews ─────────> Renewals         in the background: tokens that will soon expire

Rules:
* what a person or a rotation brought is stored before it is acknowledged; how accounts are doing is written behind;
* while the store is away the pool goes on from memory, says so in `health`, and catches up by itself;
* claims in the store are only asked for where other processes share it;
* a background task never ends: what goes wrong in it is logged, told by `health`, and tried again.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Literal

import msgspec

from shim.accounts.account import Account, Condition, Quota, account_of
from shim.accounts.imports import SHARED, ImportedLine, once, read_text, write_accounts
from shim.accounts.pool_state import PoolState, Slot
from shim.accounts.renewal import ExchangeTokens, Renewals, RenewalTimes
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import AccountEvent, Reset, State, Supplied, TurnEvent, Unused
from shim.accounts.stores import Store, StoreEmptiedError, StoreError
from shim.accounts.views import AccountView
from shim.protocol.turn.renewal import DeadCredentialError

log = logging.getLogger("chat2api")

_SYNC_SECONDS = 0.25
_AHEAD_SECONDS = 30.0
_CLAIM_POLL_SECONDS = 0.05
_PROLONG_TIMES = 4  # in the life of a claim, so that one that fails, or a busy loop, loses none
_MAX_HOSTED = 10_000
_SUPPLY_TRIES = 5


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
    ) -> None:
        self._holder, self._is_dead = holder, is_dead
        self._store = store
        self._options = options
        self._clock = clock
        self._new_id = new_id
        self._pool = PoolState(options.limit)
        self._renewals = Renewals(
            store,
            exchange,
            latest=self._pool.account,
            report=self._report_renewal,
            catch_up=self._catch_up,
            holder=holder,
            clock=clock,
            jitter=random.random,
            times=RenewalTimes(wait=options.renewal),
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._endless: set[asyncio.Task[None]] = set()
        self._claimed: dict[str, tuple[str, str]] = {}  # by slot: the account, and the lease in the store
        self._freed = asyncio.Event()
        self._catching_up = asyncio.Lock()
        self._away: str | None = None
        self._failing: dict[str, str] = {}  # background tasks that failed when they last ran, and how

    def __len__(self) -> int:
        return len(self._pool)

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self, *, background: bool = True) -> None:
        """Load everything. Raises StoreError where the store can't be had at the start."""
        await self._store.open()
        for account, condition in await self._store.load():
            await self._take_in(account, condition)
        if self._options.shared:
            await self._store.release_held_by(self._is_dead)
        if background:
            self._repeat(_SYNC_SECONDS, "sync", self._sync)
            self._repeat(_AHEAD_SECONDS, "renewal", self._renew_ahead)
            self._repeat(self._options.claim / _PROLONG_TIMES, "claims", self._prolong)

    async def _take_in(self, account: Account, condition: Condition) -> None:
        """One account at the start. Where a kill came between storing a renewed account and removing the one it turned
        out to be, both are there: the one whose token was renewed last stays."""
        now = self._clock()
        twin = self._pool.account(self._pool.find(account) or "")
        if twin is None:
            self._pool.add(account, condition, now)
            return
        older = twin if (twin.expires or 0.0) < (account.expires or 0.0) else account
        await self._store.remove([older.id])
        if older is twin:
            self._pool.remove(twin.id)
            self._pool.add(account, condition, now)

    async def close(self) -> None:
        """Store what is left to store, and let go."""
        for task in self._endless:
            task.cancel()
        await asyncio.gather(*self._endless, *self._tasks, return_exceptions=True)
        await self._renewals.close()
        with suppress(StoreError):
            for id, lease in self._claimed.values():  # of turns that were cut off: nobody else will give them back
                await self._store.release(id, lease)
        self._claimed.clear()
        with suppress(StoreError):
            await self._write_behind()
        await self._store.close()

    # --- leases -----------------------------------------------------------------------------------------------------

    async def lease(
        self, slugs: tuple[str, ...], *, exclude: frozenset[str] = frozenset(), owner: str | None = None
    ) -> Slot:
        """A turn with an account that may have one of `slugs`, waiting where all are busy. Raises NoAccountError."""
        until = asyncio.get_running_loop().time() + self._options.patience
        taken: frozenset[str] = frozenset()  # at their limit by the turns of other processes
        while True:
            self._freed.clear()
            try:
                slot = self._pool.lease(
                    slugs, self._clock(), slot_id=self._new_id(), exclude=exclude | taken, owner=owner
                )
            except NoAccountError as shortage:
                if not shortage.busy and not taken:
                    raise
                await self._wait_for_end(until, poll=bool(taken))
                taken = frozenset()
                continue
            if await self._claim(slot):
                return slot
            self._pool.end(slot, Unused(), self._clock())
            taken |= {slot.account.id}

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
        self._freed.set()
        claim = self._claimed.pop(slot.id, None)
        if claim is not None:
            self._spawn(self._guarded(self._store.release(*claim)))

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
        return await self.add_lines(read_text(text))

    async def add_lines(self, lines: Iterable[ImportedLine]) -> AddReport:
        """The same for what has been read already, of several files say."""
        lines, now = once(lines), self._clock()
        fresh: list[Account] = []
        updated: list[str] = []
        results: list[LineResult] = []
        for line in lines:
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
        for account, _new in zip(fresh, await self._store.add(fresh), strict=True):
            self._pool.add(account, Condition(), now)
        self._freed.set()
        notes = (SHARED,) if any(line.shared for line in lines) else ()
        return AddReport(tuple(one.id for one in fresh), tuple(updated), tuple(results), notes)

    async def host(self, account: Account) -> str:
        """Take in the account of a caller who brought their own credential; its id. While the store is away it is kept
        in memory alone: whoever brought it can bring it again."""
        known = self._pool.find(account)
        if known is not None:
            await self._guarded(self._supply(known, account))
            return known
        if len(self._pool) >= _MAX_HOSTED:
            await self._guarded(self.remove(self.page(limit=1)[0].id))
        await self._guarded(self._store.add([account]))
        self._pool.add(account, Condition(), self._clock())
        return account.id

    def export(self) -> str:
        """Every account with all of its tokens, as a file that `add` takes again."""
        accounts = [self._pool.account(view.id) for view in self.page()]
        return write_accounts(account for account in accounts if account is not None)

    async def remove(self, id: str) -> bool:
        """Forget one account; whether it was there. Raises StoreError."""
        removed = await self._store.remove([id])
        return self._pool.remove(id) or removed > 0

    async def clear(self) -> int:
        """Forget all accounts; how many there were. Raises StoreError."""
        await self._store.remove(None)
        return self._pool.clear()

    async def reset(self, id: str) -> bool:
        """Forget what is known against an account; whether it is there. Raises StoreError."""
        if id not in self._pool:
            return False
        self._pool.report(id, Reset(), self._clock())
        await self._write_behind()
        self._freed.set()
        return True

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
        self._freed.set()

    def view(self, id: str) -> AccountView | None:
        """One account, as people are shown it."""
        return self._pool.view(id, self._clock())

    def page(self, *, offset: int = 0, limit: int | None = None, state: State | None = None) -> list[AccountView]:
        """A page of accounts in the order they were added, without secrets."""
        return self._pool.snapshot(self._clock(), offset=offset, limit=limit, state=state)

    def counts(self) -> dict[State, int]:
        """How many accounts are in each state."""
        return self._pool.counts(self._clock())

    def health(self) -> PoolHealth:
        """How the pool is."""
        counts = {state.value: number for state, number in self.counts().items() if number}
        return PoolHealth(counts, self._away or "ok", self._renewals.unsaved, dict(self._failing))

    # --- renewals ---------------------------------------------------------------------------------------------------

    def _report_renewal(self, id: str, event: AccountEvent) -> None:
        vanished = self._pool.report(id, event, self._clock())
        if vanished is not None:
            self._spawn(self._forget(vanished))

    async def _renew_ahead(self) -> None:
        due = [self._pool.account(id) for id in self._pool.due(self._clock(), 2 * 3600)]
        await self._renewals.keep_fresh([account for account in due if account is not None], pause=1.0)

    async def _supply(self, id: str, given: Account) -> bool:
        """New credentials for an account that is there; False where they are no better than the ones it has."""
        for _ in range(_SUPPLY_TRIES):
            known = self._pool.account(id)
            if known is None or (merged := _merged(known, given)) == known:
                return False
            if await self._store.save_account(merged):
                await self._forget(self._pool.report(id, Supplied(merged), self._clock()))
                return True
            await self._catch_up()  # somebody was first
        raise StoreError("the account is being changed by others all the time; try again")

    async def _forget(self, vanished: str | None) -> None:
        """An account turned out to be the same as another one: its old entry goes from the store, too."""
        if vanished is not None:
            await self._guarded(self._store.remove([vanished]))

    # --- the store --------------------------------------------------------------------------------------------------

    async def _claim(self, slot: Slot) -> bool:
        if not self._options.shared or self._away is not None:
            return True  # a store that is away would hold up every turn until it is not reached
        claim = (slot.account.id, f"{self._holder}/{slot.id}")
        try:
            granted = await self._store.claim(*claim, self._options.limit, self._options.claim)
        except StoreError as error:
            self._note_away(error)
            return True  # on our own: the limit is kept within this process
        if granted:
            self._claimed[slot.id] = claim
        return granted

    async def _prolong(self) -> None:
        """Claims are short, so that a process that is killed holds none for long; those of turns under way go on."""
        claims = list(self._claimed.values())
        if not claims or self._away is not None:
            return
        try:
            await self._store.prolong(claims, self._options.claim)
            for claim in set(claims).difference(self._claimed.values()):
                await self._store.release(*claim)  # given back meanwhile, and perhaps brought back to life
        except StoreError as error:
            self._note_away(error)

    async def _sync(self) -> None:
        """What others changed comes in, what is new here goes out."""
        try:
            await self._catch_up()
            await self._write_behind()
        except StoreError as error:
            self._note_away(error)
        else:
            self._note_back()

    async def _catch_up(self) -> None:
        """Take in what other processes have changed. Raises StoreError. One at a time, so that whoever has waited for
        it knows all that was stored before."""
        async with self._catching_up:
            try:
                changes = await self._store.changes()
            except StoreEmptiedError as error:
                await self._fill_again(error)
                return
            for change in changes:
                if change.account is None:
                    self._pool.remove(change.id)
                else:
                    condition = change.condition or Condition()
                    await self._forget(self._pool.replace(change.account, condition, self._clock()))
                self._freed.set()

    async def _fill_again(self, error: StoreError) -> None:
        """The store lost what it had; we have it still."""
        ids = [view.id for view in self.page()]
        log.warning("%s; putting %d accounts back", error, len(ids))
        await self._store.add([account for id in ids if (account := self._pool.account(id)) is not None])
        self._pool.mark_dirty(ids)

    async def _write_behind(self) -> None:
        dirty = self._pool.take_dirty()
        try:
            while dirty:
                id, condition = next(iter(dirty.items()))
                await self._store.save_condition(id, condition)
                del dirty[id]
            uses = self._pool.take_uses()
            if uses:
                await self._store.add_uses(uses)
        finally:
            self._pool.mark_dirty(dirty)

    async def _guarded(self, call: Coroutine[Any, Any, Any]) -> None:
        try:
            await call
        except StoreError as error:
            self._note_away(error)

    def _note_away(self, error: StoreError) -> None:
        if self._away is None:
            log.warning("the store of accounts is away, going on from memory: %s", error)
        self._away = str(error)

    def _note_back(self) -> None:
        if self._away is not None:
            log.warning("the store of accounts is back")
        self._away = None

    # --- tasks ------------------------------------------------------------------------------------------------------

    async def _wait_for_end(self, until: float, *, poll: bool) -> None:
        """Until a turn ends here; with `poll` no longer than a moment, as turns end elsewhere, too."""
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            raise NoAccountError(Shortage.BUSY)
        with suppress(TimeoutError):
            async with asyncio.timeout(min(left, _CLAIM_POLL_SECONDS) if poll else left):
                await self._freed.wait()

    def _repeat(self, seconds: float, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(self._every(seconds, name, work))
        self._endless.add(task)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task of the accounts failed", exc_info=error)

    async def _every(self, seconds: float, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` again and again. This is the edge that must not die, so whatever it raises is logged (once for a
        row of failures, as some of this runs four times a second) and told by `health` until it goes well."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except Exception as error:
                if name not in self._failing:
                    log.exception("background task %r of the accounts failed; it is tried again", name)
                self._failing[name] = type(error).__name__
            else:
                if self._failing.pop(name, None) is not None:
                    log.warning("background task %r of the accounts is well again", name)


def _merged(known: Account, given: Account) -> Account:
    """`known`, one version on, with the access token of `given` where that one lasts longer, and what came with it. A
    refresh or session token by which an account is found is the one it came with, and may have been rotated away: it is
    never taken back, unless there is none, or a later log-in brought another."""
    changes: dict[str, Any] = {}
    later = given.access_token not in {None, known.access_token} and (given.expires or 0.0) > (known.expires or 0.0)
    if later:
        changes |= {"access_token": given.access_token, "expires": given.expires, "plan": given.plan or known.plan}
    if given.session_token not in {None, known.session_token} and (later or known.session_token is None):
        changes["session_token"] = given.session_token
    if given.refresh_token not in {None, known.refresh_token} and (later or known.refresh_token is None):
        changes |= {"refresh_token": given.refresh_token, "client_id": given.client_id, "client_sure": False}
    elif given.refresh_token == known.refresh_token and not known.client_sure and given.client_id is not None:
        changes |= {"client_id": given.client_id} if given.client_id != known.client_id else {}
    return msgspec.structs.replace(known, version=known.version + 1, **changes) if changes else known
