"""The log: one line a request, with the names that operators know, in one form for the whole process."""

import json
import logging
import time

import httpx
import pytest
from litestar.testing import TestClient

from shim.app import create_app
from shim.http.answering import ApiCall
from shim.logs import JsonLines, SecondsFormatter, log_fields
from shim.settings import Settings

CHAT = "/v1/chat/completions"
ADMIN = {"Authorization": "Bearer admin"}


def ask(text="hi", **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def lines_of(gateway, word="api=chat", number=1):
    """At least so many; a line comes after the last byte of its answer."""
    until = time.monotonic() + 20
    while True:
        lines = [line for line in gateway.log.splitlines() if word in line]
        if len(lines) >= number or time.monotonic() > until:
            return lines
        time.sleep(0.01)


def fields_of(line):
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


@pytest.fixture
def pooled(start_gateway, upstream):
    gateway = start_gateway(
        CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION="sk-one,sk-two", ADMIN_KEY="admin", RETRY_TIMES="2"
    )
    token = upstream.post("/standin/accounts", {"name": "pool-1"}).json()["access_token"]
    assert gateway.post("/tokens/api/accounts", {"text": token}, **ADMIN).status_code == 200
    return gateway


def test_a_line_names_account_key_slug_code_tries_and_times(pooled):
    listed = httpx.get(f"{pooled.base_url}/tokens/api/accounts", headers=ADMIN, trust_env=False).json()["accounts"]
    for number, stream in enumerate((False, True), 1):
        assert pooled.post(CHAT, ask(stream=stream), Authorization="Bearer sk-two").status_code == 200
        (line,) = lines_of(pooled, number=number)[-1:]
        said = fields_of(line)
        assert said["account"] == listed[0]["id"]
        assert (said["key"], said["code"], said["tries"], said["status"]) == ("env-2", "200", "1", "stop")
        assert said["slug"] != "auto"
        assert ("first_ms" in said) is stream
        assert int(said["ms"]) >= int(said.get("first_ms", 0))
    assert len(lines_of(pooled, number=2)) == 2


def test_a_key_in_a_path_is_in_no_line(start_gateway, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION="top-one,sk-two", LOG_LEVEL="debug")
    pasted = ("top-one", "sk-two", "sk-old-and-gone", "eyJhbGciOiJub25lIn0.e30.", "rt_0123456789", "A" * 45)
    for secret in pasted:
        assert gateway.get(f"/v1/{secret}/models").status_code == 404
    assert gateway.get("/v1/responses/resp_0123/nothing").status_code == 404
    lines = lines_of(gateway, "path=", len(pasted) + 1)
    assert [fields_of(line)["path"] for line in lines if "models" in line] == ["/v1/…/models"] * len(pasted)
    assert not [secret for secret in pasted if secret in gateway.log]
    assert "path=/v1/responses/resp_0123/nothing" in gateway.log


def test_a_failure_nobody_foresaw_is_not_called_a_client_that_left(monkeypatch, caplog, tmp_path):
    async def broken(self, asked):
        raise ValueError("planted")

    monkeypatch.setattr(ApiCall, "open", broken)
    caplog.set_level(logging.INFO, "chat2api")
    app = create_app(Settings(data_dir=str(tmp_path)))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.post(CHAT, json=ask()).status_code == 500
    (line,) = [record.getMessage() for record in caplog.records if "api=chat" in record.getMessage()]
    assert "status=internal_error code=500" in line


def test_a_body_that_is_too_large_is_called_so(start_gateway, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, MAX_REQUEST_BYTES="1024")
    for path, word in ((CHAT, "api=chat"), ("/v1/messages", "api=messages")):
        assert gateway.post(path, ask("x" * 2000)).status_code == 413
        (line,) = lines_of(gateway, word)
        said = fields_of(line)
        assert (said["status"], said["code"]) == ("request_too_large", "413")


@pytest.mark.parametrize(
    ("body", "key", "code", "status"),
    [
        (ask(), "wrong", "401", "invalid_api_key"),
        ({"model": "auto"}, "sk-one", "400", None),
        (ask() | {"model": "no-such"}, "sk-one", "404", "model_not_found"),
        (ask("[[status=500]]"), "sk-one", "502", None),
        (ask("[[status=429]]"), "sk-one", "429", None),
        (ask("[[status=500]]", stream=True), "sk-one", "502", None),
    ],
)
def test_what_fails_before_its_first_byte_leaves_its_line(pooled, body, key, code, status):
    assert str(pooled.post(CHAT, body, Authorization=f"Bearer {key}").status_code) == code
    (line,) = lines_of(pooled)
    said = fields_of(line)
    assert said["code"] == code
    assert status in {None, said["status"]}
    assert ("tries" in said) is (code in {"429", "502"})
    assert ("account" in said) is (code in {"429", "502"})
    assert "sk-one" not in pooled.log
    assert said.get("key") == (None if key == "wrong" else "env-1")


def test_a_relayed_call_names_its_account(pooled):
    assert pooled.get("/backend-api/me").status_code == 401
    headers = {"Authorization": "Bearer sk-one"}
    assert httpx.get(f"{pooled.base_url}/backend-api/models", headers=headers, trust_env=False).status_code == 200
    assert "account" in fields_of(lines_of(pooled, "api=backend")[-1])


def test_every_line_of_a_process_is_json(start_gateway, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, LOG_FORMAT="json", process=True)
    gateway.post(CHAT, ask())
    gateway.get("/nothing")
    assert gateway.stop() == 0
    lines = [json.loads(line) for line in gateway.log.splitlines()]
    assert {line["logger"] for line in lines} >= {"_granian", "chat2api.exchange"}
    (chat,) = [line for line in lines if line.get("api") == "chat"]
    assert (chat["status"], chat["code"], chat["tries"], chat["level"]) == ("stop", 200, 1, "info")
    assert isinstance(chat["ms"], float)


def test_a_line_begins_alike_with_and_without_a_failure_behind_it():
    """The first is put together by us, the second by logging itself."""
    formatter, record = SecondsFormatter(), logging.makeLogRecord({"name": "chat2api", "msg": "a %s", "args": ("b",)})
    line = formatter.format(record)
    record.exc_info = ValueError, ValueError("c"), None
    assert formatter.format(record) == f"{line}\nValueError: c"


def test_a_value_can_make_no_other_line_or_field(caplog):
    caplog.set_level(logging.INFO)
    log = logging.getLogger("test")
    log_fields(log, logging.INFO, "req_1", {"model": "a b=c\nINFO x\x1b[0m", "none": None, "ms": 1.6, "empty": ""})
    (record,) = caplog.records
    assert record.getMessage() == "req_1 model='a b=c\\nINFO x\\x1b[0m' ms=2 empty=''"
    told = json.loads(JsonLines().format(record))
    assert (told["model"], told["ms"], "none" in told) == ("a b=c\nINFO x\x1b[0m", 1.6, False)
