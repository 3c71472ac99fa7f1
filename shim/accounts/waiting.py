"""Those who wait for an account that is busy, in the order in which they came.

Rule: whatever becomes free is given to whoever has waited longest of those that can use it, and wakes nobody else. So
nobody who comes later finds it first, and a turn's end costs the same however many wait.
"""

import asyncio
import bisect
from collections.abc import Callable
from operator import itemgetter

import msgspec

from shim.accounts.pool_state import Slot
from shim.accounts.selection import NoAccountError


class SlotWish(msgspec.Struct, frozen=True):
    """What a turn is wanted with, as `PoolState.lease` takes it."""

    slugs: tuple[str, ...]
    exclude: frozenset[str] = frozenset()
    owner: str | None = None
    prefer: str | None = None


class WaitingLine:
    """The line of one pool. `lease` gives a slot for a wish, or raises NoAccountError."""

    def __init__(self, lease: Callable[[SlotWish], Slot]) -> None:
        self._lease = lease
        # By what is wished for: mostly that is the same for all, and where it can't be had for one, it can't for any.
        # Those who wish for it by their place, the first one first; nobody's place is twice in a line.
        self._lines: dict[SlotWish, list[tuple[int, asyncio.Future[Slot]]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def join(self, wish: SlotWish, place: int) -> "asyncio.Future[Slot]":
        """Stand in line, before those with a larger `place`. The future has the slot, or NoAccountError where waiting
        is no use any more."""
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        bisect.insort(self._lines.setdefault(wish, []), (place, future), key=_PLACE)
        return future

    def leave(self, wish: SlotWish, place: int, future: "asyncio.Future[Slot]") -> Slot | None:
        """Stand in line no more; the slot that was given meanwhile, if one was."""
        if future.done():
            return None if future.exception() else future.result()
        line = self._lines[wish]
        del line[bisect.bisect_left(line, place, key=_PLACE)]
        if not line:
            del self._lines[wish]
        return None

    def offer(self) -> None:
        """Something may be free, or there may be nothing left to wait for."""
        hopeful = set(self._lines)
        while hopeful:
            wish = min(hopeful, key=lambda one: self._lines[one][0][0])
            line = self._lines[wish]
            try:
                slot = self._lease(wish)
            except NoAccountError as shortage:
                hopeful.discard(wish)
                if not shortage.busy:
                    del self._lines[wish]
                    for _, future in line:
                        future.set_exception(shortage.again())
            else:
                line.pop(0)[1].set_result(slot)
                if not line:
                    hopeful.discard(wish)
                    del self._lines[wish]


_PLACE = itemgetter(0)
