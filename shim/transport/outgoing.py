"""A streamed body on its way to libcurl: a task reads the source ahead, and libcurl takes what it has room for.

    source ──task──> at most `limit` bytes (and the rest of one piece) ──libcurl's read callback──> socket

Rule: the source is asked for more only when there is room again, so that a slow upstream slows the source down; and
libcurl is paused while there is nothing, so that a slow source costs no CPU.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import aclosing

from curl_cffi.curl import CURL_READFUNC_PAUSE

from shim.protocol.commands import StreamedBody


class OutgoingBody:
    """One body being sent. `resume` makes libcurl ask again after a pause; `fail` is told what the source raised."""

    def __init__(
        self, body: StreamedBody, limit: int, resume: Callable[[], None], fail: Callable[[Exception], None]
    ) -> None:
        self._body, self._limit, self._resume, self._fail = body, limit, resume, fail
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._held: deque[memoryview] = deque()
        self._size = 0
        self._ended = self._starved = False
        self._start()

    @property
    def touched(self) -> float:
        """When upstream last took something; now, where it is the source that is waited for."""
        return self._loop.time() if self._starved else self._touched

    def close(self) -> None:
        """Stop reading the source; it is closed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    # --- from libcurl (notes only) ----------------------------------------------------------------------------------

    def take(self, most: int) -> memoryview | bytes | int:
        """The next bytes, at most so many; b"" at the end, and the word for a pause where there are none yet."""
        if not self._held:
            self._starved = not self._ended
            return b"" if self._ended else CURL_READFUNC_PAUSE
        taken, rest = self._held[0][:most], self._held[0][most:]
        if rest:
            self._held[0] = rest
        else:
            self._held.popleft()
        self._size -= len(taken)
        if self._size < self._limit:
            self._room.set()
        self._touched = self._loop.time()
        return taken

    def seek(self, offset: int, origin: int) -> None:
        """Begin anew: the kept connection that a part was sent over turned out to be dead. Named as curl_cffi calls it.
        Raises OSError for any other place."""
        if offset or origin:
            raise OSError("a streamed body can only be sent from its beginning")
        self._start()

    # --- from the source --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.close()
        self._held.clear()
        self._size = 0
        self._ended = self._starved = False
        self._touched = self._loop.time()
        self._task = self._loop.create_task(self._read())
        self._task.add_done_callback(self._on_read)

    async def _read(self) -> None:
        length, count = self._body.length, 0
        async with aclosing(self._body.pieces()) as pieces:
            async for piece in pieces:
                count += len(piece)
                if length is not None and count > length:
                    break
                while self._size >= self._limit:
                    self._room.clear()
                    await self._room.wait()
                if piece:
                    self._held.append(memoryview(piece))
                    self._size += len(piece)
                    self._go_on()
        if length is not None and count != length:
            raise ValueError(f"the body has {count} bytes or more, and {length} were announced")
        self._ended = True
        self._go_on()

    def _on_read(self, task: "asyncio.Task[None]") -> None:
        """Whatever the source raises is for whoever sends the body."""
        if task is not self._task:
            return  # closed, or begun anew
        error = RuntimeError("the source of a body was cancelled") if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._fail(error)

    def _go_on(self) -> None:
        if self._starved:
            self._starved = False
            self._resume()
