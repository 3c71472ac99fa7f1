"""The measures of the bench: what the same bytes cost where nobody looks at them.

`aiohttp`: an aiohttp server that posts on with an aiohttp client, as a gateway is mostly written. `raw`: sockets alone,
one connection upstream for each of a client's. Both keep connections, on uvloop, in one process.

Rule: they understand nothing. `python -m scripts.benchmark.passthrough aiohttp|raw PORT UPSTREAM_PORT`.
"""

import asyncio
import sys
from typing import cast

import aiohttp
import uvloop
from aiohttp import web

from scripts.benchmark.upstream import CHAT_PATH, TURN_PATH

_HOST = "127.0.0.1"


class AiohttpPassThrough:
    """Posts each body to upstream and streams the answer back."""

    def __init__(self, upstream_port: int) -> None:
        self._url = f"http://{_HOST}:{upstream_port}{TURN_PATH}"
        self._session: aiohttp.ClientSession | None = None

    async def serve(self, port: int) -> None:
        """Listen; serving goes on in the background."""
        unlimited = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=unlimited)
        app = web.Application(client_max_size=2**30)
        app.router.add_post(CHAT_PATH, self._pass)
        app.router.add_get("/healthz", self._healthy)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, _HOST, port, backlog=4096).start()

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        body = await request.read()
        async with self._session.post(self._url, data=body) as answer:
            response = web.StreamResponse(status=answer.status, headers={"content-type": answer.content_type})
            await response.prepare(request)
            async for data in answer.content.iter_any():
                await response.write(data)
            await response.write_eof()
        return response


class Relay(asyncio.Protocol):
    """One end of a pair of connections: what comes in here goes out there, with the path put right on the way up."""

    def __init__(self, upstream_port: int, *, path: bytes) -> None:
        self._upstream_port, self._path = upstream_port, path
        self._transport: asyncio.Transport | None = None
        self._other: Relay | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        if self._path:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _transport, other = await loop.create_connection(
            lambda: Relay(self._upstream_port, path=b""), _HOST, self._upstream_port
        )
        other._other, self._other = self, other
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            other.write(data)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._path:
            data = data.replace(CHAT_PATH.encode(), self._path, 1)
        if self._other is None:
            self._waiting.append(data)
        else:
            self._other.write(data)

    def write(self, data: bytes) -> None:
        """Send on this side."""
        assert self._transport is not None
        self._transport.write(data)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._other is not None and self._other._transport is not None:
            self._other._transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._other is not None and self._other._transport is not None:
            self._other._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._other is not None and self._other._transport is not None:
            self._other._transport.close()


async def serve(kind: str, port: int, upstream_port: int) -> None:
    """Serve until the process ends."""
    if kind == "aiohttp":
        await AiohttpPassThrough(upstream_port).serve(port)
    else:
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Relay(upstream_port, path=TURN_PATH.encode()), _HOST, port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
