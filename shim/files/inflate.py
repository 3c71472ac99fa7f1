"""Decoded bodies that can't outgrow a limit, whatever they expand to.

Rule: what is decoded is counted, not what arrives; nothing past the limit is ever made.
"""

import zlib
from typing import Protocol

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class TooMuchError(Exception):
    """The body is longer than the limit."""


class Body(Protocol):
    """A body being read."""

    def add(self, data: bytes) -> None:
        """More of it, as it came. Raises TooMuchError, or ValueError where it is damaged."""
        ...

    def end(self) -> bytes:
        """All of it, decoded. Raises ValueError where its end is missing."""
        ...


class PlainBody:
    """Bytes as they are."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """See `Body.add`."""
        if len(self._bytes) + len(data) > self._limit:
            raise TooMuchError
        self._bytes += data

    def end(self) -> bytes:
        """See `Body.end`."""
        return bytes(self._bytes)


class DeflatedBody:
    """gzip, or deflate with its header."""

    def __init__(self, limit: int) -> None:
        self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._decoded = PlainBody(limit)
        self._room = limit

    def add(self, data: bytes) -> None:
        """See `Body.add`. One byte more than there is room for is asked for: if it comes, it is too much."""
        try:
            decoded = self._decoder.decompress(data, self._room + 1)
        except (zlib.error, EOFError) as error:
            raise ValueError("the compressed data is damaged") from error
        if self._decoder.unused_data:
            raise ValueError("something follows the compressed data")
        self._decoded.add(decoded)
        self._room -= len(decoded)

    def end(self) -> bytes:
        """See `Body.end`."""
        if not self._decoder.eof:
            raise ValueError("the compressed data is cut off")
        return self._decoded.end()


_BODIES: dict[str, type[PlainBody] | type[DeflatedBody]] = {
    "": PlainBody,
    "identity": PlainBody,
    "gzip": DeflatedBody,
    "x-gzip": DeflatedBody,
    "deflate": DeflatedBody,
}


def body_for(encoding: str, limit: int) -> Body:
    """What reads a body of this `content-encoding`, of at most `limit` bytes decoded. Raises ValueError for an encoding
    that is not read: none was asked for."""
    kind = _BODIES.get(encoding.strip().lower())
    if kind is None:
        raise ValueError("its content encoding is not known here")
    return kind(limit)
