"""Content codings, undone piece by piece, so that a compressed body still has its chunk boundaries.

Rule: what a piece of the wire can't tell yet comes with a later one; a coding nobody here knows is no body.
"""

import importlib
import zlib
from collections.abc import Callable

_GZIP = 16 + zlib.MAX_WBITS  # zlib's way of saying so
Decode = Callable[[bytes], bytes]


class CodingError(ValueError):
    """The body is coded in a way that can't be undone here, or is broken."""


def decoder_of(coding: str) -> Decode:
    """What to feed the pieces of a body to that has this `content-encoding`; it raises CodingError for broken ones.

    Raises CodingError for an unknown one. Brotli and zstandard come with mitmproxy.
    """
    made = _MAKERS.get(coding.strip().lower())
    if made is None:
        raise CodingError(f"unknown content coding {coding!r}")
    try:
        decode = made()
    except ImportError as error:
        raise CodingError(f"content coding {coding!r} needs a library that is not installed") from error
    return lambda piece: _guarded(decode, piece)


def _guarded(decode: Decode, piece: bytes) -> bytes:
    try:
        return decode(piece)
    except Exception as error:
        raise CodingError("the body is not coded as its head says") from error


def _deflate() -> Decode:
    """Some servers leave the zlib head out."""
    state: list[Decode] = []

    def decode(piece: bytes) -> bytes:
        if not state and piece:
            bare = piece[0] & 0x0F != zlib.DEFLATED
            state.append(zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS).decompress)
        return state[0](piece) if state else b""

    return decode


def _brotli() -> Decode:
    process: Decode = importlib.import_module("brotli").Decompressor().process
    return process


def _zstandard() -> Decode:
    decompress: Decode = importlib.import_module("zstandard").ZstdDecompressor().decompressobj().decompress
    return decompress


_MAKERS: dict[str, Callable[[], Decode]] = {
    "": lambda: bytes,
    "identity": lambda: bytes,
    "gzip": lambda: zlib.decompressobj(_GZIP).decompress,
    "x-gzip": lambda: zlib.decompressobj(_GZIP).decompress,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstandard,
}
