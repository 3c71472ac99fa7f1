"""Cassettes and the replay driver: what was recorded comes back, chunk by chunk."""

import base64

import pytest

from shim.cassettes.format import (
    Cassette,
    Interaction,
    RecordedRequest,
    RecordedResponse,
    chunk_of,
    dump_cassette,
    load_cassette,
)
from shim.cassettes.transport import ReplayTransport
from shim.errors import UpstreamError
from shim.protocol.commands import HttpRequest
from shim.transport import ConnectionKey
from shim.transport.base import read_reply

CONNECTION = ConnectionKey("someone")


def recorded(path, *chunks, status=200):
    response = RecordedResponse(
        status, {"content-type": "text/event-stream"}, [chunk_of(one, 0.01 * at) for at, one in enumerate(chunks)]
    )
    return Interaction(RecordedRequest("POST", path), response)


def ask(path):
    return HttpRequest("POST", f"https://host.example{path}?q=1", {}, b"{}")


async def test_chunks_come_back_with_their_boundaries_even_inside_a_character():
    euro = "€".encode()
    transport = ReplayTransport(Cassette([recorded("/c", b"a" + euro[:1], euro[1:], b"b")]))
    response = await transport.send(ask("/c"), CONNECTION)
    assert [await response.chunk() for _ in range(4)] == [b"a" + euro[:1], euro[1:], b"b", b""]


async def test_paced_replay_waits_as_recorded():
    import time

    transport = ReplayTransport(Cassette([recorded("/c", *[b"x"] * 6)]), paced=True)
    began = time.monotonic()
    await read_reply(await transport.send(ask("/c"), CONNECTION))
    assert time.monotonic() - began >= 0.05


async def test_equal_calls_get_their_recordings_in_order():
    transport = ReplayTransport(Cassette([recorded("/c", b"1"), recorded("/d", b"x"), recorded("/c", b"2")]))
    assert (await read_reply(await transport.send(ask("/c"), CONNECTION))).body == b"1"
    assert (await read_reply(await transport.send(ask("/c"), CONNECTION))).body == b"2"
    assert transport.leftovers == ["POST /d"]


async def test_a_call_nobody_recorded_names_what_is_left():
    transport = ReplayTransport(Cassette([recorded("/c", b"1")]))
    with pytest.raises(UpstreamError, match=r"POST /\{value\}; nearest of 1 left is POST /c: .* recorded is") as caught:
        await transport.send(ask("/e"), CONNECTION)
    assert caught.value.code == "replay_miss"


def test_a_cassette_survives_its_file(tmp_path):
    cassette = Cassette([recorded("/c", "ü".encode(), b"\xff\x00", status=429)])
    path = tmp_path / "one.json"
    path.write_bytes(dump_cassette(cassette))
    assert load_cassette(path) == cassette
    text = path.read_text()
    assert '"ü"' in text
    assert base64.b64encode(b"\xff\x00").decode() in text
    assert len(text.splitlines()) > 10  # readable diffs


@pytest.mark.parametrize("content", [b"", b"[]", b'{"interactions": 1}', b'{"interactions": [], "version": 2}'])
def test_what_is_no_cassette_is_refused_by_name(tmp_path, content):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.json"):
        load_cassette(path)
