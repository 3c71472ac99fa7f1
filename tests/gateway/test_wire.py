"""The plain wire, as curl sees it: framing, headers, statuses, parameters, limits."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import pytest
from openai.types.chat import ChatCompletionChunk

from tests import upstream_says

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def chat2api_serve(start_gateway, shared_standin):
    """What operators run: `chat2api serve` in a process of its own."""
    return start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, process=True)


@pytest.fixture
def gateway(chat2api_serve, upstream):
    """It, upstream reset."""
    return chat2api_serve


def ask(text="hi", **more):
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **more}


def lines_of(response):
    assert b"\r" not in response.content
    blocks = response.text.split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def test_a_stream_is_unnamed_data_lines_with_lf_and_ends_in_done(gateway):
    response = gateway.post(CHAT, ask(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["cache-control"] == "no-cache"
    *chunks, done = lines_of(response)
    assert done == "[DONE]"
    decoded = [json.loads(chunk) for chunk in chunks]
    assert decoded[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["choices"][0]["finish_reason"] for chunk in decoded] == [None] * (len(decoded) - 1) + ["stop"]
    assert all("usage" not in chunk for chunk in decoded)
    for chunk in decoded:
        ChatCompletionChunk.model_validate(chunk, strict=True)


def test_an_in_band_error_is_the_last_line(gateway):
    response = gateway.post(CHAT, ask("[[script=error]]", stream=True))
    assert response.status_code == 200
    *chunks, last = lines_of(response)
    assert set(json.loads(last)) == {"error"}
    assert chunks
    assert "[DONE]" not in chunks


def test_what_is_ignored_is_said(gateway):
    response = gateway.post(CHAT, ask(temperature=0.1, seed=3, user="me", store=False, metadata={"a": "b"}))
    assert response.headers["x-chat2api-ignored"] == "seed, temperature"
    assert "x-chat2api-ignored" not in gateway.post(CHAT, ask()).headers


BAD = [
    (b"{", None, "invalid_json"),
    (b"", None, "invalid_json"),
    (b"\xff", None, "invalid_json"),
    (b"[]", None, "invalid_type"),
    (b'{"messages": []}', "model", "missing_required_parameter"),
    (b'{"model": "auto"}', "messages", "missing_required_parameter"),
    (b'{"model": "auto", "messages": []}', "messages", "empty_array"),
    (b'{"model": 3, "messages": []}', "model", "invalid_type"),
    (b'{"model": "auto", "messages": {}}', "messages", "invalid_type"),
    (b'{"model": "auto", "messages": [{"content": "x"}]}', "messages[0].role", "missing_required_parameter"),
    (b'{"model": "auto", "messages": [{"role": "king", "content": "x"}]}', "messages[0].role", "invalid_value"),
    (b'{"model": "auto", "messages": [{"role": "user", "content": 3}]}', "messages[0].content", "invalid_type"),
    (
        b'{"model": "auto", "messages": [{"role": "user", "content": [{"type": "hologram"}]}]}',
        "messages[0].content[0].type",
        "invalid_value",
    ),
    (
        b'{"model": "auto", "messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}',
        "messages[0].content[0].input_audio",
        "unsupported_content",
    ),
    (b'{"model": "auto", "messages": [], "stream": "yes"}', "stream", "invalid_type"),
]


@pytest.mark.parametrize(("body", "param", "code"), BAD)
def test_bad_input_is_a_400_that_names_the_parameter(gateway, upstream, body, param, code):
    before = upstream.get("/standin/stats").json()["turns"]
    response = httpx.post(gateway.base_url + CHAT, content=body, trust_env=False)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert upstream.get("/standin/stats").json()["turns"] == before


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "unknown_url"),
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("GET", CHAT, 404, "unsupported_endpoint"),  # that of stored completions
        ("POST", "/v1/models", 404, "unsupported_endpoint"),
        ("GET", "/v1/completions", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods_answer_in_the_envelope(gateway, method, path, status, code):
    response = httpx.request(method, gateway.base_url + path, trust_env=False)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == code
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/completions", {"POST"}),
        ("PUT", "/v1/files", {"GET", "HEAD", "POST"}),
        ("PATCH", "/v1/responses/resp_1", {"DELETE", "GET", "HEAD"}),
        ("GET", "/v1/images/generations", {"POST"}),
        ("PUT", "/v1/audio/speech", {"POST"}),
        ("DELETE", "/v1/messages", {"POST"}),
        ("TRACE", "/", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_told_which_ones_there_are(gateway, method, path, allowed):
    response = httpx.request(method, gateway.base_url + path, trust_env=False)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == allowed | {"OPTIONS"}
    asked = httpx.request("OPTIONS", gateway.base_url + path, trust_env=False)
    assert set(asked.headers["allow"].split(", ")) | {"HEAD"} == allowed | {"OPTIONS", "HEAD"}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/completions"])
def test_a_websocket_is_refused_so_that_its_client_goes_on_without(gateway, path):
    """426 is what Codex takes as "there are none here"; in the envelope, for whoever reads it."""

    async def upgrade():
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(gateway.base_url + path)
            return refused.value.status

    assert asyncio.run(upgrade()) == 426
    asked = {"connection": "Upgrade", "upgrade": "websocket"}
    answer = httpx.get(gateway.base_url + path, headers=asked, trust_env=False)
    assert answer.json()["error"]["code"] == "websocket_unsupported"
    assert f"POST {path}" in answer.json()["error"]["message"]


def test_an_unknown_model_is_not_answered_by_another_one(gateway):
    response = gateway.post(CHAT, ask() | {"model": "gpt-99-ultra"})
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_default_model_answers_unknown_names_under_its_own(start_gateway, shared_standin, upstream):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, DEFAULT_MODEL="gpt-3.5-turbo")
    answer = gateway.post(CHAT, ask() | {"model": "gpt-99-ultra"}).json()
    assert answer["model"] == "gpt-3.5-turbo"
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]["model"]
    assert sent == "text-davinci-002-render-sha"


def test_a_body_over_the_limit_is_413(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MAX_REQUEST_BYTES="4096")
    response = gateway.post(CHAT, ask("x" * 5000))
    assert response.status_code == 413
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_keys(start_gateway, shared_standin, make_account):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="key-1,key-2")
    for path in ("/v1/models", "/v1/models/auto"):
        assert gateway.get(path).status_code == 401
    refused = gateway.post(CHAT, ask())
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert gateway.post(CHAT, ask(), Authorization="Bearer key-3").status_code == 401
    assert gateway.post(CHAT, ask(), Authorization="Bearer key-2").status_code == 200
    assert gateway.post(CHAT, ask(), Authorization=f"Bearer {make_account('alice')}").status_code == 200
    assert gateway.get("/healthz").json()["status"] == "ok"


def test_a_store_that_can_not_be_written_is_named_by_healthz(start_gateway, shared_standin, tmp_path):
    notes = tmp_path / "notes.db"
    notes.mkdir()
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, DATA_DIR=str(tmp_path))
    kept = {"model": "auto", "input": "[[say=hi]]", "background": True}
    refused = gateway.post("/v1/responses", kept)
    assert (refused.status_code, refused.json()["error"]["type"]) == (503, "server_error")
    assert gateway.get("/healthz").json()["away"] == ["notes"]
    notes.rmdir()
    assert gateway.post("/v1/responses", kept).status_code == 200
    assert gateway.get("/healthz").json()["away"] == []


def test_a_prefix_hides_everything_else(start_gateway, shared_standin):
    gateway = start_gateway("/secret/healthz", CHATGPT_BASE_URL=shared_standin.base_url, API_PREFIX="secret")
    assert gateway.post("/secret" + CHAT, ask()).status_code == 200
    assert gateway.get("/secret/v1/models").status_code == 200
    answers = [gateway.get(path) for path in ("/healthz", "/v1/models", "/nothing", "/secretx/healthz")]
    assert {(answer.status_code, answer.content) for answer in answers} == {(404, b"Not Found")}


def test_no_web_page_may_read_answers_unless_allowed(gateway, start_gateway, shared_standin):
    origin = {"Origin": "https://evil.example"}
    assert "access-control-allow-origin" not in gateway.post(CHAT, ask(), **origin).headers
    friendly = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, CORS_ORIGINS="https://good.example")
    allowed = friendly.post(CHAT, ask(), Origin="https://good.example")
    assert allowed.headers["access-control-allow-origin"] == "https://good.example"
    readable = allowed.headers["access-control-expose-headers"]
    assert all(name in readable for name in ("x-request-id", "retry-after", "x-ratelimit-remaining-requests"))
    assert "access-control-allow-origin" not in friendly.post(CHAT, ask(), **origin).headers


def test_each_chunk_arrives_before_upstream_sends_the_next(start_gateway, answers):
    """Upstream sends the next piece of text when the client has seen the one before: were anything held back, both
    would wait for ever."""
    seen = [threading.Event() for _ in range(4)]

    def pieces():
        yield upstream_says.V1 + upstream_says.added()
        for number, event in enumerate(seen):
            yield upstream_says.append(f"piece {number}, ")
            assert event.wait(60)
        yield upstream_says.ENDED + upstream_says.DONE

    answers.say("POST", "/backend-anon/conversation", pieces(), content_type="text/event-stream")
    gateway = start_gateway(CHATGPT_BASE_URL=answers.base_url, CONVERSATION_ONLY="true", process=True)
    with httpx.stream("POST", gateway.base_url + CHAT, json=ask(stream=True), trust_env=False, timeout=60) as response:
        for line in response.iter_lines():
            for number, event in enumerate(seen):
                if f"piece {number}" in line:
                    event.set()
    assert all(event.is_set() for event in seen)


def gone(upstream, before):
    """Whether upstream notices that one more client has gone away."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if len(upstream.get("/standin/stats").json()["client_gone"]) > before:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_closes_upstream(gateway, upstream, stream):
    before = len(upstream.get("/standin/stats").json()["client_gone"])

    async def leave():
        body = ask("[[script=long words=9000 delay=0.02]] hi", stream=stream)  # it would take some minutes
        async with httpx.AsyncClient(trust_env=False) as client:
            task = asyncio.create_task(client.post(gateway.base_url + CHAT, json=body))
            while not upstream.get("/standin/stats").json()["open_streams"]:  # noqa: ASYNC110  # a thread's, no event
                await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    assert gone(upstream, before)


def test_200_streams_at_once_all_complete_and_none_is_mixed_up(gateway):
    async def one(client, number):
        said = f"answer number {number} and nothing else"
        response = await client.post(gateway.base_url + CHAT, json=ask(f"[[say={said!r}]] {number}", stream=True))
        *chunks, done = lines_of(response)
        text = "".join(json.loads(chunk)["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        return number, done, str(number) in text, response.status_code

    async def all_of_them():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(trust_env=False, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(one(client, number) for number in range(10_000, 10_200)))

    results = asyncio.run(all_of_them())
    assert [result for result in results if result[1:] != ("[DONE]", True, 200)] == []


def test_each_account_has_its_own_upstream_identity(gateway, upstream, make_account):
    for name in ("alice", "bob"):
        assert gateway.post(CHAT, ask(), Authorization=f"Bearer {make_account(name)}").status_code == 200
    assert gateway.post(CHAT, ask()).status_code == 200
    turns = upstream.get("/standin/stats").json()["recent_turns"]
    assert len({turn["headers"]["oai-device-id"] for turn in turns[-3:]}) == 3
    assert {turn["headers"]["user-agent"] for turn in turns} == {"chat2api/0.1"}
    assert upstream.get("/standin/stats").json()["proofs"]["user_agent_differs"] == 0


def test_an_expired_token_is_refused_here(gateway, upstream):
    from shim.standin import make_access_token

    before = requests(upstream)
    token = make_access_token("alice", expires_at=1_600_000_000)
    response = gateway.post(CHAT, ask(), Authorization=f"Bearer {token}")
    assert (response.status_code, response.json()["error"]["code"]) == (401, "token_expired")
    assert requests(upstream) == before


def requests(upstream):
    """What upstream was asked, without our own questions about that."""
    counted = upstream.get("/standin/stats").json()["requests"]
    return {route: count for route, count in counted.items() if "/standin/" not in route}


def test_every_one_of_64_requests_brings_its_own_proof(gateway, upstream):
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda number: gateway.post(CHAT, ask(str(number))).status_code, range(64)))
    assert set(statuses) == {200}
    stats = upstream.get("/standin/stats").json()
    assert (stats["proofs"]["verified"], stats["proofs"]["refused"]) == (64, 0)
