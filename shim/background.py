"""Background tasks: those that run again and again, and those that are done once.

Rule: a background task never ends by what goes wrong in it: that is logged, told by `failing`, and tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

log = logging.getLogger("chat2api")


class Background:
    """The tasks of one owner, by which the log calls them ("the accounts"). `failing`: those that failed when they last
    ran, and with which kind of error."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.failing: dict[str, str] = {}
        self._away: set[str] = set()  # those whose store was away when they last ran
        self._endless: set[asyncio.Task[None]] = set()
        self._once: set[asyncio.Task[None]] = set()

    def repeat(
        self,
        seconds: float,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        away: type[Exception] | tuple[()] = (),
    ) -> None:
        """Run `work` again and again, with so many seconds between. `away` is what it raises where its store can't be
        reached: that is no failure of the task's, and passes by itself."""
        self._endless.add(asyncio.create_task(self._every(seconds, name, work, away)))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this once, while nobody waits for it."""

        def ended(task: "asyncio.Task[None]") -> None:
            self._once.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a background task of %s failed", self._owner, exc_info=error)

        task = asyncio.create_task(work)
        self._once.add(task)  # the loop itself holds no task that waits
        task.add_done_callback(ended)

    async def settled(self, seconds: float | None = None) -> None:
        """Wait until all is done that is done once, but no longer than that."""
        if self._once:
            await asyncio.wait(self._once, timeout=seconds)

    async def close(self) -> None:
        """End what is endless, and wait for the rest."""
        for task in self._endless:
            task.cancel()
        await asyncio.gather(*self._endless, *self._once, return_exceptions=True)

    async def _every(
        self,
        seconds: float,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        away: type[Exception] | tuple[()],
    ) -> None:
        """The edge that must not die, so whatever `work` raises is logged: once for a row of failures, as some of this
        runs four times a second."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except away as error:
                if name not in self._away:
                    log.warning("the store of %s is away, it is tried again: %s", self._owner, error)
                self._away.add(name)
            except Exception as error:  # one failure must not end the task for good
                if name not in self.failing:
                    log.exception("background task %r of %s failed; it is tried again", name, self._owner)
                self.failing[name] = type(error).__name__
            else:
                self._away.discard(name)
                if self.failing.pop(name, None) is not None:
                    log.warning("background task %r of %s is well again", name, self._owner)
