"""`chat2api replay`: cassettes as an upstream over HTTP, at every pace, and what it says of holes and leftovers."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest

from shim.cassettes.format import Cassette, Interaction, RecordedRequest, RecordedResponse, chunk_of, dump_cassette
from shim.cassettes.matching import Player
from shim.server.replay import create_replay

EURO = "€".encode()
CHUNKS = [b"data: " + EURO[:1], EURO[1:] + b"\n\n", b"data: [DONE]\n\n"]


def recorded(path="/backend-api/me", *, status=200, cut=False, gap=0.1, headers=None):
    response = RecordedResponse(
        status,
        {"content-type": "text/event-stream", **(headers or {})},
        [chunk_of(chunk, gap * place) for place, chunk in enumerate(CHUNKS)],
        cut=cut,
    )
    return Interaction(RecordedRequest("POST", path, {"content-type": "application/json"}, {"model": "auto"}), response)


@pytest.fixture
def served(tmp_path):
    """`with served(*interactions, "--flag") as (url, process)`: the command, listening."""

    @contextmanager
    def run(*interactions, flags=()):
        (tmp_path / "one.json").write_bytes(dump_cassette(Cassette(list(interactions))))
        command = [sys.executable, "-m", "shim", "replay", str(tmp_path), *flags]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            line = process.stdout.readline()
            assert line.startswith("replay listening on http://127.0.0.1:"), line
            yield line.split()[-1], process
        finally:
            process.terminate()
            process.wait(20)
            process.stdout.close()

    return run


def post(url, path="/backend-api/me", model="auto"):
    return httpx.post(url + path, json={"model": model}, trust_env=False, timeout=20)


def test_it_plays_with_the_recorded_pauses_and_reports_what_is_left(served):
    with served(recorded(gap=0.15, headers={"set-cookie": "a=1\nb=2"}), recorded("/backend-api/models")) as (
        url,
        process,
    ):
        began = time.monotonic()
        answer = post(url)
        assert time.monotonic() - began >= 0.3
        assert answer.content == b"".join(CHUNKS)
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        missed = post(url, model="other")
        assert missed.status_code == 599
        assert (
            'body.model is "other", recorded is "auto"' not in missed.json()["detail"]
        )  # the nearest has another path
        assert "recorded is /backend-api/models" in missed.json()["detail"]
        status = httpx.get(url + "/replay/status", trust_env=False).json()
        assert (status["played"], status["left"], len(status["misses"])) == (1, ["POST /backend-api/models"], 1)
        assert httpx.post(url + "/replay/rewind", trust_env=False).json()["played"] == 0
        assert post(url).status_code == 200
        process.terminate()
        said = process.stdout.read()
        assert process.wait(20) == 0, said
    assert "1 played, 1 left, 0 missed" in said
    assert "left: POST /backend-api/models" in said


def test_a_miss_says_what_differs(served):
    with served(recorded(), flags=["--fast"]) as (url, _):
        assert 'body.model is "other", recorded is "auto"' in post(url, model="other").json()["detail"]


@pytest.mark.parametrize(("pace", "wanted"), [("fast", CHUNKS), ("bytes", [bytes((b,)) for b in b"".join(CHUNKS)])])
async def test_it_plays_at_once_or_byte_by_byte(pace, wanted):
    sent = await played(recorded(gap=60.0), pace)
    assert [event["body"] for event in sent[1:-1]] == wanted
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_recorded_break_is_a_break():
    sent = []
    with pytest.raises(ConnectionError):
        await played(recorded(cut=True), "fast", sent)
    assert sent[-1]["more_body"]


async def test_it_stops_when_the_client_is_gone():
    sent = []
    began = time.monotonic()
    await played(recorded(gap=60.0), "recorded", sent, gone_after=0.05)
    assert time.monotonic() - began < 5
    assert [event["body"] for event in sent[1:]] == CHUNKS[:1]


async def played(interaction, pace, sent=None, gone_after=3600.0):
    """The ASGI messages of one call."""
    sent = [] if sent is None else sent
    asked = [{"type": "http.request", "body": json.dumps(interaction.request.body).encode(), "more_body": False}]

    async def receive():
        if asked:
            return asked.pop()
        await asyncio.sleep(gone_after)
        return {"type": "http.disconnect"}

    async def send(event):
        sent.append(event)

    app = create_replay(Player([Cassette([interaction])]), pace)
    (mount,) = [
        route.route_handler
        for route in app.routes
        if getattr(route, "route_handler", None) is not None and route.route_handler.is_mount
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": interaction.request.path,
        "raw_path": interaction.request.path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await mount.fn(scope, receive, send)
    return sent
