"""Small real pictures, made of nothing but zlib.

Rule: what comes out is a complete PNG any reader opens; width and height are those asked for.
"""

import struct
import zlib
from random import Random

SIGNATURE = b"\x89PNG\r\n\x1a\n"
EIGHT_BIT_RGB = (8, 2, 0, 0, 0)


def picture(width: int, height: int, rng: Random) -> bytes:
    """A PNG of one colour fading towards the bottom; the chance decides the colour."""
    colour = [rng.randrange(64, 256) for _ in range(3)]
    rows = (_row(width, [shade * (height - y // 2) // height for shade in colour]) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, *EIGHT_BIT_RGB)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(*chunk) for chunk in chunks)


def _row(width: int, colour: list[int]) -> bytes:
    """One line of pixels behind its filter byte (0 = none)."""
    return b"\0" + bytes(colour) * width


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
