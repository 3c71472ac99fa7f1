"""Answers that are told on an account's socket, read as streams (protocol.md 5.7).

    Socket ──address call──> connect, subscribe ──frames──> TopicReader ──bytes──> the answer's machine
              └── a break: a new address, and the topic from where it was left

Rules: each answer has a connection of its own, so there are never more of an account than it may have turns
(ACCOUNT_LIMIT), and a foreign frame can't get into an answer. A connection that brings nothing new three times in a row
is no way any more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from shim.errors import GatewayError, UpstreamError
from shim.exchange.calls import Calls, Route
from shim.protocol.answer.follow_up import SILENCE, Socket
from shim.protocol.answer.topic import TopicReader
from shim.protocol.commands import Handshake, HttpReply, Send
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream
from shim.transport.base import ConnectionKey
from shim.transport.websocket import FrameSocket

_FRUITLESS = 3  # connections in a row without a new item


class OpenSocket(Protocol):
    """Connects to an address with these headers, the way of a route. Raises UpstreamError."""

    async def __call__(self, url: str, headers: dict[str, str], connection: ConnectionKey) -> FrameSocket:
        """An open socket."""
        ...


class _Address(msgspec.Struct):
    websocket_url: str


class SocketResponse:
    """A turn's topic as a `Response`: what its items say, as one stream over however many connections."""

    status = 200

    def __init__(self, follow: Socket, first: FrameSocket, connect: Callable[[], Awaitable[FrameSocket]]) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self._reader = TopicReader(follow)
        self._chunks = self._read(connect)
        self._closing: asyncio.Task[None] | None = None
        self._socket: FrameSocket | None = first  # closed by `close` though nothing was ever read

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        return await anext(self._chunks, b"")

    def close(self) -> None:
        """See `Response.close`."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._let_go())

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        self.close()
        then()

    async def _let_go(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            with suppress(GatewayError):
                await socket.send(self._reader.closing())
            await socket.close()

    async def _read(self, connect: Callable[[], Awaitable[FrameSocket]]) -> AsyncIterator[bytes]:
        reader, fruitless = self._reader, 0
        while not reader.ended:
            before = reader.items
            try:
                if self._socket is None:
                    self._socket = await connect()
                await self._socket.send(reader.opening())
                async for chunk in self._frames(self._socket):
                    yield chunk
            except UpstreamError:
                if reader.items == before and fruitless + 1 >= _FRUITLESS:
                    raise
            finally:
                await self._let_go()
            if reader.lost:
                raise UpstreamError("Upstream does not keep this answer's topic", code="upstream_socket")
            fruitless = 0 if reader.items > before else fruitless + 1
            if fruitless >= _FRUITLESS and not reader.ended:
                raise UpstreamError("The account's socket tells nothing of this answer", code="upstream_socket")

    async def _frames(self, socket: FrameSocket) -> AsyncIterator[bytes]:
        while not self._reader.ended and not self._reader.lost:
            frame = await socket.receive(SILENCE)
            if frame is None:
                return  # no sign of life: it is opened again
            if chunk := self._reader.receive(frame):
                yield chunk


class Sockets:
    """One worker's sockets."""

    def __init__(self, calls: Calls, open_socket: OpenSocket) -> None:
        self._calls, self._open_socket = calls, open_socket

    async def open(self, follow: Socket, route: Route) -> SocketResponse:
        """The topic, as a stream, over a socket that is connected by then. Raises GatewayError where the account has no
        socket, or it can't be connected."""
        return SocketResponse(follow, await self._connected(route), lambda: self._connected(route))

    async def _connected(self, route: Route) -> FrameSocket:
        url = await self._calls.driver.run(_address(route.upstream), route.connection)
        headers = {"origin": route.upstream.base_url, "user-agent": route.upstream.profile.user_agent}
        return await self._open_socket(url, headers, route.connection)


def _address(upstream: Upstream) -> Handshake[str]:
    """Where the socket is: a secret, asked for anew for each connection. Raises GatewayError."""
    if not upstream.identity.access_token:
        raise UpstreamError("Without an account there is no socket", code="upstream_socket")
    reply = yield Send(upstream.get("celsius/ws/user"))
    assert isinstance(reply, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    try:
        url = _decoder.decode(reply.body).websocket_url
    except (ValueError, RecursionError) as error:
        raise UpstreamError("Upstream named no socket", code="upstream_socket") from error
    secure = urlsplit(upstream.base_url).scheme == "https"
    if urlsplit(url).scheme not in ({"wss"} if secure else {"ws", "wss"}):
        raise UpstreamError("Upstream named a socket at an address that is not secure", code="upstream_socket")
    return url


_decoder = msgspec.json.Decoder(_Address)
