"""What each account has uploaded lately: the same content goes upstream once.

Rule: an upload belongs to whoever waits for it. One waiter's leaving changes nothing for the others; when the last has
left, it ends. A failure is told to all who wait, and kept for nobody.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable

import msgspec

from shim.single_flight import SingleFlight

Upload = Callable[[], Awaitable[str]]

# Upstream forgets files too, later than this.
_KEPT_SECONDS = 3600.0
# A few megabytes of ids and digests at most, whatever an account uploads within the hour.
_MAX_FILES = 4096


class UploadKey(msgspec.Struct, frozen=True):
    """Whose upload of what: the account's (or identity's) key, the content's SHA-256, and its type."""

    account: str
    digest: str
    mime_type: str


class _Kept(msgspec.Struct, frozen=True):
    file_id: str
    expires: float


class UploadCache:
    """File ids upstream, by what they hold. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float], *, kept: float = _KEPT_SECONDS, most: int = _MAX_FILES) -> None:
        self._clock = clock
        self._kept = kept
        self._most = most
        self._files: OrderedDict[UploadKey, _Kept] = OrderedDict()
        self._uploads: SingleFlight[UploadKey, str] = SingleFlight(ends_unawaited=True)

    async def get(self, key: UploadKey, upload: Upload) -> str:
        """The file's id, from memory or by `upload`. Raises what `upload` raises."""
        known = self._files.get(key)
        if known is not None and self._clock() < known.expires:
            self._files.move_to_end(key)
            return known.file_id

        async def upload_and_keep() -> str:
            file_id = await upload()
            self._files[key] = _Kept(file_id, self._clock() + self._kept)
            # One that had expired is still in its old place, and would be among the next to go.
            self._files.move_to_end(key)
            while len(self._files) > self._most:
                self._files.popitem(last=False)
            return file_id

        return await self._uploads.run(key, upload_and_keep)
