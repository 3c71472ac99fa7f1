"""Responses that are kept: asked for again, built upon, forgotten; each by nobody but whoever asked for it."""

import json
import sqlite3
import time
from contextlib import closing

import httpx
import pytest
from openai.types.responses import CompactedResponse, Response, ResponseItem
from pydantic import TypeAdapter

PATH = "/v1/responses"
ITEM = TypeAdapter(ResponseItem)
KEYS = {"AUTHORIZATION": "first-key,second-key"}
FIRST, SECOND = {"authorization": "Bearer first-key"}, {"authorization": "Bearer second-key"}


@pytest.fixture
def ask(upstream):
    """`ask(gateway, input, ...)`: a response, whole or put together."""

    def run(gateway, input, *, headers=FIRST, stream=False, status=200, **more):
        answer = gateway.post(PATH, {"model": "auto", "input": input, "stream": stream, **more}, **headers)
        assert answer.status_code == status, answer.text
        if not stream or status != 200:
            return answer.json()
        *_, last = (line for line in answer.text.split("\n") if line.startswith("data: "))
        return json.loads(last.removeprefix("data: "))["response"]

    return run


@pytest.fixture
def sent(upstream):
    """`sent()`: the texts that the last turn said, whether it went on, and by whose account."""

    def run():
        turn = upstream.get("/standin/stats").json()["recent_turns"][-1]
        asked = turn["conversation"]
        texts = [part for message in asked["messages"] for part in message["content"]["parts"]]
        return texts, "conversation_id" in asked, turn["user"] if "user" in turn else turn.get("by")

    return run


def call(gateway, method, path, headers):
    return httpx.request(method, gateway.base_url + path, headers=headers, trust_env=False, timeout=60)


def error_of(answer):
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_kept_unless_that_is_not_wanted(start_gateway, upstream, ask, stream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    response = ask(gateway, "[[say=one]]", stream=stream, metadata={"a": "b"}, instructions="Be.")
    again = call(gateway, "GET", f"{PATH}/{response['id']}", FIRST)
    assert again.json() == response
    assert Response.model_validate(again.json()).output_text == "one"
    unkept = ask(gateway, "[[say=one]]", stream=stream, store=False)
    assert error_of(call(gateway, "GET", f"{PATH}/{unkept['id']}", FIRST)) == (404, "response_not_found")


def test_a_response_is_nobody_elses(start_gateway, upstream, ask, make_account):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    id = ask(gateway, "[[say=one]]")["id"]
    own = {"authorization": f"Bearer {make_account('another')}"}
    for headers in (SECOND, own):
        assert error_of(call(gateway, "GET", f"{PATH}/{id}", headers)) == (404, "response_not_found")
        assert error_of(call(gateway, "GET", f"{PATH}/{id}/input_items", headers)) == (404, "response_not_found")
        assert error_of(call(gateway, "DELETE", f"{PATH}/{id}", headers)) == (404, "response_not_found")
        refused = ask(gateway, "two", headers=headers, previous_response_id=id, status=400)
        assert refused["error"]["code"] == "previous_response_not_found"
        assert refused["error"]["param"] == "previous_response_id"
    assert call(gateway, "GET", f"{PATH}/{id}", FIRST).status_code == 200
    assert call(gateway, "GET", f"{PATH}/{id}", {}).status_code == 401


def test_what_is_forgotten_is_gone(start_gateway, upstream, ask):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    id = ask(gateway, "[[say=one]]")["id"]
    deleted = call(gateway, "DELETE", f"{PATH}/{id}", FIRST)
    assert deleted.json() == {"id": id, "object": "response", "deleted": True}
    assert error_of(call(gateway, "GET", f"{PATH}/{id}", FIRST)) == (404, "response_not_found")
    assert error_of(call(gateway, "DELETE", f"{PATH}/{id}", FIRST)) == (404, "response_not_found")


def test_the_items_it_was_asked_with_are_listed(start_gateway, upstream, ask):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    called = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": "{}"}
    items = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        called,
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
        {"role": "user", "content": [{"type": "input_text", "text": "[[say=four]]"}]},
    ]
    path = f"{PATH}/{ask(gateway, items)['id']}/input_items"
    listed = call(gateway, "GET", f"{path}?order=asc", FIRST).json()
    for item in listed["data"]:
        ITEM.validate_python(item)
    kinds = ["message", "message", "function_call", "function_call_output", "message"]
    assert [item["type"] for item in listed["data"]] == kinds
    assert listed["data"][0]["content"] == [{"type": "input_text", "text": "one"}]
    assert not listed["has_more"]
    newest = call(gateway, "GET", f"{path}?limit=2", FIRST).json()
    assert [item["type"] for item in newest["data"]] == ["message", "function_call_output"]
    assert newest["has_more"]
    rest = call(gateway, "GET", f"{path}?limit=3&after={newest['last_id']}", FIRST).json()
    assert ([item["type"] for item in rest["data"]], rest["has_more"]) == (kinds[2::-1], False)
    for query, param in (
        ("limit=0", "limit"),
        (f"limit={'1' * 5000}", "limit"),
        ("order=up", "order"),
        ("after=x", "after"),
    ):
        refused = call(gateway, "GET", f"{path}?{query}", FIRST)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"input":"[[say=one]]"%s}',
        b'{"input":"[[say=one]] \\ud83d"%s}',
        b'{"input":"[[say=one]]","metadata":{"half":"\\ude00"}%s}',
        b'{"input":[{"role":"user","content":"[[say=one]] \\ud83d"}]%s}',
        b'{"input":[{"role":"user","content":"[[say=one]]","of_theirs":1e999}]%s}',
        b'{"input":[{"role":"user","content":"[[say=one]]","id":null,"type":null,"status":null}]%s}',
    ],
)
@pytest.mark.parametrize("more", [b',"stream":false', b',"stream":true', b',"background":true'])
def test_what_is_read_is_kept_however_it_is_written(start_gateway, upstream, body, more):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    answer = httpx.post(
        gateway.base_url + PATH, content=body % (b',"model":"auto"' + more), headers=FIRST, trust_env=False, timeout=60
    )
    assert answer.status_code == 200, answer.text
    told = answer.text.partition("data: ")[2].partition("\n")[0] if b'"stream":true' in more else answer.text
    id = json.loads(told).get("id") or json.loads(told)["response"]["id"]
    until = time.monotonic() + 30
    while (kept := call(gateway, "GET", f"{PATH}/{id}", FIRST).json())["status"] in {"queued", "in_progress"}:
        assert time.monotonic() < until
    assert Response.model_validate(kept).output_text == "one"
    (item,) = json.loads(call(gateway, "GET", f"{PATH}/{id}/input_items", FIRST).text)["data"]
    ITEM.validate_python(item)
    assert (item["type"], item["status"], item["id"][:4]) == ("message", "completed", "msg_")


@pytest.mark.parametrize("stream", [False, True])
def test_the_history_is_sent_where_chats_are_temporary(start_gateway, upstream, ask, sent, stream):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    first = ask(gateway, "[[say=one]]", stream=stream, instructions="Be brief.")
    second = ask(gateway, "[[say=two]]", stream=stream, previous_response_id=first["id"], instructions="Be loud.")
    assert sent()[:2] == (["Be loud.", "[[say=one]]", "one", "[[say=two]]"], False)
    assert second["previous_response_id"] == first["id"]
    ask(gateway, "[[say=three]]", previous_response_id=second["id"])
    assert sent()[0] == ["[[say=one]]", "one", "[[say=two]]", "two", "[[say=three]]"]
    counted = gateway.post(f"{PATH}/input_tokens", {"input": "x", "previous_response_id": second["id"]}, **FIRST)
    assert counted.json()["input_tokens"] > 20


def test_a_tool_is_answered_by_its_output_alone(start_gateway, upstream, ask, sent):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    tools = [{"type": "function", "name": "add", "parameters": {"type": "object"}}]
    upstream.post(
        "/standin/plan",
        {"directives": {"say": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'}},
    )
    first = ask(gateway, "Add", tools=tools)
    (called,) = first["output"]
    output = {"type": "function_call_output", "call_id": called["call_id"], "output": "it is 2"}
    upstream.post("/standin/plan", {"directives": {"say": "2"}})
    assert ask(gateway, [output], tools=tools, previous_response_id=first["id"])["output"][0]["type"] == "message"
    texts = sent()[0]
    assert "Add" in texts
    assert any("it is 2" in text for text in texts)


def test_items_are_referred_to(start_gateway, upstream, ask, sent):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    first = ask(gateway, "[[say=one]]")
    (given,) = call(gateway, "GET", f"{PATH}/{first['id']}/input_items", FIRST).json()["data"]
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    ask(gateway, [{"type": "item_reference", "id": given["id"]}, reference, {"role": "user", "content": "[[say=2]]"}])
    assert sent()[0] == ["[[say=one]]", "one", "[[say=2]]"]
    for unknown in ("msg_1", reference["id"][:-1] + "7"):
        refused = ask(gateway, [{"type": "item_reference", "id": unknown}], status=404)
        assert (refused["error"]["code"], refused["error"]["param"]) == ("item_not_found", "input[0].id")
    assert ask(gateway, [reference], headers=SECOND, status=404)["error"]["code"] == "item_not_found"


def kept_settings(upstream, **more):
    return {"CHATGPT_BASE_URL": upstream.base_url, "AUTHORIZATION": "k-1", "HISTORY_DISABLED": "false", **more}


def test_the_account_that_owns_the_conversation_goes_on_on_any_gateway(pooled, upstream, ask, sent, tell, redis_url):
    key = {"authorization": "Bearer k-1"}
    settings = kept_settings(upstream, REDIS_URL=redis_url)
    base = settings.pop("CHATGPT_BASE_URL")
    one = pooled(base, *(tell(f"resp-{number}") for number in range(3)), **settings)
    two = pooled(base, **settings)
    first = ask(one, "[[say=one]]", headers=key)
    second = ask(two, "[[say=two]]", headers=key, previous_response_id=first["id"])
    assert sent()[:2] == (["[[say=two]]"], True)
    ask(one, "[[say=three]]", headers=key, previous_response_id=second["id"], stream=True)
    assert sent()[:2] == (["[[say=three]]"], True)
    assert call(two, "GET", f"{PATH}/{second['id']}", key).json() == second
    cut = ask(two, "[[say=one two three four]]", headers=key, max_output_tokens=2)
    ask(two, "[[say=on]]", headers=key, previous_response_id=cut["id"])
    assert sent()[:2] == (["[[say=one two three four]]", "one two", "[[say=on]]"], False)


def test_a_lost_conversation_is_told_whole(pooled, upstream, ask, sent, tell):
    key = {"authorization": "Bearer k-1"}
    settings = kept_settings(upstream)
    token = tell("resp-lost")
    gateway = pooled(settings.pop("CHATGPT_BASE_URL"), token, **settings)
    first = ask(gateway, "[[say=one]]", headers=key)
    conversation = first["chatgpt"]["conversation_id"].partition(".")[0]
    path = f"{upstream.base_url}/backend-api/conversation/{conversation}"
    httpx.patch(path, json={"is_visible": False}, headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    second = ask(gateway, "[[say=two]]", headers=key, previous_response_id=first["id"])
    assert second["output"][0]["content"][0]["text"] == "two"
    assert sent()[:2] == (["[[say=one]]", "one", "[[say=two]]"], False)


def test_a_restart_forgets_nothing_and_a_broken_store_costs_only_what_is_kept(start_gateway, upstream, ask, tmp_path):
    settings = {"CHATGPT_BASE_URL": upstream.base_url, "DATA_DIR": str(tmp_path / "data"), **KEYS}
    first = start_gateway(**settings)
    response = ask(first, "[[say=one]]")
    assert first.stop() == 0
    second = start_gateway(**settings)
    assert call(second, "GET", f"{PATH}/{response['id']}", FIRST).json() == response
    assert second.stop() == 0
    notes = tmp_path / "data" / "notes.db"
    with closing(sqlite3.connect(notes)) as db:
        assert not [row for row in db.execute("SELECT key FROM notes") if "first-key" in row[0]]
    notes.write_bytes(b"this is no database, and nobody can read it" * 100)
    third = start_gateway(**settings)
    assert ask(third, "[[say=two]]")["output"][0]["content"][0]["text"] == "two"
    assert call(third, "GET", f"{PATH}/{response['id']}", FIRST).status_code == 503


def test_what_is_over_has_neither_stream_nor_anything_to_cancel(start_gateway, upstream, ask):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    id = ask(gateway, "[[say=one]]")["id"]
    assert error_of(gateway.post(f"{PATH}/{id}/cancel", {}, **FIRST)) == (400, "not_background")
    assert error_of(call(gateway, "GET", f"{PATH}/{id}?stream=true", FIRST)) == (400, "unsupported_parameter")
    assert error_of(gateway.post(f"{PATH}/resp_1/cancel", {}, **FIRST)) == (404, "response_not_found")


def test_a_history_is_summed_up_and_gone_on_with(start_gateway, upstream, ask):
    gateway = start_gateway(CHATGPT_BASE_URL=upstream.base_url, **KEYS)
    id = ask(gateway, "[[say=Paris it is]]")["id"]
    answer = gateway.post(
        f"{PATH}/compact", {"model": "auto", "previous_response_id": id, "input": "[[say=They chose Paris.]]"}, **FIRST
    )
    compacted = CompactedResponse.model_validate(answer.json())
    (item,) = compacted.output
    assert (compacted.object, item.type) == ("response.compaction", "compaction")
    assert compacted.usage.input_tokens > 20
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]
    assert sent["history_and_training_disabled"] is True
    assert "Sum up everything" in json.dumps(sent)
    assert "Paris it is" in json.dumps(sent)  # the whole history, not a chat that is gone on with
    ask(gateway, [answer.json()["output"][0], {"role": "user", "content": "[[say=yes]] go on"}])
    sent = json.dumps(upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"])
    assert "What was said before, summed up" in sent
    foreign = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA-not-ours"}
    refused = gateway.post(PATH, {"model": "auto", "input": [foreign, {"role": "user", "content": "x"}]}, **FIRST)
    assert error_of(refused) == (400, "invalid_encrypted_content")
    assert error_of(gateway.post(f"{PATH}/compact", {"model": "auto"}, **FIRST)) == (400, "missing_required_parameter")
    assert error_of(gateway.post(f"{PATH}/compact", {"model": "auto", "previous_response_id": id}, **SECOND)) == (
        400,
        "previous_response_not_found",
    )
