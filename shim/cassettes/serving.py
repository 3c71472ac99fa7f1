"""`chat2api replay`: cassettes served as an upstream over HTTP.

    any call              its recording, paced as recorded, at once, or one byte at a time
    GET  /replay/status   {"played", "left": [...], "misses": [...]}
    POST /replay/rewind   from the beginning

Rule: a call that nothing answers gets 599 and `{"detail": <the nearest recording and what differs>}`: a status no
upstream sends, so that a client can't take a hole in the recording for something upstream said (a 404 would be one).
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal, cast

import msgspec
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, asgi, get, post
from litestar.types import HTTPScope, Receive, Scope
from litestar.types import Send as SendEvent

from shim.cassettes.format import Cassette, Interaction, RecordedResponse
from shim.cassettes.matching import Miss, Player

Pace = Literal["recorded", "fast", "bytes"]
MISS = 599
_MAX_REQUEST_BYTES = 64 * 1024 * 1024
_START_SECONDS = 10.0
_STOP_SECONDS = 2.0


class BrokenOffError(ConnectionError):
    """The recorded connection was cut here, so this one is."""


def create_replay(player: Player, pace: Pace = "recorded") -> Litestar:
    """The application."""

    @get("/replay/status")
    async def status() -> dict[str, Any]:
        return report(player)

    @post("/replay/rewind", status_code=200)
    async def rewind() -> dict[str, Any]:
        player.rewind()
        return report(player)

    @asgi("/", is_mount=True, copy_scope=True)
    async def replay(scope: Scope, receive: Receive, send: SendEvent) -> None:
        await _answer(player, pace, cast("HTTPScope", scope), receive, send)

    return Litestar(
        [status, rewind, replay], openapi_config=None, logging_config=None, request_max_body_size=_MAX_REQUEST_BYTES
    )


def report(player: Player) -> dict[str, Any]:
    """What was played, what is left, what was missed."""
    return {
        "played": player.played,
        "left": [one.title for one in player.left],
        "misses": [str(miss) for miss in player.misses],
    }


async def run(cassettes: Iterable[Cassette], *, port: int, pace: Pace, told: Callable[[str], None]) -> Player:
    """Serve on loopback until SIGTERM or SIGINT; `told` gets the address. Raises OSError where the port is taken."""
    player = Player(cassettes)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _serving(create_replay(player, pace), port) as claimed:
        told(f"http://127.0.0.1:{claimed}")
        await stopped.wait()
    return player


async def _answer(player: Player, pace: Pace, scope: HTTPScope, receive: Receive, send: SendEvent) -> None:
    body = b""
    more = True
    while more and len(body) <= _MAX_REQUEST_BYTES:
        event = await receive()
        body += event.get("body", b"")  # type: ignore[operator]
        more = bool(event.get("more_body", False))
    query = scope["query_string"].decode("latin-1")
    raw = scope.get("raw_path") or scope["path"].encode()
    url = raw.decode("latin-1").partition("?")[0] + (f"?{query}" if query else "")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    match player.play(scope["method"], url, headers, body):
        case Miss() as miss:
            await _start(send, MISS, {"content-type": "application/json"})
            await send(_piece(msgspec.json.encode({"detail": str(miss)}), last=True))
        case Interaction(response=response):
            await _play(response, pace, receive, send)


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


@asynccontextmanager
async def _serving(app: Litestar, port: int) -> AsyncIterator[int]:
    """Serve in the running loop. Granian tells no port and shares a taken one, so it is claimed before."""
    with socket.socket() as probe, socket.socket() as claim:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
        probe.close()
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        claim.bind(("127.0.0.1", port))
        server = Server(
            app,
            address="127.0.0.1",
            port=port,
            interface=Interfaces.ASGI,
            websockets=False,
            log_enabled=False,
            backlog=1024,
            backpressure=1024,
        )
        serving = asyncio.create_task(server.serve())
        try:
            await _accepting(port, serving)
            yield port
        finally:
            server.stop()  # type: ignore[no-untyped-call]
            _, pending = await asyncio.wait({serving}, timeout=_STOP_SECONDS)
            for task in pending:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await serving


async def _accepting(port: int, serving: "asyncio.Task[None]") -> None:
    async with asyncio.timeout(_START_SECONDS):
        while not serving.done():
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.005)
    await serving
