"""Small real recordings of silence, in the formats read-aloud answers with (protocol.md 7.8).

Rule: complete files any player opens; as many frames as the text has words, within a bound.
"""

import struct
from collections.abc import Callable, Iterator

import msgspec

MAX_FRAMES = 500

# One frame of silence each. AAC: raw data block of one silent channel, 44.1 kHz. MP3: MPEG-1 layer III, 128 kbit/s,
# 44.1 kHz, all side information zero. Opus: 20 ms, stereo (RFC 6716 3.1, configuration 31).
AAC_SILENCE = bytes.fromhex("00c800802380")
MP3_SILENCE = bytes.fromhex("fffb9064") + bytes(413)
OPUS_SILENCE = bytes.fromhex("fcfffe")
OPUS_SAMPLES = 960
OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 0, 48000, 0, 0)
OPUS_TAGS = b"OpusTags" + struct.pack("<I7sI", 7, b"standin", 0)
SERIAL = 1
FIRST, LAST = 2, 4  # flags of an Ogg page
MAX_PAGE_FRAMES = 255


class Recording(msgspec.Struct, frozen=True):
    """Bytes and what they are."""

    content: bytes
    mime_type: str


def recording(text: str, kind: str) -> Recording:
    """Silence for this text; kind is a key of FORMATS."""
    frames = min(MAX_FRAMES, len(text.split()) + 1)
    mime_type, made = FORMATS[kind]
    return Recording(made(frames), mime_type)


def _aac(frames: int) -> bytes:
    """ADTS frames: AAC-LC, 44.1 kHz, one channel (ISO 14496-3, 1.A.3.2)."""
    length = 7 + len(AAC_SILENCE)
    header = bytes((0xFF, 0xF1, 0x50, 0x40 | length >> 11, length >> 3 & 0xFF, (length & 7) << 5 | 0x1F, 0xFC))
    return (header + AAC_SILENCE) * frames


def _mp3(frames: int) -> bytes:
    return MP3_SILENCE * frames


def _opus(frames: int) -> bytes:
    return b"".join(_opus_pages(frames))


def _opus_pages(frames: int) -> Iterator[bytes]:
    """Ogg pages (RFC 3533): the head, the tags, then the frames (RFC 7845)."""
    yield _page(0, [OPUS_HEAD], flags=FIRST)
    yield _page(1, [OPUS_TAGS])
    for number, begin in enumerate(range(0, frames, MAX_PAGE_FRAMES), start=2):
        end = min(frames, begin + MAX_PAGE_FRAMES)
        flags = LAST if end == frames else 0
        yield _page(number, [OPUS_SILENCE] * (end - begin), flags=flags, position=end * OPUS_SAMPLES)


def _page(number: int, packets: list[bytes], *, flags: int = 0, position: int = 0) -> bytes:
    """One Ogg page of packets below 255 bytes each; the checksum is made over the page with itself as zero."""
    head = struct.pack("<4sBBqII", b"OggS", 0, flags, position, SERIAL, number)
    rest = bytes((len(packets), *map(len, packets))) + b"".join(packets)
    checksum = _ogg_crc(head + bytes(4) + rest)
    return head + struct.pack("<I", checksum) + rest


def _ogg_crc(data: bytes) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04c11db7, not reflected, no final change."""
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


FORMATS: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "aac": ("audio/aac", _aac),
    "mp3": ("audio/mpeg", _mp3),
    "opus": ("audio/ogg", _opus),
}
