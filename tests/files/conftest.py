"""What the file tests share: a listener that counts who connects, a resolver that says what it is told, and pictures.

Rule: loopback only. A listener's port is never connected to unless the test opened it by ALLOW_PRIVATE_URLS.
"""

import asyncio
import socket
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Answers every GET by its script, and counts the connections."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self.heads: list[bytes] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [head.split(b" ")[1].decode() for head in self.heads]


def _socket(host: str) -> socket.socket:
    """On one port of `host`; of every address, IPv6 too where there is any, for ""."""
    if host or not socket.has_dualstack_ipv6():
        return socket.create_server((host, 0))
    return socket.create_server((host, 0), family=socket.AF_INET6, dualstack_ipv6=True)


@asynccontextmanager
async def _listen(
    script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listener]:
    listener = Listener()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            listener.heads.append(head)
            listener.asked.set()
            await script(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            listener.left.set()
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(handle, sock=_socket(host), ssl=tls)
    listener.port = server.sockets[0].getsockname()[1]
    try:
        yield listener
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def listen():
    """`async with listen(script) as listener`: plays `script(head, writer)` for every connection."""
    return _listen


@pytest.fixture
def answering():
    """`answering(body, "header: value", status="200 OK")`: a script that says so and hangs up."""

    def make(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> Script:
        lines = [f"HTTP/1.1 {status}", *headers, *([f"content-length: {len(body)}"] if length else []), "", ""]

        async def script(_head: bytes, writer: asyncio.StreamWriter) -> None:
            writer.write("\r\n".join(lines).encode() + body)
            await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            await asyncio.sleep(0.05)

        return script

    return make


class Names:
    """A resolver: each name has a list of answers, given one after the other, the last one again and again."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): list(given) for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self._answers.get(host)
        if not answers:
            raise OSError("no such name")
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def names():
    """`names(public_test=[["93.184.216.34"], ["127.0.0.1"]])`: what `public.test` resolves to, first and then."""
    return Names


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int = 3, height: int = 2) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(width) for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


@pytest.fixture
def png():
    """`png(width, height)`: a whole picture."""
    return _png
