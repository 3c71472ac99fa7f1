"""One call at a time for each key, however many ask for it.

Rule: a caller that leaves changes nothing for the others, and a failure is raised for all who wait and kept for nobody.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Flight(Generic[V]):
    def __init__(self, task: "asyncio.Task[V]") -> None:
        self.task = task
        self.waiting = 0


class SingleFlight(Generic[K, V]):
    """Calls under way, by key. With `ends_unawaited` a call is cancelled once the last who waited for it has left;
    without, it goes on to its end, because what it brings counts whether somebody waits or not."""

    def __init__(self, *, ends_unawaited: bool = False) -> None:
        self._ends_unawaited = ends_unawaited
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The outcome of the call under way for `key`, or of a new one. Raises what `call` raises."""
        flight = self._flights.get(key)
        if flight is None or flight.task.done():  # ended, and its callback has not run yet
            flight = self._flights[key] = begun = _Flight(asyncio.create_task(call()))

            def ended(task: "asyncio.Task[V]") -> None:
                if self._flights.get(key) is begun:
                    del self._flights[key]
                if not task.cancelled():
                    task.exception()  # looked at here, for nobody else may be there to do it

            flight.task.add_done_callback(ended)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if self._ends_unawaited and not flight.waiting and not flight.task.done():
                del self._flights[key]  # who comes now starts afresh
                flight.task.cancel()

    def tasks(self) -> dict[K, "asyncio.Task[V]"]:
        """The calls under way."""
        return {key: flight.task for key, flight in self._flights.items()}
