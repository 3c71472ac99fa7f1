"""Serving: streaming really streams, a client that leaves is noticed, stopping does not wait for readers."""

import asyncio
import signal
import socket
import sys
import time

import httpx
import pytest

from shim.standin import StandinOptions, serve_standin

PATH = "/backend-api/conversation"


async def request_of(client, conversation, prompt):
    headers = client.headers | await client.admitted()
    return {"json": conversation(prompt), "headers": headers}


async def until(condition, seconds=5.0):
    """Wait for a condition; returns how long it took."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < seconds, "never happened"
        await asyncio.sleep(0.01)
    return time.monotonic() - started


async def test_streaming_streams(served, conversation):
    request = await request_of(served.client(), conversation, "[[delay=0.02 words=40]]")
    async with served.http.stream("POST", PATH, **request) as answer:
        times = [time.monotonic() async for _ in answer.aiter_raw()]
    assert len(times) > 20
    assert times[-1] - times[0] > 0.3


@pytest.mark.parametrize("prompt", ["[[delay=0.02 words=5000]]", "[[stall=60]]", "[[words=400000 delay=0]]"])
async def test_a_client_that_leaves_is_noticed_at_once(served, conversation, prompt):
    request = await request_of(served.client(), conversation, prompt)
    async with served.http.stream("POST", PATH, **request) as answer:
        chunks = answer.aiter_raw()  # kept: a dropped iterator closes the answer
        await anext(chunks)
        assert (await served.stats())["open_streams"] == 1
    left = time.monotonic()

    async def noticed():
        return (await served.stats())["client_gone"]

    await until(noticed)
    stats = await served.stats()
    (gone,) = stats["client_gone"]
    assert gone["identity"] == "alice"
    assert gone["at"] - left < 1.0
    assert stats["open_streams"] == 0


async def test_a_free_running_stream_leaves_room_for_others(served, conversation):
    request = await request_of(served.client(), conversation, "[[words=100000]]")
    async with served.http.stream("POST", PATH, **request) as answer:
        chunks = answer.aiter_raw()  # kept: a dropped iterator closes the answer
        await anext(chunks)
        started = time.monotonic()
        await served.stats()
        assert time.monotonic() - started < 5


async def test_many_at_once(served):
    client = served.client()
    readings = await asyncio.gather(*(client.told(f"[[say=answer {number}]]") for number in range(20)))
    assert [reading.answers for reading in readings] == [[f"answer {number}"] for number in range(20)]


async def test_stopping_ends_open_streams(conversation):
    options = StandinOptions(require_sentinel=False)
    headers = {"oai-device-id": "a22491d1-7d0c-452a-96e3-916f2457b083"}
    received = b""
    async with httpx.AsyncClient(timeout=10) as http:
        async with serve_standin(options) as running:
            url = f"{running.base_url}/backend-anon/conversation"
            stream = http.stream("POST", url, json=conversation("[[stall=60]]"), headers=headers)
            answer = await stream.__aenter__()
            chunks = answer.aiter_raw()
            received += await anext(chunks)
            started = time.monotonic()
        assert time.monotonic() - started < 1.5
        async for chunk in chunks:
            received += chunk
        await stream.__aexit__(None, None, None)
    assert b"[DONE]" not in received
    assert [ended.end for ended in running.upstream.stats.ended] == ["shutdown"]


async def test_stopping_does_not_wait_for_a_reader_that_does_not_read(conversation):
    options = StandinOptions(require_sentinel=False)
    headers = {"oai-device-id": "a22491d1-7d0c-452a-96e3-916f2457b083"}
    async with httpx.AsyncClient(timeout=10) as http:
        async with serve_standin(options) as running:
            url = f"{running.base_url}/backend-anon/conversation"
            stream = http.stream("POST", url, json=conversation("[[words=2000000 delay=0]]"), headers=headers)
            await stream.__aenter__()
            await asyncio.sleep(0.3)
            started = time.monotonic()
        assert time.monotonic() - started < 3.5
        await stream.__aexit__(None, None, None)


async def test_a_port_in_use_is_an_error(served):
    with pytest.raises(OSError, match="in use"):
        async with serve_standin(port=served.running.port):
            raise AssertionError("served twice")


async def test_two_at_once_have_two_ports(served, serving):
    async with serving() as other:
        assert other.running.port != served.running.port
        assert (await other.http.get("/")).status_code == 200


async def test_a_given_port_can_be_used_again_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        async with serve_standin(port=port) as running, httpx.AsyncClient(base_url=running.base_url) as http:
            assert running.base_url == f"http://127.0.0.1:{port}"
            assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_ends_cleanly_with_an_open_stream(conversation, number):
    command = [sys.executable, "-m", "shim.standin", "--port", "0", "--no-sentinel", "--delay", "0.05"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
    assert line.startswith("standin listening on http://127.0.0.1:")
    headers = {"oai-device-id": "a22491d1-7d0c-452a-96e3-916f2457b083"}
    async with httpx.AsyncClient(base_url=line.split()[-1], timeout=10) as http:
        body = conversation("[[words=5000]]")
        async with http.stream("POST", "/backend-anon/conversation", json=body, headers=headers) as answer:
            chunks = answer.aiter_raw()  # kept: a dropped iterator closes the answer
            await anext(chunks)
            process.send_signal(number)
            started = time.monotonic()
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert time.monotonic() - started < 4
    assert await process.stdout.read() == b""
