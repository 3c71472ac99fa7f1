"""Bodies that are streamed to upstream: what arrives, the bound on what is held, and every way they end."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from shim.cassettes.format import Cassette, Interaction, RecordedRequest, RecordedResponse
from shim.cassettes.transport import ReplayTransport
from shim.errors import DeadlineError, UpstreamError
from shim.protocol.commands import HttpRequest, StreamedBody
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport

CONNECTION = ConnectionKey("someone")
ROOT = Path(__file__).parents[2]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Source:
    """Pieces that are made when they are asked for; knows how often it was begun and whether it was closed."""

    def __init__(self, *pieces, pause=0.0, length=None, error=None):
        self.given, self._pause, self._error = list(pieces), pause, error
        self.begun = self.closed = self.made = 0
        self.body = StreamedBody(self._pieces, length)

    async def _pieces(self):
        self.begun += 1
        try:
            for piece in self.given:
                if self._pause:
                    await asyncio.sleep(self._pause)
                self.made += len(piece)
                yield piece
            if self._error:
                raise self._error
        finally:
            self.closed += 1


def put(url, body):
    return HttpRequest("PUT", url, {"content-type": "application/octet-stream"}, body)


@pytest.fixture
async def transport():
    made = CurlTransport(Deadlines())
    yield made
    await made.close()


@pytest.fixture
def listen():
    """`async with listen(handle) as url`: a server whose every connection is given to `handle(reader, writer)`."""
    return _Listener


class _Listener:
    def __init__(self, handle):
        self._handle = handle
        self._tasks = set()

    async def __aenter__(self):
        async def handle(reader, writer):
            self._tasks.add(asyncio.current_task())
            try:
                await self._handle(reader, writer)
            except ConnectionError:
                pass
            finally:
                writer.close()
                with suppress(ConnectionError, asyncio.CancelledError):
                    await writer.wait_closed()

        self._server = await asyncio.start_server(handle, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aexit__(self, *_):
        await asyncio.sleep(0.01)  # a connection that was given up as it was made is accepted all the same
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def read_chunked(reader):
    body = bytearray()
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return bytes(body)


# --- what arrives -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [(), (b"",), (b"one",), (b"a", b"", b"b" * 200_000, b"c"), (b"x" * 1_000_000,)])
async def test_a_body_of_known_length_arrives_whole(raw_upstream, transport, pieces):
    async def script(connection):
        await connection.send(OK)

    source = Source(*pieces, length=len(b"".join(pieces)))
    async with raw_upstream(script) as upstream:
        reply = await read_reply(await transport.send(put(upstream.base_url, source.body), CONNECTION))
        (seen,) = upstream.requests
    assert reply.body == b"ok"
    assert seen.body == b"".join(pieces)
    assert seen.head.startswith(b"PUT / HTTP/1.1\r\n")
    assert b"expect" not in seen.head.lower()
    assert b"content-length: %d\r\n" % len(seen.body) in seen.head.lower()
    assert source.closed == source.begun == 1


async def test_a_body_of_unknown_length_is_sent_in_chunks(listen, transport):
    seen = []

    async def handle(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        seen.append(await read_chunked(reader))
        writer.write(OK)
        await writer.drain()

    source = Source(*[b"%d," % number for number in range(50)], pause=0.001)
    async with listen(handle) as url:
        await read_reply(await transport.send(put(url, source.body), CONNECTION))
    assert b"transfer-encoding: chunked" in seen[0].lower()
    assert seen[1] == b"".join(source.given)


async def test_a_piece_goes_out_before_the_next_one_is_made(listen, transport):
    heard = asyncio.Event()

    async def pieces():
        yield b"one"
        await heard.wait()
        yield b"two"

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(3) == b"one"
        heard.set()
        assert await reader.readexactly(3) == b"two"
        writer.write(OK)
        await writer.drain()

    async with listen(handle) as url:
        request = put(url, StreamedBody(pieces, 6))
        assert (await read_reply(await transport.send(request, CONNECTION))).body == b"ok"


async def test_calls_of_every_kind_share_a_connection_and_its_handles(raw_upstream, transport):
    """Whatever an upload sets on an easy handle is gone for the next call."""

    async def script(connection):
        await connection.send(OK)

    async with raw_upstream(script) as upstream:
        for _ in range(3):
            for request in (
                put(upstream.base_url, Source(b"streamed", length=8).body),
                HttpRequest("POST", upstream.base_url, {}, b"plain"),
                HttpRequest("GET", upstream.base_url, {}),
            ):
                await read_reply(await transport.send(request, CONNECTION))
        assert [one.body for one in upstream.requests] == [b"streamed", b"plain", b""] * 3
        assert upstream.connections == 1


async def test_a_kept_connection_that_died_gets_the_body_from_its_beginning(listen, transport):
    """The second request finds the connection closed after a part was written; libcurl asks for the body again."""
    bodies = []

    async def handle(reader, writer):
        first = not bodies
        await reader.readuntil(b"\r\n\r\n")
        bodies.append(await reader.readexactly(8))
        writer.write(OK)
        await writer.drain()
        if first:  # keep the connection, then drop it as soon as the next request begins
            await reader.readexactly(1)
            writer.transport.abort()

    async with listen(handle) as url:
        for _ in range(2):
            source = Source(b"1234", b"5678", length=8)
            assert (await read_reply(await transport.send(put(url, source.body), CONNECTION))).body == b"ok"
    assert bodies == [b"12345678"] * 2
    assert source.begun == source.closed == 2


async def test_200_uploads_at_once_are_not_mixed_up(raw_upstream, transport):
    async def script(connection):
        await connection.send(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(connection.body), connection.body)
        )

    async def one(url, number):
        source = Source(*[b"%d." % number] * 50, pause=0.0001, length=50 * len(b"%d." % number))
        reply = await read_reply(await transport.send(put(url, source.body), CONNECTION))
        assert reply.body == b"%d." % number * 50

    async with raw_upstream(script) as upstream:
        await asyncio.gather(*(one(upstream.base_url, number) for number in range(200)))


async def test_the_replay_reads_a_streamed_body_too():
    recorded = Interaction(RecordedRequest("PUT", "/"), RecordedResponse(200, {}, []))
    source = Source(b"one", b"two")
    transport = ReplayTransport(Cassette([recorded]))
    assert (await transport.send(put("http://host.example/", source.body), CONNECTION)).status == 200
    assert source.closed == 1


# --- what it may cost -------------------------------------------------------------------------------------------------


async def test_an_upstream_that_does_not_read_makes_the_source_wait(listen):
    bound, piece, going_on = 64 * 1024, bytes(16 * 1024), asyncio.Event()
    held = []

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await going_on.wait()
        received = 0
        while received < 32 * 1024 * 1024:
            received += len(await reader.read(1 << 20))
            held.append(source.made - received)
        writer.write(OK)
        await writer.drain()

    source = Source(*[piece] * 2048, length=32 * 1024 * 1024)
    transport = CurlTransport(Deadlines(), max_buffered=bound)
    try:
        async with listen(handle) as url:
            sending = asyncio.create_task(transport.send(put(url, source.body), CONNECTION))
            waiting = 0
            async with asyncio.timeout(60):
                while not waiting or source.made != waiting:
                    waiting = source.made
                    await asyncio.sleep(0.1)
            assert waiting < 16 * 1024 * 1024  # the sockets' own buffers take a few MB
            going_on.set()
            (await sending).close()
    finally:
        await transport.close()
    assert source.made == 32 * 1024 * 1024


def test_an_upload_of_100_mb_costs_no_100_mb():
    """In a process of its own, so that nobody else's memory is counted."""
    child = Path(__file__).with_name("uploading.py")
    ran = subprocess.run(
        [sys.executable, str(child)], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["arrived"] == 100 * 1024 * 1024
    assert told["grown"] < 20 * 1024 * 1024


# --- how it ends ------------------------------------------------------------------------------------------------------


async def test_cancelling_ends_source_and_connection_at_once(listen, transport):
    gone = asyncio.Event()

    async def handle(reader, _writer):
        while await reader.read(65536):
            pass
        gone.set()

    for source in (Source(*[bytes(65536)] * 10_000, pause=0.001), Source(b"x", b"y", pause=30)):
        gone.clear()
        async with listen(handle) as url:
            sending = asyncio.create_task(transport.send(put(url, source.body), CONNECTION))
            await asyncio.sleep(0.1)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await asyncio.wait_for(gone.wait(), 2)
        assert source.closed == 1


@pytest.mark.parametrize("error", [UpstreamError("the other side broke"), OSError("the disk broke"), KeyError("x")])
async def test_what_the_source_raises_is_told_to_the_sender(listen, transport, error):
    gone = asyncio.Event()

    async def handle(reader, _writer):
        while await reader.read(65536):
            pass
        gone.set()

    async with listen(handle) as url:
        with pytest.raises(type(error)) as caught:
            await transport.send(put(url, Source(b"one", error=error, length=100).body), CONNECTION)
        assert caught.value is error
        await asyncio.wait_for(gone.wait(), 2)


@pytest.mark.parametrize("pieces", [(b"short",), (b"much", b" too long")])
async def test_a_wrong_length_is_an_error(listen, transport, pieces):
    async def handle(reader, _writer):
        while await reader.read(65536):
            pass

    async with listen(handle) as url:
        with pytest.raises(ValueError, match="were announced"):
            await transport.send(put(url, Source(*pieces, length=8).body), CONNECTION)


async def test_an_answer_before_the_end_of_the_body_is_the_answer(listen, transport):
    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        while await reader.read(65536):
            pass

    source = Source(*[bytes(65536)] * 10_000, pause=0.001, length=655_360_000)
    async with listen(handle) as url:
        reply = await asyncio.wait_for(read_reply(await transport.send(put(url, source.body), CONNECTION)), 5)
        assert (reply.status, reply.body) == (413, b"no")
        await asyncio.sleep(0.01)
        assert source.closed == 1
        assert source.made < 100 * 65536


async def test_a_long_upload_is_not_late_while_it_moves(listen):
    transport = CurlTransport(Deadlines(connect=2, first_byte=0.3, idle=0.3, total=10))

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(10)
        writer.write(OK)
        await writer.drain()

    try:
        async with listen(handle) as url:
            body = Source(*[b"x"] * 10, pause=0.1, length=10).body
            assert (await read_reply(await transport.send(put(url, body), CONNECTION))).body == b"ok"
    finally:
        await transport.close()


@pytest.mark.parametrize(
    ("deadlines", "said"),
    [
        (Deadlines(connect=2, first_byte=0.3, total=10), "did not begin to answer within 0.3 s"),
        (Deadlines(connect=2, first_byte=10, total=0.5), "did not take the upload within 0.5 s"),
    ],
)
async def test_an_upload_that_stands_still_ends(listen, deadlines, said):
    async def handle(reader, _writer):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(30)

    transport = CurlTransport(deadlines)
    source = Source(*[bytes(65536)] * 1000)
    try:
        async with listen(handle) as url:
            with pytest.raises(DeadlineError, match=said):
                await transport.send(put(url, source.body), CONNECTION)
            await asyncio.sleep(0.01)
            assert source.closed == 1
    finally:
        await transport.close()


async def test_a_source_that_never_goes_on_ends_with_the_total(listen):
    async def handle(reader, _writer):
        while await reader.read(65536):
            pass

    transport = CurlTransport(Deadlines(connect=2, first_byte=0.2, total=0.6))
    try:
        async with listen(handle) as url:
            with pytest.raises(DeadlineError, match=r"within 0\.6 s"):
                await transport.send(put(url, Source(b"x", b"y", pause=30).body), CONNECTION)
    finally:
        await transport.close()
