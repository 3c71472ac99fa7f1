"""`chat2api replay`: cassettes served as an upstream over HTTP.

    any call              its recording, paced as recorded, at once, or one byte at a time
    GET  /replay/status   {"played", "left": [...], "misses": [...]}
    POST /replay/rewind   from the beginning

Rule: a call that nothing answers gets 599 and `{"detail": <the nearest recording and what differs>}`: a status no
upstream sends, so that a client can't take a hole in the recording for something upstream said (a 404 would be one).
"""

import asyncio
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, cast

import msgspec
from litestar import Litestar, asgi, get, post
from litestar.types import HTTPScope, Receive, Scope
from litestar.types import Send as SendEvent

from shim.cassettes.format import Cassette, Interaction, RecordedResponse
from shim.cassettes.matching import Miss, Player, may_be_missing
from shim.server.granian import serve_app

Pace = Literal["recorded", "fast", "bytes"]
# No status of any standard, so that nobody takes it for upstream's: a miss has to be seen.
MISS = 599
# Twice what a gateway takes by default (MAX_REQUEST_BYTES): whatever one sends on must not be refused here.
_MAX_REQUEST_BYTES = 64 * 1024 * 1024


class BrokenOffError(ConnectionError):
    """The recorded connection was cut here, so this one is."""


def create_replay(player: Player, pace: Pace = "recorded") -> Litestar:
    """The application that answers each call with its recording."""

    @get("/replay/status")
    async def status() -> dict[str, Any]:
        return report(player)

    @post("/replay/rewind", status_code=200)
    async def rewind() -> dict[str, Any]:
        player.rewind()
        return report(player)

    @asgi("/", is_mount=True, copy_scope=True)
    async def replay(scope: Scope, receive: Receive, send: SendEvent) -> None:
        call = cast("HTTPScope", scope)
        body = b""
        more = True
        while more and len(body) <= _MAX_REQUEST_BYTES:
            event = await receive()
            body += event.get("body", b"")  # type: ignore[operator]
            more = bool(event.get("more_body", False))
        query = call["query_string"].decode("latin-1")
        raw = call.get("raw_path") or call["path"].encode()
        url = raw.decode("latin-1").partition("?")[0] + (f"?{query}" if query else "")
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in call["headers"]]
        match player.play(call["method"], url, headers, body):
            case Miss() as miss:
                missing = 404 if may_be_missing(url) else MISS
                await _start(send, missing, {"content-type": "application/json"})
                await send(_piece(msgspec.json.encode({"detail": str(miss)}), last=True))
            case Interaction(response=response):
                await _play(response, pace, receive, send)

    return Litestar(
        [status, rewind, replay], openapi_config=None, logging_config=None, request_max_body_size=_MAX_REQUEST_BYTES
    )


def report(player: Player) -> dict[str, Any]:
    """How many were played, the titles of those left, and the misses."""
    return {
        "played": player.played,
        "left": [one.title for one in player.left],
        "misses": [str(miss) for miss in player.misses],
    }


async def run(cassettes: Iterable[Cassette], *, port: int, pace: Pace, listening: Callable[[str], None]) -> Player:
    """Serve on loopback until SIGTERM or SIGINT; `listening` gets the address. Raises OSError if the port is taken."""
    player = Player(cassettes)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serve_app(create_replay(player, pace), port) as claimed:
        listening(f"http://127.0.0.1:{claimed}")
        await stopped.wait()
    return player


async def _play(response: RecordedResponse, pace: Pace, receive: Receive, send: SendEvent) -> None:
    gone = asyncio.create_task(_gone(receive))
    try:
        await _start(send, response.status, response.headers)
        for wait, content in _pieces(response, pace):
            await asyncio.wait({gone}, timeout=wait)
            if gone.done():
                return
            await send(_piece(content))
        if response.cut:
            raise BrokenOffError
        await send(_piece(b"", last=True))
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _pieces(response: RecordedResponse, pace: Pace) -> Iterator[tuple[float, bytes]]:
    """(seconds to wait, bytes to send)."""
    at = 0.0
    for chunk in response.chunks:
        if pace == "bytes":
            yield from ((0.0, bytes((byte,))) for byte in chunk.content())
        else:
            yield (max(0.0, chunk.at - at) if pace == "recorded" else 0.0), chunk.content()
        at = chunk.at


async def _start(send: SendEvent, status: int, headers: dict[str, str]) -> None:
    lines = [
        (name.encode("latin-1", "replace"), line.encode("latin-1", "replace"))
        for name, value in headers.items()
        if name != "transfer-encoding"
        for line in value.split("\n")
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})


def _piece(content: bytes, *, last: bool = False) -> Any:
    return {"type": "http.response.body", "body": content, "more_body": not last}
