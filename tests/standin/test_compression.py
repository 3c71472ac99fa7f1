"""gzip: where the caller accepts it, flushed after each event."""

import json
import time
import zlib

from shim.standin.chunks import compressed
from shim.standin.steps import Pause

GZIP = {"accept-encoding": "gzip"}


def test_each_event_can_be_read_when_it_comes():
    events = [b"data: one\n\n", Pause(1.0), b"data: two\n\n"]
    reader = zlib.decompressobj(wbits=31)
    read = [part if isinstance(part, Pause) else reader.decompress(part) for part in compressed(events)]
    assert read == [*events, b""]
    assert reader.eof


async def test_streams(served, read):
    for chunks in ("event", "split", "bytes", "whole"):
        answer = await served.client().turn(f"[[gzip=true chunks={chunks} say=packed]]", **GZIP)
        assert answer.headers["content-encoding"] == "gzip"
        assert read(answer.content).answers == ["packed"], chunks


async def test_only_where_it_is_accepted(served, read):
    answer = await served.client().turn("[[gzip=true say=plain]]", **{"accept-encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert read(answer.content).answers == ["plain"]


async def test_events_do_not_wait_for_each_other(served, conversation):
    client = served.client()
    headers = client.headers | await client.admitted() | GZIP
    body = conversation("[[gzip=true delay=0.02 words=40]]")
    async with served.http.stream("POST", "/backend-api/conversation", json=body, headers=headers) as answer:
        times = [time.monotonic() async for piece in answer.aiter_bytes() if piece]
    assert len(times) > 20
    assert times[-1] - times[0] > 0.3


async def test_every_answer_with_the_option(serving, read):
    async with serving(gzip=True) as served:
        client = served.client()
        client.headers |= GZIP
        listed = await client.get("/models")
        assert listed.headers["content-encoding"] == "gzip"
        assert json.loads(listed.content)["default_model_slug"] == "auto"
        answer = await client.turn("[[say=packed]]")
        assert answer.headers["content-encoding"] == "gzip"
        assert read(answer.content).answers == ["packed"]
