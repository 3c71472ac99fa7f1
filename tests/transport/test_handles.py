"""libcurl's sockets and timers in the event loop."""

import asyncio
import gzip
import os
import random

import pytest

from shim.errors import UpstreamError
from shim.protocol.commands import HttpRequest
from shim.transport import ConnectionKey, Deadlines
from shim.transport.base import read_reply
from shim.transport.curl import CurlTransport
from shim.transport.handles import Multi

CONNECTION = ConnectionKey("someone")
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@pytest.fixture
async def transport():
    made = CurlTransport(Deadlines(), max_buffered=64 * 1024)
    yield made
    await made.close()


def post(url):
    return HttpRequest("POST", url, {"content-type": "application/json"}, b"{}")


async def until(holds):
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0.005)


async def test_a_socket_stays_in_the_loop_between_calls_and_leaves_it_with_its_connection(raw_upstream, transport):
    async def script(connection):
        await connection.send(HELLO)
        if len(upstream.requests) == 3:
            raise ConnectionResetError  # closes an idle connection

    async with raw_upstream(script) as upstream:
        await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        multi = transport._sessions[CONNECTION].multi
        first = dict(multi._watched)
        assert first
        assert not any(multi._wanted.get(fd) for fd in first)
        await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        assert (multi._watched, upstream.connections) == (first, 1)
        await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        await until(lambda: 0 in multi._watched.values())  # it had something to tell, which is of no use to libcurl
        assert (await read_reply(await transport.send(post(upstream.base_url), CONNECTION))).body == b"hello"
        assert upstream.connections == 2
    numbers = list(multi._watched)
    await transport.close()
    assert not multi._watched
    assert not any(asyncio.get_running_loop().remove_reader(fd) for fd in numbers)


async def test_the_number_of_a_closed_socket_can_be_anybodys(raw_upstream, transport):
    async def script(connection):
        await connection.send_head()
        await connection.send_chunk(b"begun")
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    async with raw_upstream(script) as upstream:
        stream = await transport.send(post(upstream.base_url), CONNECTION)
        assert await stream.chunk() == b"begun"
        multi = transport._sessions[CONNECTION].multi
        before = set(multi._watched)
        stream.close()
        (closed,) = before - set(multi._watched)
        ours, other = os.pipe()
        os.dup2(ours, closed)  # as a rule it is the same number already
        try:
            heard = asyncio.Event()
            loop.add_reader(closed, heard.set)
            os.write(other, b"x")
            async with asyncio.timeout(60):
                await heard.wait()
            loop.remove_reader(closed)
        finally:
            for fd in {ours, other, closed}:
                os.close(fd)


async def test_a_stream_nobody_reads_costs_the_loop_nothing(raw_upstream, transport, monkeypatch):
    told = []
    act = Multi._act
    monkeypatch.setattr(Multi, "_act", lambda multi, fd, what: (what and told.append(fd)) or act(multi, fd, what))

    async def script(connection):
        await connection.send_head()
        for _ in range(200):
            await connection.send_chunk(b"x" * 64 * 1024)
        await connection.send_end()

    async with raw_upstream(script) as upstream:
        stream = await transport.send(post(upstream.base_url), CONNECTION)
        await until(lambda: stream._paused)
        await until(lambda: 0 in transport._sessions[CONNECTION].multi._watched.values())
        told.clear()
        await asyncio.sleep(0.2)
        assert told == []
        assert len((await read_reply(stream, limit=1 << 30)).body) == 200 * 64 * 1024


async def test_a_call_is_on_its_way_before_the_loop_turns(raw_upstream, transport):
    async def script(connection):
        await connection.send(HELLO)

    async with raw_upstream(script) as upstream:
        await read_reply(await transport.send(post(upstream.base_url), CONNECTION))
        multi = transport._sessions[CONNECTION].multi
        sending = transport.send(post(upstream.base_url), CONNECTION)
        waited_for = sending.send(None)
        assert any(multi._wanted.values())  # its answer is waited for
        await until(waited_for.done)
        with pytest.raises(StopIteration) as answered:
            sending.send(None)
        assert (await read_reply(answered.value.value)).body == b"hello"


async def test_what_was_held_back_and_cannot_be_decoded_fails_as_the_rest_of_a_body_does(raw_upstream):
    whole = gzip.compress(random.Random(1).randbytes(300_000) + b"a" * 3_000_000)
    body = whole[:301_000] + b"\xff" * 5000

    async def script(connection):
        await connection.send_head("200 OK", "content-encoding: gzip")
        await connection.send_chunk(body)
        await connection.send_end()

    transport = CurlTransport(Deadlines(), max_buffered=16 * 1024)
    async with raw_upstream(script) as upstream:
        stream = await transport.send(post(upstream.base_url), CONNECTION)
        with pytest.raises(UpstreamError):
            while True:
                await until(lambda: stream._paused or stream._ended)
                assert await stream.chunk()
        stream.close()
        session = transport._sessions[CONNECTION]
        assert not session.active
        # The next call is none the worse for it.
        released = []
        stream = await transport.send(post(upstream.base_url), CONNECTION)
        await until(lambda: stream._paused)
        stream.release(lambda: released.append(True))
        await until(lambda: released)
        assert not session.active
    await transport.close()
