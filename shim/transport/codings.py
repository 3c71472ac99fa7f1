"""Content codings, undone piece by piece, with a limit on what comes out.

Rule: what is decoded is counted, not what arrives, and it is made in small blocks, so that a bomb is noticed before it
has cost any memory. A coding that is not in the table below is refused, and so is a list of several.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

DEFAULT_LIMIT = 256 * 1024 * 1024
"""Decoded bytes of one body where the caller has no limit of its own. A long answer told in snapshots comes to tens of
megabytes; one megabyte of gzip can come to a thousand."""
_BLOCK = 64 * 1024
_ZSTD_WINDOW_LOG = 23  # RFC 9659: a receiver over HTTP need not take windows above 8 MB


class CodingError(ValueError):
    """The body can't be decoded: its coding is unknown here, or it is damaged or cut off."""


class TooLargeError(CodingError):
    """The body is longer than the limit once it is decoded."""


class _Codec(Protocol):
    """One stream being decoded."""

    ended: bool
    """Whether the stream has come to its own end."""
    endless: bool
    """Whether it has none, so that the body's end is its end."""

    def step(self, data: bytes) -> tuple[bytes, bool]:
        """At most a block of output, and whether there is more of it without further input; b"" asks for that."""
        ...


class Decoder:
    """A body of one `content-encoding`, of at most `limit` bytes decoded. Raises CodingError for an unknown coding."""

    def __init__(self, coding: str, limit: int = DEFAULT_LIMIT) -> None:
        make = _CODECS.get(coding.strip().lower())
        if make is None:
            raise CodingError(f"the content encoding {coding!r} is not known here")
        self._codec = make()
        self._room = limit

    def blocks(self, piece: bytes) -> Iterator[bytes]:
        """What a piece of the wire decodes to, in blocks of about 64 KiB, each made when it is asked for.

        Raises TooLargeError beyond the limit, and CodingError where the body is damaged.
        """
        if self._codec.ended and piece:
            raise CodingError("something follows the compressed data")
        more = bool(piece)
        while more:
            try:
                block, more = self._codec.step(piece)
            except CodingError:
                raise
            except Exception as error:  # each library has its own error classes, and one of them none in common
                raise CodingError("the compressed data is damaged") from error
            self._room -= len(block)
            if self._room < 0:
                raise TooLargeError("the body is too large once it is decoded")
            if block:
                yield block
            piece = b""

    def decode(self, piece: bytes) -> bytes:
        """The same in one piece."""
        return b"".join(self.blocks(piece))

    def finish(self) -> None:
        """No more is to come. Raises CodingError where the end of the body is missing."""
        if not (self._codec.ended or self._codec.endless):
            raise CodingError("the compressed data is cut off")


def decoder_of(coding: str, limit: int = DEFAULT_LIMIT) -> Callable[[bytes], bytes]:
    """A function to be given the pieces of a body one after the other (`Decoder.decode`)."""
    return Decoder(coding, limit).decode


def decode_body(body: bytes, coding: str, limit: int) -> bytes:
    """A whole body decoded. Raises CodingError, and TooLargeError beyond `limit` bytes."""
    decoder = Decoder(coding, limit)
    if not body:
        return b""  # clients send the header with nothing behind it
    decoded = decoder.decode(body)
    decoder.finish()
    return decoded


def is_known(coding: str) -> bool:
    """Whether there is a decoder for it."""
    return coding.strip().lower() in _CODECS


class _Identity:
    ended, endless = False, True

    def step(self, data: bytes) -> tuple[bytes, bool]:
        return data, False


class _Zlib:
    """gzip by its window bits. Of deflate some servers leave the zlib header out, which its first byte shows."""

    ended = endless = False

    def __init__(self, wbits: int | None) -> None:
        self._wbits = wbits
        self._stream: Any = None

    def step(self, data: bytes) -> tuple[bytes, bool]:
        if self._stream is None:
            bare = data[0] & 0x0F != zlib.DEFLATED
            self._stream = zlib.decompressobj(self._wbits or (-zlib.MAX_WBITS if bare else zlib.MAX_WBITS))
        block = self._stream.decompress(data or self._stream.unconsumed_tail, _BLOCK)
        self.ended = self._stream.eof
        if self._stream.unused_data:
            raise CodingError("something follows the compressed data")
        # A full block may leave output inside of zlib though all input is taken.
        return block, not self.ended and (bool(self._stream.unconsumed_tail) or len(block) == _BLOCK)


class _Brotli:
    ended = endless = False

    def __init__(self) -> None:
        # Not the `brotli` package: the release that mitmproxy pins on Python 3.11 can't bound its output.
        import brotlicffi  # type: ignore[import-untyped]  # noqa: PLC0415  rarely needed

        self._stream = brotlicffi.Decompressor()

    def step(self, data: bytes) -> tuple[bytes, bool]:
        block = self._stream.decompress(data, output_buffer_limit=_BLOCK)
        self.ended = self._stream.is_finished()
        return block, not self.ended and (not self._stream.can_accept_more_data() or len(block) == _BLOCK)


class _Zstandard:
    ended = endless = False

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415  rarely needed
        else:
            from backports import zstd  # noqa: PLC0415
        self._stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    def step(self, data: bytes) -> tuple[bytes, bool]:
        block = self._stream.decompress(data, _BLOCK)
        self.ended = self._stream.eof
        if self.ended and self._stream.unused_data:
            raise CodingError("something follows the compressed data")
        return block, not self.ended and not self._stream.needs_input


_CODECS: dict[str, Callable[[], _Codec]] = {
    "": _Identity,
    "identity": _Identity,
    "gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": lambda: _Zlib(None),
    "br": _Brotli,
    "zstd": _Zstandard,
}
