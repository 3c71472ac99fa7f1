"""Usage as an operator asks for it: a real gateway in front of the stand-in."""

import csv

import httpx
import pytest

from shim.notes import NotesError
from shim.usage import CallBook

SECRET = "a text that nobody but the model may have"


@pytest.fixture
def server(start_gateway, shared_standin):
    return start_gateway(
        CHATGPT_BASE_URL=shared_standin.base_url, ADMIN_KEY="admin-key", AUTHORIZATION="first-key,second-key"
    )


def test_an_operator_sees_who_used_what(server):
    body = {"model": "auto", "messages": [{"role": "user", "content": SECRET}]}
    assert server.post("/v1/chat/completions", body, authorization="Bearer second-key").status_code == 200
    streamed = server.post("/v1/chat/completions", body | {"stream": True}, authorization="Bearer second-key")
    assert streamed.status_code == 200
    refused = server.post("/v1/chat/completions", body | {"model": "nope"}, authorization="Bearer first-key")
    assert refused.status_code == 404
    with httpx.Client(
        base_url=f"{server.base_url}/tokens/api", headers={"authorization": "Bearer admin-key"}, trust_env=False
    ) as admin:
        told = admin.get("/usage", params={"by": "key,api"})
        rows = {row["key"]: row for row in told.json()["rows"]}
        assert (rows["env-2"]["requests"], rows["env-1"]["errors"]) == (2, 1)
        assert rows["env-2"]["completion_tokens"] > 0
        assert rows["env-2"]["streams"] == 1
        lines = list(csv.reader(admin.get("/usage", params={"format": "csv", "by": "model"}).text.splitlines()))
        assert lines[0][:3] == ["model", "requests", "errors"]
        assert sum(int(line[1]) for line in lines[1:]) == 3
        calls = admin.get("/calls", params={"limit": 10})
        ids = [call["id"] for call in calls.json()["calls"]]
        assert ids == [answer.headers["x-request-id"] for answer in (refused, streamed)] + ids[2:]
        (failed,) = admin.get("/calls", params={"failed": "true"}).json()["calls"]
        assert (failed["status"], failed["code"], failed["key"]) == ("model_not_found", 404, "env-1")
        assert SECRET not in calls.text + told.text
        for path in (
            "/usage?by=nothing",
            "/usage?days=0",
            "/usage?days=91",
            "/usage?format=xml",
            "/calls?limit=x",
            "/calls?before=x:y",
        ):
            assert admin.get(path).status_code == 400, path
    assert httpx.get(f"{server.base_url}/tokens/api/usage", trust_env=False).status_code == 401


def test_a_store_that_is_away_is_told_wherever_it_is_asked(server, monkeypatch):
    async def away(*_: object, **_more: object) -> None:
        raise NotesError("redis at 10.0.0.1:6379 refused the connection")

    for name in ("usage", "calls"):
        monkeypatch.setattr(CallBook, name, away)
    for path in ("/admin/usage", "/tokens/api/usage", "/tokens/api/calls"):
        answer = httpx.get(server.base_url + path, headers={"authorization": "Bearer admin-key"}, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable"), path
