"""The load: a process of its own that makes calls on loopback, bounded in number and time, and prints what it saw.

Rule: cheap. It finds where an answer ends and counts words; it parses nothing else, and keeps connections open unless
each call shall have one of its own.
"""

import asyncio
import sys
import time
from collections import Counter
from typing import cast

import msgspec
import uvloop

from scripts.benchmark.upstream import WORD

_WORD = WORD.encode()
# How a chunked answer ends; the line break before is that of the chunk before (RFC 9112, 7.1).
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_LENGTH = b"content-length: "
_RETRY_AFTER = b"\r\nretry-after: "
# Bytes of an answer that are remembered: more than the last chunk, and enough for an error message.
_TAIL = 64


class Order(msgspec.Struct, frozen=True):
    """`connections` at once make `rounds` calls each, one after the other. `chunks`, `block` and `every` are what
    upstream shall do.

    `token` is sent as the caller's own account. `fresh`: each call makes a connection of its own, within the seconds
    that are measured. `hold`: one round; say "ready" when every answer has begun, then keep them open until standard
    input ends. `lossy`: answers without a word are counted rather than an error.
    """

    port: int
    path: str
    connections: int = 1
    rounds: int = 1
    stream: bool = True
    chunks: int = 8
    block: int = 1
    every: float = 0.0
    fresh: bool = False
    hold: bool = False
    deadline: float = 120.0
    token: str = ""
    host: str = "127.0.0.1"
    lossy: bool = False

    @property
    def requests(self) -> int:
        """How many calls this is."""
        return self.connections * self.rounds


class Outcome(msgspec.Struct, frozen=True):
    """Words that arrived, and for each call that got one the seconds until the first of them. `seconds` is from the
    first request to the end of the last answer, `cpu` what the load itself used meanwhile. `failed`: answers without a
    word by their status, with "+retry-after" where they name one; "lost" where the connection broke."""

    words: int
    first: list[float]
    seconds: float = 0.0
    cpu: float = 0.0
    failed: dict[str, int] = {}


class AnswerError(Exception):
    """An answer was not what the bench expects; the text says what arrived instead."""


class Connection(asyncio.Protocol):
    """One keep-alive connection, one call at a time."""

    def __init__(self) -> None:
        self.words = 0
        self.begun = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._done: asyncio.Future[None] | None = None
        self._start()

    def _start(self) -> None:
        self.first: float | None = None
        self.tail = b""
        self._head: bytes | None = b""
        self._left: int | None = None
        self.status = ""

    async def call(self, request: bytes) -> float:
        """Seconds until the first word; returns when the answer has ended. Raises AnswerError."""
        assert self._transport is not None
        self._start()
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        if self.first is None:
            raise AnswerError(f"an answer without a word: {self.tail!r}")
        return self.first - began

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without inheriting from it

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._done is not None and not self._done.done():
            self._done.set_exception(AnswerError(f"the connection was lost ({exc}) after {self.tail!r}"))

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        # A word that is split by two reads is made whole by the last bytes of the read before.
        self.words += (self.tail[1 - len(_WORD) :] + data).count(_WORD)
        if self.first is None and self.words and _WORD in self.tail + data:
            self.first = time.perf_counter()
            self.begun.set()
        self.tail = (self.tail + data)[-_TAIL:]
        if self._head is not None:
            # Of `data` only what comes after the head is body, and nothing while the head is not complete.
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = None if end else head
            self.status = head[9:12].decode() + ("+retry-after" if _RETRY_AFTER in head.lower() else "")
            if end and (at := head.lower().find(_LENGTH)) >= 0:
                self._left = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        if self._left is None:
            ended = self.tail.endswith(_LAST_CHUNK)
        else:
            self._left -= len(data)
            ended = self._left == 0
        if ended and self._done is not None:
            self._done.set_result(None)


def request_bytes(order: Order) -> bytes:
    """The whole HTTP request."""
    prompt = f"chunks={order.chunks} block={order.block} every={order.every}"
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}], "stream": order.stream}
    encoded = msgspec.json.encode(body)
    head = f"POST {order.path} HTTP/1.1\r\nHost: {order.host}:{order.port}\r\nContent-Type: application/json\r\n"
    if order.token:
        head += f"Authorization: Bearer {order.token}\r\n"
    return f"{head}Content-Length: {len(encoded)}\r\n\r\n".encode() + encoded


class Caller:
    """Makes the calls of one order: over connections that are there, or each over one of its own."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._request = request_bytes(order)
        self.connections: list[Connection] = []
        self.failed: Counter[str] = Counter()

    async def connect(self) -> Connection:
        """One more connection."""
        loop = asyncio.get_running_loop()
        _transport, connection = await loop.create_connection(Connection, self._order.host, self._order.port)
        self.connections.append(connection)
        return connection

    async def call(self, connection: Connection) -> float:
        """Seconds until the first word. Raises AnswerError."""
        return await connection.call(self._request)

    async def take_turns(self, kept: Connection | None) -> list[float]:
        """The rounds, one after the other; seconds until the first word of each that got one. Without a connection
        every call makes one, and waits for it too. Raises AnswerError."""
        firsts = []
        for _ in range(self._order.rounds):
            began = time.perf_counter()
            connection = kept or await self.connect()
            connecting = time.perf_counter() - began
            try:
                firsts.append(connecting + await self.call(connection))
            except AnswerError:
                if not self._order.lossy:
                    raise
                self.failed[connection.status or "lost"] += 1
            if kept is None:
                connection.close()
        if kept is not None:
            kept.close()
        return firsts


async def run(order: Order) -> Outcome:
    """Make the calls. Raises AnswerError, and TimeoutError after `deadline` seconds."""
    caller = Caller(order)
    async with asyncio.timeout(order.deadline):
        # One after the other, or the servers' backlogs would be what is measured.
        kept = [None if order.fresh else await caller.connect() for _ in range(order.connections)]
        connections = caller.connections
        if order.hold:
            calls = [asyncio.ensure_future(caller.call(connection)) for connection in connections]
            await asyncio.gather(*(connection.begun.wait() for connection in connections))
            print("ready", flush=True)
            # In a thread: a closed pipe ends the read, and the streams must be read meanwhile.
            await asyncio.to_thread(sys.stdin.read)
            for call, connection in zip(calls, connections, strict=True):
                call.cancel()
                connection.close()
            return Outcome(sum(connection.words for connection in connections), [])
        began, cpu = time.perf_counter(), time.process_time()
        lists = await asyncio.gather(*map(caller.take_turns, kept))
    return Outcome(
        sum(connection.words for connection in connections),
        [first for some in lists for first in some],
        time.perf_counter() - began,
        time.process_time() - cpu,
        dict(caller.failed),
    )


def main() -> None:
    """The order is the only argument, as JSON; the outcome goes to standard output."""
    order = msgspec.json.decode(sys.argv[1], type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(run(order))).decode(), flush=True)


if __name__ == "__main__":
    main()
