"""Notes that are only a help: asked for a moment, and left alone for a while where they can't be had."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from shim.notes import NotesError

T = TypeVar("T")
log = logging.getLogger("chat2api")

PATIENCE = 0.5
"""Seconds that the store may take, once before a turn and once at its end."""
REST = 5.0
"""Seconds that it is left alone after it failed."""


class Hurry:
    """For the notes of one kind, which the log calls `what`."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rests_until = 0.0

    async def run(self, call: Coroutine[Any, Any, T]) -> T | None:
        """What the call gives within a moment, or None. After a failure the store is left alone for a while, so that
        not every request waits for one that hangs."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            # Else Python complains of a coroutine that nobody has awaited.
            call.close()
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                return await call
        except TimeoutError:
            log.info("the notes of %s are too slow", self._what)
        except NotesError as error:
            log.info("the notes of %s can't be had: %s", self._what, error)
        self._rests_until = loop.time() + REST
        return None
