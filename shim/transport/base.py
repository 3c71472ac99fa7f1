"""What a transport is: the types both drivers and everything above them share.

Rule: `Response.chunk` follows the core's convention (`b""` is the end), and `close` is immediate and may be called at
any time and twice.
"""

from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

import msgspec

from shim.errors import UpstreamError
from shim.protocol.commands import Body, HttpReply, HttpRequest

# The largest that is read whole is a long chat (protocol.md 7.5): some megabytes, after hours of talking.
MAX_REPLY_BYTES = 8 * 1024 * 1024


class Deadlines(msgspec.Struct, frozen=True):
    """Seconds. `first_byte` is until the head of the answer, `idle` between two reads, `total` for all of it."""

    connect: float = 10.0
    first_byte: float = 60.0
    idle: float = 120.0
    total: float = 1800.0


class ConnectionKey(msgspec.Struct, frozen=True):
    """Which connections a call may share: one long-lived session per identity and proxy."""

    identity: str
    proxy: str | None = None


class Response(Protocol):
    """An upstream answer whose body arrives piece by piece. Header names are lower case."""

    status: int
    headers: dict[str, str]

    async def chunk(self) -> bytes:
        """All bytes that have arrived since the last call, waiting for some; `b""` at the end of the body.

        Raises UpstreamError where the connection fails and DeadlineError where a deadline passes.
        """
        ...

    def close(self) -> None:
        """Give the answer up: upstream sees the connection (or stream) closed at once."""
        ...

    def release(self, then: Callable[[], None]) -> None:
        """Done with an answer that is as good as over (`[DONE]` came, the body's end has not): its end is awaited for
        a moment, unseen, so that the connection serves the next call. Then as `close`; `then` is called when upstream
        has nothing to do with this call any more."""
        ...


class Transport(Protocol):
    """One method."""

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> Response:
        """Make the call and wait for the head of the answer. Raises UpstreamError or DeadlineError."""
        ...


async def gather_body(body: Body, limit: int = MAX_REPLY_BYTES) -> bytes:
    """A body that is sent, as a whole, for what can't stream it; what is beyond `limit` bytes is left out."""
    if isinstance(body, bytes):
        return body
    gathered = bytearray()
    async with aclosing(body.pieces()) as pieces:
        async for piece in pieces:
            gathered += piece[: limit - len(gathered)]
    return bytes(gathered)


async def read_reply(response: Response, limit: int = MAX_REPLY_BYTES) -> HttpReply:
    """All of a response, at most `limit` bytes; it is closed either way. Raises UpstreamError where it is longer."""
    body = bytearray()
    try:
        while chunk := await response.chunk():
            body += chunk
            if len(body) > limit:
                raise UpstreamError("Upstream's answer is larger than this gateway reads", code="upstream_too_large")
    finally:
        # Also where it was read to its end: only then does its handle serve the next call.
        response.close()
    return HttpReply(response.status, response.headers, bytes(body))
