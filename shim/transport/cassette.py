"""Cassettes: saved upstream traffic as readable JSON, chunk boundaries kept.

Format, version 1: `{"version": 1, "interactions": [{"request": {...}, "response": {"status", "headers", "chunks"}}]}`.
A chunk is `{"at": seconds since the head, "text": ...}`, or `"base64"` instead of `"text"` where the bytes alone are
not UTF-8 (a character split over two chunks, a picture).

Rule: a cassette holds no credential. What is written here has been scrubbed before.
"""

import base64
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

VERSION = 1


class Chunk(msgspec.Struct, frozen=True):
    """One piece of a body as it came off the network."""

    at: float
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET

    def content(self) -> bytes:
        """The bytes."""
        if isinstance(self.text, str):
            return self.text.encode()
        return base64.b64decode(self.base64) if isinstance(self.base64, str) else b""


class RecordedRequest(msgspec.Struct, frozen=True):
    """What was asked. `path` is without scheme and host."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: Any = None


class RecordedResponse(msgspec.Struct, frozen=True):
    """What was answered."""

    status: int
    headers: dict[str, str]
    chunks: list[Chunk]


class Interaction(msgspec.Struct, frozen=True):
    """One call and its answer."""

    request: RecordedRequest
    response: RecordedResponse


class Cassette(msgspec.Struct, frozen=True):
    """Interactions in the order they happened."""

    interactions: list[Interaction]
    version: int = VERSION


def chunk_of(content: bytes, at: float) -> Chunk:
    """A chunk holding `content`, as text where it is text."""
    try:
        return Chunk(at, text=content.decode())
    except UnicodeDecodeError:
        return Chunk(at, base64=base64.b64encode(content).decode())


def load_cassette(path: Path) -> Cassette:
    """Read a cassette. Raises ValueError naming the file where it is not one, or of another version."""
    try:
        cassette = _decoder.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f"{path.name} is not a cassette: {error}") from error
    if cassette.version != VERSION:
        raise ValueError(f"{path.name} is a cassette of version {cassette.version}, not {VERSION}")
    return cassette


def dump_cassette(cassette: Cassette) -> bytes:
    """The file's bytes: indented, so that a diff is readable."""
    return msgspec.json.format(msgspec.json.encode(cassette), indent=1) + b"\n"


_decoder = msgspec.json.Decoder(Cassette)
