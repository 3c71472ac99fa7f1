"""The account's socket against peers of every kind: raw TCP that writes its frames itself."""

import asyncio
import base64
import hashlib
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress

import pytest

from shim.errors import UpstreamError
from shim.transport import ConnectionKey
from shim.transport.websocket import _MAX_CONTROL_FRAMES, CurlWebSocket

CONTINUED, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10


def frame(kind, data=b"", *, length=None):
    size = len(data) if length is None else length
    if size < 126:
        return bytes([0x80 | kind, size]) + data
    if size < 65536:
        return bytes([0x80 | kind, 126]) + struct.pack("!H", size) + data
    return bytes([0x80 | kind, 127]) + struct.pack("!Q", size) + data


def upgraded(head):
    (key,) = (
        line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\n\r\n"
    )


@asynccontextmanager
async def peer(script, *, upgrades=True):
    """Its address; `script(reader, writer)` plays one connection, which is then left open until the end."""
    ended, playing = asyncio.Event(), set()

    async def handle(reader, writer):
        playing.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if upgrades:
                writer.write(upgraded(head))
            await script(reader, writer)
            await ended.wait()
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret"
    finally:
        ended.set()
        server.close()
        async with asyncio.timeout(60):
            await asyncio.gather(*playing, return_exceptions=True)


def opening(url, *, timeout=30.0):
    headers = {"origin": "https://example.invalid", "user-agent": "a"}
    return CurlWebSocket.open(url, headers, ConnectionKey("someone"), ca_file=None, connect_timeout=timeout)


def writing(*pieces, then="wait"):
    async def script(reader, writer):
        writer.write(b"".join(pieces))
        await writer.drain()
        if then == "reset":
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if then != "wait":
            writer.close()

    return script


async def gone_is_seen(script, *, upgrades=True):
    """How many frames came before it; nothing of the connection is left."""
    before, count = set(asyncio.all_tasks()), 0
    async with peer(script, upgrades=upgrades) as url:
        with pytest.raises(UpstreamError) as caught:
            wire = await opening(url)
            try:
                while await wire.receive(60) is not None:
                    count += 1
            finally:
                await wire.close()
        assert (caught.value.code, "secret" in repr(caught.value)) == ("upstream_socket", False)
    async with asyncio.timeout(60):
        while set(asyncio.all_tasks()) - before:  # noqa: ASYNC110  the library closes behind our back
            await asyncio.sleep(0.01)
    return count


BROKEN = {
    "half a frame, then the end": writing(frame(TEXT, b"abc", length=10), then="end"),
    "half a frame, then a reset": writing(frame(TEXT, b"abc", length=10), then="reset"),
    "half a head": writing(b"\x81", then="reset"),
    "more than a frame may have": writing(frame(TEXT, b"x" * 5_000_000)),
    "a frame of 2^64 bytes": writing(frame(TEXT, b"x", length=2**64 - 1)),
    "a close without a code": writing(frame(CLOSE)),
    "a close of one byte": writing(frame(CLOSE, b"\x03")),
    "a close with rubbish": writing(frame(CLOSE, b"\x03\xe8\xff\xfe")),
    "a close with no code of any": writing(frame(CLOSE, b"\xff\xff")),
    "a close that is too long": writing(frame(CLOSE, b"\x03\xe8" + b"x" * 200)),
    "an unknown kind": writing(frame(3, b"x")),
    "a compressed one": writing(b"\xf1\x01x"),
    "a rest without a beginning": writing(frame(CONTINUED, b"x")),
    "a frame as clients write it": writing(b"\x81\x81abcdx"),
    "pings without an end": writing(*[frame(PING, b"p")] * (_MAX_CONTROL_FRAMES + 1)),
    "pongs without an end": writing(*[frame(PONG, b"p")] * (_MAX_CONTROL_FRAMES + 1)),
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_connection_that_breaks_is_gone_and_leaves_nothing(fault):
    assert await gone_is_seen(BROKEN[fault]) == 0


@pytest.mark.parametrize("end", [b"", frame(CLOSE, b"\x03\xe8")])
async def test_what_was_said_before_the_end_is_heard(end):
    assert await gone_is_seen(writing(*[frame(TEXT, b"{}")] * 5, end, then="end")) == 5


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 302 X\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
        b"\x00\x01rubbish\r\n\r\n",
        b"",
    ],
)
async def test_a_peer_that_is_no_socket(answer):
    assert await gone_is_seen(writing(answer, then="end"), upgrades=False) == 0


@pytest.mark.parametrize("url", ["ws://[", "ws://", "ws://127.0.0.1:99999/", "ws://half a \ud800 pair/", "nonsense:"])
async def test_an_address_that_is_none(url):
    with pytest.raises(UpstreamError):
        await opening(url)


@pytest.mark.parametrize("left", [False, True])
async def test_an_upgrade_that_is_never_answered_keeps_no_connection_and_no_thread(left):
    asked, closed = asyncio.Event(), asyncio.Event()

    async def silent(reader, writer):
        asked.set()
        assert await reader.read() == b""
        closed.set()

    async with peer(silent, upgrades=False) as url, asyncio.timeout(60):
        task = asyncio.create_task(opening(url, timeout=3600 if left else 0.2))
        await asked.wait()
        if left:
            task.cancel()
        with pytest.raises(asyncio.CancelledError if left else UpstreamError):
            await task
        await closed.wait()


async def test_pings_are_answered_with_what_they_carry():
    answer = asyncio.get_running_loop().create_future()

    async def script(reader, writer):
        writer.write(frame(PING, b"are you there") + frame(TEXT, b"[]"))
        first, length = await reader.readexactly(2)
        mask, said = await reader.readexactly(4), await reader.readexactly(length & 0x7F)
        answer.set_result((first, bytes(byte ^ mask[place % 4] for place, byte in enumerate(said))))

    async with peer(script) as url, asyncio.timeout(60):
        wire = await opening(url)
        assert await wire.receive(60) == b"[]"
        assert await answer == (0x80 | PONG, b"are you there")
        await wire.close()
        await wire.close()


async def test_data_between_them_lets_pings_go_on_for_ever():
    often = _MAX_CONTROL_FRAMES - 1
    pieces = [frame(PING), *[frame(PONG, b"p")] * often, frame(TEXT, b"[]")] * 4
    async with peer(writing(*pieces)) as url, asyncio.timeout(60):
        wire = await opening(url)
        for _ in range(4):
            assert await wire.receive(60) == b"[]"
        await wire.close()


async def test_the_number_of_a_closed_socket_can_be_anybodys():
    """The library's reader and curl's own must not hear of a pipe that got the number of a socket of theirs."""
    async with peer(writing(frame(TEXT, b"[]"))) as url, asyncio.timeout(60):
        wire = await opening(url)
        assert await wire.receive(60) == b"[]"
        number = wire._socket._sock_fd
        await wire.close()
        while wire._socket._sock_fd != -1:  # noqa: ASYNC110  the library closes behind our back
            await asyncio.sleep(0.01)
        ours, other = os.pipe()
        other = os.dup(other) if other == number else other
        os.dup2(ours, number)  # as a rule it is the same number already
        heard = asyncio.Event()
        try:
            asyncio.get_running_loop().add_reader(number, heard.set)
            os.write(other, b"x")
            await heard.wait()
            asyncio.get_running_loop().remove_reader(number)
        finally:
            for fd in {ours, other, number}:
                os.close(fd)
