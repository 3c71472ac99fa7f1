"""Cassettes: saved traffic as readable JSON, chunk boundaries kept.

Format, version 1: `{"version": 1, "redacted": false, "interactions": [{"request": {...}, "response": {...}}]}`.
A chunk is `{"at": seconds since the head, "text": ...}`, or `"base64"` instead of `"text"` where the bytes alone are
not UTF-8 (a character split over two chunks). Fields that older files lack have defaults; readers ignore unknown ones.

Rule: a cassette holds no credential. What is written here has been scrubbed before.
"""

import base64
import os
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

VERSION = 1
Kept = Literal["all", "head", "none"]


class Chunk(msgspec.Struct, frozen=True):
    """One piece of a body as it came off the network."""

    at: float
    text: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET

    def content(self) -> bytes:
        """The bytes, whichever of the two fields they are in."""
        if isinstance(self.text, str):
            return self.text.encode()
        return base64.b64decode(self.base64) if isinstance(self.base64, str) else b""


class RecordedRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked. `path` is without scheme, host and query. `body` is parsed where it is JSON, else text.

    `kept`: how much of the body is here. "none" is a body of a kind that is not recorded (a file), or one too long.
    """

    method: str
    path: str
    headers: dict[str, str] = {}
    body: Any = None
    query: str = ""
    kept: Kept = "all"


class RecordedResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was answered. Several cookies are one header, separated by LF, as the transports give them.

    `kept`: "head" is a body cut at the recorder's limit, behind its last whole event; "none" one of a kind that is not
    recorded. `cut`: the connection broke before the body's end.
    """

    status: int
    headers: dict[str, str]
    chunks: list[Chunk]
    kept: Kept = "all"
    cut: bool = False

    def body(self) -> bytes:
        """All chunks joined."""
        return b"".join(chunk.content() for chunk in self.chunks)


class Interaction(msgspec.Struct, frozen=True):
    """One call and its answer."""

    request: RecordedRequest
    response: RecordedResponse

    @property
    def title(self) -> str:
        """`METHOD path`."""
        return f"{self.request.method} {self.request.path}"


class Cassette(msgspec.Struct, frozen=True):
    """Interactions in the order in which they ended. `redacted`: message text became text of the same shape."""

    interactions: list[Interaction]
    version: int = VERSION
    redacted: bool = False


class CassetteError(ValueError):
    """A file is not a cassette, or a folder that should have cassettes has none."""


def chunk_of(content: bytes, at: float) -> Chunk:
    """A chunk holding `content`, as text where it is text."""
    try:
        return Chunk(at, text=content.decode())
    except UnicodeDecodeError:
        return Chunk(at, base64=base64.b64encode(content).decode())


def load_cassette(path: Path) -> Cassette:
    """Read a cassette. Raises CassetteError naming the file where it is not one, or of another version."""
    try:
        cassette = _decoder.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise CassetteError(f"{path.name} is not a cassette: {error}") from error
    if cassette.version != VERSION:
        raise CassetteError(f"{path.name} is a cassette of version {cassette.version}, not {VERSION}")
    return cassette


def load_cassettes(place: Path) -> list[tuple[str, Cassette]]:
    """(name, cassette) of a file, or of every `.json` file below a folder by name. Raises CassetteError, OSError."""
    files = sorted(place.rglob("*.json")) if place.is_dir() else [place]
    if not files:
        raise CassetteError(f"there is no cassette in {place}")
    return [(file.name, load_cassette(file)) for file in files]


def dump_cassette(cassette: Cassette) -> bytes:
    """The bytes of the file, indented so that a diff is readable."""
    return msgspec.json.format(_encode(cassette), indent=1) + b"\n"


class CassetteWriter:
    """Adds to a cassette file as calls end. The file is complete after each, and nothing is held in memory."""

    def __init__(self, path: Path, *, redacted: bool = False) -> None:
        self._path = path
        # What stands around the empty list; interactions are written between the two.
        head, tail = dump_cassette(Cassette([], redacted=redacted)).split(b"[]")
        self._head, self._tail = head + b"[", b"\n ]" + tail
        self._began = False

    def add(self, interaction: Interaction) -> None:
        """Write one more. A file of this name is replaced by the first. Raises OSError."""
        lines = msgspec.json.format(_encode(interaction), indent=1).split(b"\n")
        indented = b"".join(b"\n  " + line for line in lines)
        if self._began:
            with self._path.open("r+b") as file:
                # Over the closing brackets, which are written again behind it.
                file.seek(-len(self._tail), os.SEEK_END)
                file.write(b"," + indented + self._tail)
        else:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Before anything is in it: message text is nobody else's, even where secrets are scrubbed.
            self._path.touch(mode=0o600)
            self._path.write_bytes(self._head + indented + self._tail)
            self._began = True


_decoder = msgspec.json.Decoder(Cassette)
_encode = msgspec.json.Encoder().encode
