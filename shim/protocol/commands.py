"""What the handshake asks of the world, and what it is told back (the two thin drivers perform these).

Rule: a command is data. It names no library, and everything a driver needs to perform it is in it.
"""

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Literal, TypeVar

import msgspec

from pow import Challenge

T = TypeVar("T")


class StreamedBody(msgspec.Struct, frozen=True):
    """A body that is never there as a whole. `pieces` begins it anew each time it is called, so that the call can be
    made again; each piece is held in memory, so they should be small (64 KiB). `length` is in bytes, where it is known
    before."""

    pieces: Callable[[], AsyncGenerator[bytes]]
    length: int | None = None


Body = bytes | StreamedBody


class HttpRequest(msgspec.Struct, frozen=True):
    """One upstream call. Header names are lower case; `url` is absolute. `longest` are the seconds that it may take in
    all; None: as long as any."""

    method: str
    url: str
    headers: dict[str, str]
    body: Body = b""
    longest: float | None = None


class HttpReply(msgspec.Struct, frozen=True):
    """A whole upstream answer. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Send(msgspec.Struct, frozen=True):
    """Make the call and read all of the answer. Reply: HttpReply."""

    request: HttpRequest


class SolvePow(msgspec.Struct, frozen=True):
    """Solve the challenge, off the event loop. Reply: the proof token, or None where the bound was reached."""

    challenge: Challenge
    config: list[object]


class FetchArkose(msgspec.Struct, frozen=True):
    """Ask the operator's token service. Reply: the token."""

    blob: str | None
    method: Literal["chat35", "chat4"]


class Wait(msgspec.Struct, frozen=True):
    """Let this many seconds pass. Reply: None."""

    seconds: float


Command = Send | SolvePow | FetchArkose | Wait
Reply = HttpReply | str | None
Handshake = Generator[Command, Reply, T]
"""A conversation with the world: commands out, replies in, a T in the end. Raises GatewayError."""


def ask(request: HttpRequest) -> Handshake[HttpReply]:
    """One call as a step of a handshake: its whole answer, whatever that says."""
    reply = yield Send(request)
    assert isinstance(reply, HttpReply)  # noqa: S101  what drivers promise of Send
    return reply
