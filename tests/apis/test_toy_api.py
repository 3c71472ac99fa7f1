"""What an API costs: four files (wire, read, write, route) and one row in the app; nothing in the core knows of it."""

import json
from contextlib import asynccontextmanager

import httpx
import pytest

from shim import app as app_module
from shim.app import create_app
from shim.settings import Settings
from tests.apis.toy.route import create_echo


@pytest.fixture
def client(monkeypatch, tmp_path, start_standin):
    """`async with client() as http`: the app with the toy API in it."""
    upstream = start_standin(seed=7)
    monkeypatch.setattr(app_module, "_ROUTES", (*app_module._ROUTES, create_echo))  # the one row

    @asynccontextmanager
    async def open_client():
        settings = Settings(data_dir=str(tmp_path), chatgpt_base_url=(upstream.base_url,), authorization=("sk-toy",))
        app = create_app(settings)
        transport = httpx.ASGITransport(app)
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as made:
            made.headers["x-toy-key"] = "sk-toy"
            yield made

    return open_client


async def test_the_whole_answer(client):
    async with client() as http:
        answer = await http.post("/v1/echo", json={"say": "[[say=one two]]"})
        assert (answer.status_code, answer.json()["transcript"]) == (200, "one two")
        assert answer.headers["x-request-id"].startswith("req_")


async def test_the_stream_begins_and_ends_in_its_own_way(client):
    async with client() as http:
        answer = await http.post("/v1/echo", json={"say": "[[say=one two]]", "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        first, *texts, last, end = answer.text.split("\n\n")
        assert (first, last, end) == ("event: begin", "event: end\ndata: stop", "")
        assert "".join(json.loads(text.removeprefix("data: ")) for text in texts) == "one two"


async def test_refusals_are_in_its_own_envelope(client):
    async with client() as http:
        mistyped = await http.post("/v1/echo", json={"say": 5})
        assert (mistyped.status_code, mistyped.json()["where"]) == (400, "say")
        stranger = await http.post("/v1/echo", json={"say": "hi"}, headers={"x-toy-key": "wrong"})
        assert stranger.status_code == 401
        assert set(stranger.json()) == {"oops", "where"}


async def test_a_failure_within_the_answer_is_told_in_band(client):
    async with client() as http:
        answer = await http.post("/v1/echo", json={"say": "[[script=error]]", "stream": True})
        begun, *_, last = answer.text.rstrip().split("\n\n")
        assert (answer.status_code, begun) == (200, "event: begin")
        assert set(json.loads(last)) == {"oops", "where"}
