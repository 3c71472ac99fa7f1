"""A raw loopback upstream: each test writes the bytes of the answer itself and sees when the connection goes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

Script = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One accepted connection, seen from upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.head = b""
        self.body = b""

    async def read_request(self) -> None:
        self.head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in self.head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        self.body = await self.reader.readexactly(int(lengths[0])) if lengths else b""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_head(self, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", "content-type: text/event-stream", "transfer-encoding: chunked", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode())

    async def send_chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def send_end(self) -> None:
        await self.send(b"0\r\n\r\n")


class RawUpstream:
    """Counts what happened to it. `gone` is set when a peer closes before the script ended."""

    def __init__(self) -> None:
        self.base_url = ""
        self.connections = 0
        self.requests: list[Connection] = []
        self.gone = asyncio.Event()
        self.gone_at = 0.0

    def note_gone(self) -> None:
        self.gone_at = time.monotonic()
        self.gone.set()


@asynccontextmanager
async def _serve(script: Script) -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while not reader.at_eof():
                connection = Connection(reader, writer)
                await connection.read_request()
                upstream.requests.append(connection)
                await _run(script, connection, upstream)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            tasks.discard(task)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    upstream.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(script: Script, connection: Connection, upstream: RawUpstream) -> None:
    """The script, ended early when the peer hangs up."""
    playing = asyncio.ensure_future(script(connection))
    watching = asyncio.ensure_future(connection.reader.read(1))
    try:
        await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            upstream.note_gone()
            raise ConnectionResetError
        await playing
        connection.reader._buffer.extend(watching.result() if watching.done() else b"")  # type: ignore[attr-defined]
    finally:
        for task in (playing, watching):
            task.cancel()
        await asyncio.gather(playing, watching, return_exceptions=True)


@pytest.fixture
def raw_upstream() -> Callable[[Script], "asyncio.AbstractAsyncContextManager[RawUpstream]"]:  # type: ignore[name-defined]
    """`async with raw_upstream(script) as upstream`: plays `script` for every request."""
    return _serve
