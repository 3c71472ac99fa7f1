"""Small real pictures, made of nothing but zlib.

Rule: what comes out is a complete PNG any reader opens; width and height are those asked for.
"""

import struct
import zlib
from collections.abc import Iterable
from random import Random

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EIGHT_BIT_RGB = (8, 2, 0, 0, 0)

Colour = tuple[int, int, int]
DUSK: Colour = (58, 64, 120)
GLOW: Colour = (250, 170, 110)
SUN: Colour = (255, 236, 170)
FAR: Colour = (128, 104, 140)
NEAR: Colour = (38, 40, 66)
LAKE: Colour = (122, 98, 122)
NIGHT: Colour = (30, 34, 60)


def picture(width: int, height: int, rng: Random) -> bytes:
    """A PNG of one colour fading towards the bottom; the chance decides the colour."""
    colour = [rng.randrange(64, 256) for _ in range(3)]
    return _png(
        width, height, (_row(width, [shade * (height - y // 2) // height for shade in colour]) for y in range(height))
    )


def landscape(width: int, height: int, rng: Random) -> bytes:
    """A PNG of mountains before an evening sky, and the sun; the chance decides where they stand."""
    horizon = height * 3 // 4
    sun_x, sun_y, radius = rng.randrange(width // 4, width * 3 // 4), height * 2 // 5, height // 9
    peaks = sorted((rng.randrange(height // 4, horizon - height // 8), rng.randrange(width)) for _ in range(5))

    def row(y: int) -> bytes:
        if y >= horizon:
            return _row(width, _between(LAKE, NIGHT, y - horizon, height - horizon))
        line = bytearray(bytes(_between(DUSK, GLOW, y, horizon)) * width)
        if abs(y - sun_y) < radius:
            half = int((radius**2 - (y - sun_y) ** 2) ** 0.5)
            _fill(line, sun_x - half, sun_x + half, SUN)
        for depth, (top, x) in enumerate(peaks):  # the highest is the farthest
            if y >= top:
                _fill(line, x - (y - top) * 3 // 2, x + (y - top) * 3 // 2, _between(FAR, NEAR, depth, len(peaks)))
        return b"\0" + bytes(line)

    return _png(width, height, map(row, range(height)))


def _between(first: Colour, last: Colour, step: int, steps: int) -> list[int]:
    return [start + (end - start) * step // steps for start, end in zip(first, last, strict=True)]


def _fill(line: bytearray, start: int, end: int, colour: Iterable[int]) -> None:
    """Colour the pixels from `start` to before `end`, as far as the line has them."""
    start, end = max(start, 0), min(end, len(line) // 3)
    if start < end:
        line[start * 3 : end * 3] = bytes(colour) * (end - start)


def _png(width: int, height: int, rows: Iterable[bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, *EIGHT_BIT_RGB)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _row(width: int, colour: list[int]) -> bytes:
    """One line of pixels behind its filter byte (0 = none)."""
    return b"\0" + bytes(colour) * width


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
