"""Between a pool's memory and its store: changes of others in, conditions and uses out, and claims on accounts.

Rules: while the store is away the pool goes on from memory, and catches up when it is back. Claims are only asked for
where other processes share the store.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from shim.accounts.account import Condition
from shim.accounts.pool_state import PoolState, Slot
from shim.accounts.stores import Store, StoreEmptiedError, StoreError

log = logging.getLogger("chat2api")
T = TypeVar("T")

_PROBE_SECONDS = 1.0  # that what is written to see whether it can be stays


class StoreSync:
    """That of one pool. `holder` names this process among all that share the store, `limit` is how many turns an
    account may have at once, `claim_seconds` until a claim ends that is not prolonged (None: nobody else uses the
    store). `on_change` is called where accounts may be free that were not."""

    def __init__(
        self,
        store: Store,
        pool: PoolState,
        *,
        holder: str,
        limit: int,
        claim_seconds: float | None,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self._store, self._pool = store, pool
        self._holder, self._limit, self._claim_seconds = holder, limit, claim_seconds
        self._clock, self._on_change = clock, on_change
        self._claimed: dict[str, tuple[str, str]] = {}  # by slot: the account, and the lease in the store
        self._asked: dict[str, tuple[str, str]] = {}  # of which it is not known whether they were granted
        self._catching_up = asyncio.Lock()
        self.away: str | None = None  # why the store can't be reached

    async def load(self) -> None:
        """Everything the store has. Where a kill came between storing a renewed account and removing the one it turned
        out to be, both are there: the one whose token was renewed last stays. Raises StoreError."""
        now = self._clock()
        for account, condition in await self._store.load():
            twin = self._pool.account(self._pool.find(account) or "")
            if twin is not None:
                older = twin if (twin.expires or 0.0) < (account.expires or 0.0) else account
                await self._store.remove([older.id])
                if older is account:
                    continue
                self._pool.remove(twin.id)
            self._pool.add(account, condition, now)

    async def close(self) -> None:
        """Store what is left to store. The store itself is closed by whoever opened it."""
        with suppress(StoreError):
            for id, lease in self._claimed.values():  # of turns that were cut off: nobody else will give them back
                await self._store.release(id, lease)
        self._claimed.clear()
        with suppress(StoreError):
            await self.write_behind()

    # --- claims -----------------------------------------------------------------------------------------------------

    async def claim(self, slot: Slot) -> bool:
        """Whether a turn may be had of an account that other processes use as well."""
        # A store that is away would hold up every turn until it is not reached.
        if self._claim_seconds is None or self.away is not None:
            return True
        claim = self._asked[slot.id] = (slot.account.id, f"{self._holder}/{slot.id}")
        try:
            limit = slot.account.limit or self._limit
            granted = await self._store.claim(*claim, limit, self._claim_seconds)
        except StoreError as error:
            self._note_away(error)
            return True  # on our own: the limit is kept within this process
        del self._asked[slot.id]
        if granted:
            self._claimed[slot.id] = claim
        return granted

    def give_back(self, slot: Slot) -> Coroutine[Any, Any, None] | None:
        """What is left to do for a claim that is over, or that was asked for in vain; None where there was none."""
        claim = self._claimed.pop(slot.id, None) or self._asked.pop(slot.id, None)
        return self.guarded(self._store.release(*claim)) if claim is not None else None

    async def prolong(self) -> None:
        """Claims are short, so that a process that is killed holds none for long; those of turns under way go on."""
        claims = list(self._claimed.values())
        if not claims or self._claim_seconds is None or self.away is not None:
            return
        try:
            await self._store.prolong(claims, self._claim_seconds)
            for claim in set(claims).difference(self._claimed.values()):
                await self._store.release(*claim)  # given back meanwhile, and perhaps brought back to life
        except StoreError as error:
            self._note_away(error)

    # --- changes ----------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """What others changed comes in, what is new here goes out."""
        # Accounts become free by time alone, too, and by what other processes give back.
        self._on_change()
        try:
            await self.catch_up()
            await self.write_behind()
            # A store whose disk or memory is full can still be read: it is back when it can be written.
            if self.away is not None:
                await self._store.lock(f"write of {self._holder}", self._holder, _PROBE_SECONDS)
        except StoreError as error:
            self._note_away(error)
            return
        if self.away is not None:
            log.warning("the store of accounts is back")
        self.away = None

    async def catch_up(self) -> None:
        """Take in what other processes have changed. Raises StoreError. One at a time, so that whoever has waited for
        it knows all that was stored before."""
        async with self._catching_up:
            try:
                changes = await self._store.changes()
            except StoreEmptiedError as error:
                # The store lost what it had; we have it still.
                ids = [view.id for view in self._pool.snapshot(self._clock())]
                log.warning("%s; putting %d accounts back", error, len(ids))
                await self._store.add([account for id in ids if (account := self._pool.account(id)) is not None])
                self._pool.mark_dirty(ids)
                return
            for change in changes:
                if change.account is None:
                    self._pool.remove(change.id)
                else:
                    condition = change.condition or Condition()
                    await self.forget(self._pool.replace(change.account, condition, self._clock()))
                self._on_change()

    async def write_behind(self) -> None:
        """How accounts are doing, and how often they were used. Raises StoreError; then what was not stored is kept."""
        dirty, uses = self._pool.take_dirty(), dict[str, tuple[float, int]]()
        try:
            # Each leaves the dictionary once it is stored, so that a failure in their midst puts back only the rest.
            while dirty:
                id, condition = next(iter(dirty.items()))
                await self._store.save_condition(id, condition)
                del dirty[id]
            uses = self._pool.take_uses()
            if uses:
                await self._store.add_uses(uses)
                uses = {}
        finally:
            self._pool.mark_dirty(dirty)
            self._pool.put_back(uses)

    async def forget(self, vanished: str | None) -> None:
        """An account turned out to be the same as another one: its old entry goes from the store, too."""
        if vanished is not None:
            await self.guarded(self._store.remove([vanished]))

    async def guarded(self, call: Coroutine[Any, Any, Any]) -> None:
        """Await a call to the store that may be lost."""
        try:
            await call
        except StoreError as error:
            self._note_away(error)

    async def noted(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to the store whose failure is told to whoever asked for it: raises StoreError."""
        try:
            return await call
        except StoreError as error:
            self._note_away(error)
            raise

    def _note_away(self, error: StoreError) -> None:
        if self.away is None:
            # Once for a row of failures: this is asked four times a second.
            log.warning("the store of accounts is away, going on from memory: %s", error)
        self.away = str(error)
