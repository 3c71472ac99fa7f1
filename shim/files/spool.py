"""A file that arrives piece by piece: on disk until upstream has it, and never whole in memory.

Rule: upstream wants a file's length and type before its first byte, and a form tells neither; so it is written to
DATA_DIR first. It has no name there: nothing is left of it, however this process ends.
"""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable
from hashlib import sha256
from typing import IO, Self

from shim.errors import RequestError
from shim.files.kinds import Declared, recognise_sample
from shim.protocol.commands import StreamedBody
from shim.protocol.turn.inline_files import too_large
from shim.protocol.turn.uploads import LocalFile

# Smaller ones cost more switches of threads, larger ones more memory for each upload under way.
_PIECE = 64 * 1024
_WRITTEN_AT_ONCE = 1024 * 1024  # a thread is asked once for so much
_HEAD, _TAIL = 2 * 1024 * 1024, 256 * 1024  # of which a file's type is told; of archives the list stands at the end


class Spool:
    """One such file, while the block runs. `limit` is in bytes."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._digest = sha256()
        self.size = 0

    async def __aenter__(self) -> Self:
        self._file: IO[bytes] = await asyncio.to_thread(tempfile.TemporaryFile, "w+b", dir=self._folder)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.close()

    async def fill(self, pieces: AsyncIterable[bytes]) -> None:
        """Take the content. Raises RequestError (413) where it is too long."""
        waiting = bytearray()
        async for piece in pieces:
            waiting += piece
            self.size += len(piece)
            if self.size > self._limit:
                refused = too_large(self._limit, "file")
                raise RequestError(refused.message, param="file", code=refused.code, status=413)
            if len(waiting) >= _WRITTEN_AT_ONCE:
                await self._write(waiting)
                waiting = bytearray()
        await self._write(waiting)

    async def file(self, declared: Declared) -> LocalFile | None:
        """The file, ready to go upstream as long as the block runs; None for a picture whose size can't be read."""
        sample = await asyncio.to_thread(self._sample)
        body = StreamedBody(self._pieces, self.size)
        return await asyncio.to_thread(recognise_sample, sample, declared, body, self._digest.hexdigest())

    async def _write(self, data: bytearray) -> None:
        def write() -> None:
            self._digest.update(data)
            self._file.write(data)

        await asyncio.to_thread(write)

    async def _pieces(self) -> AsyncGenerator[bytes]:
        at = 0
        while piece := await asyncio.to_thread(os.pread, self._file.fileno(), _PIECE, at):
            at += len(piece)
            yield piece

    def _sample(self) -> bytes:
        self._file.flush()
        descriptor = self._file.fileno()
        head = os.pread(descriptor, _HEAD, 0)
        if self.size <= _HEAD:
            return head
        if head.startswith(b"PK"):
            return head + os.pread(descriptor, _TAIL, max(_HEAD, self.size - _TAIL))
        # Not in the middle of a letter: it would not be text.
        cut = next((back for back in range(1, 5) if head[-back] & 0xC0 == 0xC0), 0)
        return head[:-cut] if cut else head
