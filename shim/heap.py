"""The C library's memory: what it keeps for itself after a peak goes back to the system.

Rule: it is asked rarely, and in a thread: it takes some milliseconds, in which nobody else gets memory of it.
"""

import asyncio
import ctypes
import gc
from contextlib import suppress

_CROWD = 64  # things open at once whose end is worth asking for
_MUCH = 8 * 1024 * 1024  # bytes let go of whose end is worth asking for
_QUIET = 5  # looks in a row at which nothing more was let go of
LARGE = 512 * 1024  # bytes of a body or answer that are worth counting; streams of small pieces are shorter
_AFTER_SECONDS = 1.0  # by then connections that are not kept have been closed, and what was read of a body is let go


_ARENA_MAX = -8  # glibc's M_ARENA_MAX


def keep_one_arena() -> None:
    """Have the C library keep one heap for all threads, before there are any. It makes one for each, up to eight for
    each core, and what lies free in one serves no other: of an idle worker's memory that was 6 MB."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Have the C library give back what it does not need. glibc can do that; others need not be asked."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


class Bulk:
    """Counts the bytes of what is let go of, and gives memory back after much of it: the C library keeps what large
    bodies had in pieces that it rarely uses again. Of 40 requests with 30 MB each 900 MB stayed."""

    def __init__(self) -> None:
        self._gone, self._watching, self._quiet = 0, False, 0

    def let_go(self, size: int) -> None:
        """So many bytes more, of large things, are let go of, or will be by the end of this turn of the loop."""
        self._gone += size
        if self._gone >= _MUCH and not self._watching:
            self._watching, self._quiet = True, 0
            self._look_later()

    def _look_later(self) -> None:
        asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._give_back)

    def _give_back(self) -> None:
        """Again and again while more is let go of, and once when that is over: what the last few had would stay for
        good, and they may be at work on it for a while, counting its tokens."""
        gone, self._gone = self._gone, 0
        self._quiet = 0 if gone else self._quiet + 1
        self._watching = self._quiet < _QUIET
        if self._watching:
            self._look_later()
            if not gone:
                return
        # What failed is part of cycles with its traceback, and holds its body until they are collected.
        gc.collect()
        asyncio.get_running_loop().run_in_executor(None, give_back)


class Crowds:
    """Counts what is open, and gives memory back when a crowd has gone. Of 1,000 streams at once 150 MB stayed. Large
    answers count, too."""

    def __init__(self) -> None:
        self._open = self._most = 0
        self._bulk = Bulk()

    def came(self) -> None:
        """One more is open."""
        self._open += 1
        self._most = max(self._most, self._open)

    def went(self, brought: int) -> None:
        """One has been closed that brought so many bytes."""
        self._open -= 1
        if brought >= LARGE:
            self._bulk.let_go(brought)
        if self._most >= _CROWD and self._open <= self._most // 8:
            self._most = self._open
            loop = asyncio.get_running_loop()
            loop.call_later(_AFTER_SECONDS, loop.run_in_executor, None, give_back)
