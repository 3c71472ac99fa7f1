"""What each account has uploaded lately: the same content goes upstream once.

Rule: an upload belongs to whoever waits for it. One waiter's leaving changes nothing for the others; when the last has
left, it ends. A failure is told to all who wait, and kept for nobody.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

Upload = Callable[[], Awaitable[str]]

_KEPT_SECONDS = 3600.0  # upstream forgets files too, later than this
_MAX_FILES = 4096


class UploadKey(msgspec.Struct, frozen=True):
    """Whose upload of what: the account's (or identity's) key, the content's SHA-256, and its type."""

    account: str
    digest: str
    mime_type: str


class _Kept(msgspec.Struct, frozen=True):
    file_id: str
    expires: float


class _Flight:
    """An upload under way, and how many wait for it."""

    def __init__(self, task: "asyncio.Task[str]") -> None:
        self.task = task
        self.waiters = 0


class UploadCache:
    """File ids upstream, by what they hold. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float], *, kept: float = _KEPT_SECONDS, most: int = _MAX_FILES) -> None:
        self._clock = clock
        self._kept = kept
        self._most = most
        self._files: OrderedDict[UploadKey, _Kept] = OrderedDict()
        self._flights: dict[UploadKey, _Flight] = {}

    async def get(self, key: UploadKey, upload: Upload) -> str:
        """The file's id, from memory or by `upload`. Raises what `upload` raises."""
        known = self._files.get(key)
        if known is not None and self._clock() < known.expires:
            self._files.move_to_end(key)
            return known.file_id
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(self._fly(key, upload)))
        return await self._wait(key, flight)

    async def _wait(self, key: UploadKey, flight: _Flight) -> str:
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                self._flights.pop(key, None)  # whoever comes now starts afresh
                flight.task.cancel()

    async def _fly(self, key: UploadKey, upload: Upload) -> str:
        try:
            file_id = await upload()
        finally:
            if (flight := self._flights.get(key)) and flight.task is asyncio.current_task():
                del self._flights[key]
        self._files[key] = _Kept(file_id, self._clock() + self._kept)
        self._files.move_to_end(key)
        while len(self._files) > self._most:
            self._files.popitem(last=False)
        return file_id
