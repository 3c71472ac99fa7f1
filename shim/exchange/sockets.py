"""Answers that are told on an account's socket, read as streams (protocol.md 5.7).

    Sockets ── one for an account ──> SharedSocket ──frames──> SocketResponse ──bytes──> the answer's machine
                                          └── a break: a new address, and each topic from where it was left

Rules: an account has one connection, while somebody listens, however many of its answers are told there; each answer
takes from a frame what is its own. Nobody waits for a slow reader: what waits for it is bounded, and beyond that it
leaves the topic, and comes back to where it was. A topic that brings nothing new on three connections in a row is no
way any more.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from shim.background import Background
from shim.errors import GatewayError, UpstreamError
from shim.exchange.calls import Calls, Route
from shim.protocol.answer.follow_up import SILENCE, Socket
from shim.protocol.answer.topic import TopicReader, connecting, told_in, unsubscribing
from shim.protocol.commands import Handshake, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream
from shim.single_flight import SingleFlight
from shim.transport.base import ConnectionKey
from shim.transport.websocket import FrameSocket

_FRUITLESS = 3  # connections in a row without a new item
_MOST_WAITING = 1024 * 1024  # bytes of one answer that its reader has not taken


class OpenSocket(Protocol):
    """Connects to an address with these headers, the way of a route. Raises UpstreamError."""

    async def __call__(self, url: str, headers: dict[str, str], connection: ConnectionKey) -> FrameSocket:
        """An open socket."""
        ...


Connect = Callable[[], Awaitable[FrameSocket]]


class _Address(msgspec.Struct):
    websocket_url: str


class SharedSocket:
    """One account's connection. It is open while somebody listens; `unused` is called when nobody does any more."""

    def __init__(self, unused: Callable[[], object]) -> None:
        self._unused = unused
        self._listening: dict[SocketResponse, bool] = {}  # and whether it is subscribed on the connection of now
        self._connecting: SingleFlight[None, FrameSocket] = SingleFlight(ends_unawaited=True)
        self._wire: FrameSocket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._closing = Background("a socket of upstream's")

    async def join(self, listener: "SocketResponse", connect: Connect) -> None:
        """Subscribe to a listener's topic from where it was left, over the connection there is, or over a new one.
        Raises GatewayError; it is to `leave` all the same."""
        self._listening[listener] = False
        wire = self._wire or await self._connecting.run(None, lambda: self._connected(connect))
        # While it was being connected the connection may have broken again, or this listener's client have left.
        if wire is not self._wire or listener not in self._listening:
            raise UpstreamError("The account's socket was closed", code="upstream_socket")
        self._listening[listener] = True
        await wire.send(listener.reader.subscribing(next(self._ids)))

    def hears(self, listener: "SocketResponse") -> bool:
        """Whether it is subscribed; else it has to `join` again."""
        return self._listening.get(listener, False)

    def pause(self, listener: "SocketResponse") -> None:
        """Tell a listener no more until it joins again."""
        self._listening[listener] = False
        self._unsubscribe(listener.reader.topic)

    def leave(self, listener: "SocketResponse") -> None:
        """Nobody reads this listener any more. With the last one the connection is closed."""
        if self._listening.pop(listener, None) is None:
            return
        self._unsubscribe(listener.reader.topic, closes=not self._listening)
        if not self._listening:
            self._unused()

    async def _connected(self, connect: Connect) -> FrameSocket:
        wire = await connect()
        try:
            await wire.send(connecting(next(self._ids)))
        except BaseException:  # cancelled, too: nobody else knows of the connection yet
            await wire.close()
            raise
        if not self._listening:
            await wire.close()
            raise UpstreamError("Nobody listens to the account's socket any more", code="upstream_socket")
        self._wire = wire
        self._reading = asyncio.create_task(self._read(wire))
        return wire

    async def _read(self, wire: FrameSocket) -> None:
        """Tell all who listen, until the connection breaks or gives no sign of life."""
        try:
            with suppress(UpstreamError):
                while (frame := await wire.receive(SILENCE)) is not None and self._wire is wire:
                    told = told_in(frame)
                    for listener, subscribed in tuple(self._listening.items()):
                        if subscribed:
                            listener.hear(told)
        finally:
            if self._wire is wire:
                self._wire = None
                for listener in self._listening:
                    self._listening[listener] = False
                    listener.wake()
            await wire.close()

    def _unsubscribe(self, topic: str, *, closes: bool = False) -> None:
        wire, reading = self._wire, self._reading
        if wire is None:
            return
        if closes:
            self._wire = None  # who comes now gets a connection of their own
        # Answers of one account share the connection, and may share a topic.
        others = any(subscribed and one.reader.topic == topic for one, subscribed in self._listening.items())

        async def tell() -> None:
            if not others:
                with suppress(GatewayError):
                    await wire.send(unsubscribing(next(self._ids), topic))
            if closes and reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
                await wire.close()

        self._closing.spawn(tell())


class SocketResponse:
    """A turn's topic as a `Response`: what its items say, as one stream over however many connections."""

    status = 200

    def __init__(self, follow: Socket, shared: SharedSocket, connect: Connect) -> None:
        self.headers = {"content-type": "text/event-stream"}
        self.reader = TopicReader(follow)
        self._shared, self._connect = shared, connect
        self._closed = False
        self._said: deque[bytes] = deque()
        self._waiting = 0  # bytes in it
        self._news = asyncio.Event()
        self._chunks = self._read()

    async def open(self) -> None:
        """Subscribe. Raises GatewayError where the account has no socket, or it can't be connected."""
        try:
            await self._shared.join(self, self._connect)
        except BaseException:  # cancelled, too: it listens already, and would be told for ever
            self.close()
            raise

    def hear(self, told: list[Any]) -> None:
        """Take from a frame what is this answer's."""
        if chunk := self.reader.hear(told):
            self._said.append(chunk)
            self._waiting += len(chunk)
            if self._waiting > _MOST_WAITING and not self.reader.ended:
                self._shared.pause(self)
        if chunk or self.reader.lost:
            self.wake()

    def wake(self) -> None:
        """There is something new: more of the answer, or that the connection has broken."""
        self._news.set()

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        return await anext(self._chunks, b"")

    def close(self) -> None:
        """See `Response.close`."""
        self._closed = True
        self._shared.leave(self)

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        self.close()
        then()

    async def _read(self) -> AsyncIterator[bytes]:
        reader, before, fruitless = self.reader, 0, 0
        while True:
            while self._said:
                chunk = b"".join(self._said)
                self._said.clear()
                self._waiting = 0
                yield chunk
            if reader.ended or self._closed:
                self.close()
                return
            if reader.lost:
                raise UpstreamError("Upstream does not keep this answer's topic", code="upstream_socket")
            if self._shared.hears(self):
                self._news.clear()
                await self._news.wait()
                continue
            fruitless = 0 if reader.items > before else fruitless + 1
            before = reader.items
            if fruitless >= _FRUITLESS:
                raise UpstreamError("The account's socket tells nothing of this answer", code="upstream_socket")
            with suppress(UpstreamError):  # it counts as one that told nothing
                await self._shared.join(self, self._connect)


class Sockets:
    """One worker's sockets."""

    def __init__(self, calls: Calls, open_socket: OpenSocket) -> None:
        self._calls, self._open_socket = calls, open_socket
        self._shared: dict[ConnectionKey, SharedSocket] = {}

    async def open(self, follow: Socket, route: Route) -> SocketResponse:
        """The topic, as a stream, over a socket that is connected by then. Raises GatewayError where the account has no
        socket, or it can't be connected."""
        key = route.connection
        if key not in self._shared:
            self._shared[key] = SharedSocket(partial(self._shared.pop, key, None))
        response = SocketResponse(follow, self._shared[key], lambda: self._connected(route))
        await response.open()
        return response

    async def _connected(self, route: Route) -> FrameSocket:
        url = await self._calls.driver.run(_address(route.upstream), route.connection)
        headers = {"origin": route.upstream.base_url, "user-agent": route.upstream.profile.user_agent}
        return await self._open_socket(url, headers, route.connection)


def _address(upstream: Upstream) -> Handshake[str]:
    """Where the socket is: a secret, asked for anew for each connection. Raises GatewayError."""
    if not upstream.identity.access_token:
        raise UpstreamError("Without an account there is no socket", code="upstream_socket")
    reply = yield from ask(upstream.get("celsius/ws/user"))
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    try:
        url = _decoder.decode(reply.body).websocket_url
        scheme = urlsplit(url).scheme
    except (ValueError, RecursionError) as error:
        raise UpstreamError("Upstream named no socket", code="upstream_socket") from error
    secure = urlsplit(upstream.base_url).scheme == "https"
    if scheme not in ({"wss"} if secure else {"ws", "wss"}):
        raise UpstreamError("Upstream named a socket at an address that is not secure", code="upstream_socket")
    return url


_decoder = msgspec.json.Decoder(_Address)
