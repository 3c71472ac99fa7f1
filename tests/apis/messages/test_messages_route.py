"""`/v1/messages` and `count_tokens` through the real gateway: who calls, tools, thinking, and failures in the API's own
way."""

import json

import httpx
import pytest
from anthropic.types import Message, MessageTokensCount
from anthropic.types.shared import ErrorResponse

PATH = "/v1/messages"
COUNT = f"{PATH}/count_tokens"
TOOL = {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


@pytest.fixture
def ask(gateway):
    def run(prompt, *, path=PATH, headers=None, **more):
        messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
        body = {"model": "auto", "max_tokens": 4096, "messages": messages, **more}
        return gateway.post(path, body, **(headers or {}))

    return run


def message_of(answer):
    assert answer.status_code == 200, answer.text
    return Message.model_validate(answer.json(), strict=True)


def events_of(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(event.split("data: ", 1)[1]) for event in answer.text.split("\n\n") if event.startswith("event")]


@pytest.mark.parametrize("path", [PATH, f"{PATH}?beta=true", "/messages", "/v1/v1/messages"])
def test_the_whole_answer(ask, path):
    headers = {"x-api-key": "none", "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    message = message_of(ask("[[say=one two]]", path=path, headers=headers))
    assert ([block.text for block in message.content], message.model) == (["one two"], "auto")
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
def test_the_key_is_an_account_either_way(ask, make_account, upstream, name):
    token = make_account("anthropic", plan="plus")
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    blocks = [picture, {"type": "text", "text": "[[say=a dot]]"}]
    key = token if name == "x-api-key" else f"Bearer {token}"
    assert message_of(ask([{"role": "user", "content": blocks}], headers={name: key})).content[0].text == "a dot"
    (turn,) = upstream.get("/standin/stats").json()["recent_turns"]
    assert turn["conversation"]["messages"][-1]["content"]["content_type"] == "multimodal_text"


def test_a_wrong_key_is_refused_in_the_envelope(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="a-key")
    body = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": "[[say=hi]]"}]}
    for path in (PATH, COUNT):
        refused = gateway.post(path, body, **{"x-api-key": "wrong"})
        assert refused.status_code == 401
        assert ErrorResponse.model_validate(refused.json()).error.type == "authentication_error"
        assert gateway.post(path, body, **{"x-api-key": "a-key"}).status_code == 200


def test_a_tool_is_called_and_its_result_sent_back(ask, upstream):
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    upstream.post("/standin/plan", {"directives": {"say": f"Let me look.\n\n{call}"}})
    asked = {"role": "user", "content": "How warm is Oslo?"}
    message = message_of(ask([asked], tools=[TOOL]))
    words, use = message.content
    assert (words.text, use.input, message.stop_reason) == ("Let me look.", {"city": "Oslo"}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "20 degrees"}]}
    history = [asked, {"role": "assistant", "content": [one.to_dict() for one in message.content]}]
    upstream.post("/standin/plan", {"directives": {"say": "It is warm."}})
    last = message_of(ask([*history, {"role": "user", "content": [result]}], tools=[TOOL]))
    assert last.content[0].text == "It is warm."
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]["messages"][-1]
    assert sent["author"]["role"] == "tool"
    assert "20 degrees" in json.dumps(sent)


def test_calls_are_streamed_as_json(ask, upstream):
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    upstream.post("/standin/plan", {"directives": {"say": call}})
    events = events_of(ask("How warm is Oslo?", tools=[TOOL], tool_choice={"type": "any"}, stream=True))
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta["partial_json"] for delta in deltas) == '{"city":"Oslo"}'
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("stream", [False, True])
def test_the_stop_sequence_that_ended_it_is_told(ask, stream):
    answer = ask("[[say=one STOP two]]", stop_sequences=["NEVER", "STOP"], stream=stream)
    told = events_of(answer)[-2]["delta"] if stream else answer.json()
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "STOP")


def test_a_limit_ends_the_answer(ask):
    message = message_of(ask("[[say=one two three four five]]", max_tokens=2))
    assert (message.content[0].text, message.stop_reason) == ("one two", "max_tokens")


def test_thinking_comes_before_the_words(ask):
    asked = "[[script=reasoning seed=7]] Think"
    message = message_of(ask(asked, thinking={"type": "adaptive"}))
    assert [block.type for block in message.content] == ["thinking", "text"]
    events = events_of(ask(asked, thinking={"type": "enabled", "budget_tokens": 2000}, stream=True))
    thought = [event["delta"]["thinking"] for event in events if event.get("delta", {}).get("type") == "thinking_delta"]
    assert "".join(thought) == message.content[0].thinking
    assert [block.type for block in message_of(ask(asked)).content] == ["text"]


def test_a_budget_goes_up_as_an_effort(ask, make_account, upstream):
    headers = {"x-api-key": make_account("thinker", plan="plus")}
    thinking = {"type": "enabled", "budget_tokens": 20_000}
    unheard = ask("[[say=a]]", headers=headers, model="gpt-4o", thinking=thinking)
    assert unheard.headers["x-chat2api-ignored"] == "thinking"
    heard = ask("[[say=a]]", headers=headers, model="gpt-5.2-thinking", thinking=thinking)
    assert (heard.status_code, "x-chat2api-ignored" in heard.headers) == (200, False)
    (*_, turn) = upstream.get("/standin/stats").json()["recent_turns"]
    assert turn["conversation"]["thinking_effort"] == "extended"


@pytest.mark.parametrize(
    ("prompt", "status", "kind"),
    [
        ("[[status=429 clears_in=77]] hi", 429, "rate_limit_error"),
        ("[[failure=sentinel]] hi", 403, "permission_error"),
        ("[[script=empty]] hi", 502, "api_error"),
        ([], 400, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_a_status(ask, prompt, status, kind, stream):
    answer = ask(prompt, stream=stream)
    assert (answer.status_code, answer.json()["type"], answer.json()["error"]["type"]) == (status, "error", kind)
    assert ("retry-after" in answer.headers) == (status == 429)


def test_what_is_no_json_and_what_is_unknown(ask, gateway):
    unknown = ask("hi", model="gpt-0")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found_error")
    refused = gateway.post(PATH, "not a request")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_failure_within_the_stream_is_an_event(ask):
    *_, before, last = events_of(ask("[[script=error]] hi", stream=True))
    assert before["type"] != "message_stop"
    assert (last["type"], set(last["error"])) == ("error", {"type", "message"})


def test_a_moderated_answer_is_a_refusal(ask):
    assert message_of(ask("[[script=moderation_blocked]] hi")).stop_reason == "refusal"


def test_tokens_are_counted_as_usage_counts_them(ask, upstream):
    more = {"system": "Be brief.", "tools": [TOOL]}
    counted = MessageTokensCount.model_validate(ask("[[say=hi]]", path=COUNT, **more).json(), strict=True)
    assert upstream.get("/standin/stats").json()["recent_turns"] == []
    assert message_of(ask("[[say=hi]]", **more)).usage.input_tokens == counted.input_tokens > 20
    refused = ask([], path=COUNT)
    assert (refused.status_code, refused.json()["type"]) == (400, "error")


LONG = "word and another one " * 3000


@pytest.mark.parametrize("more", [{}, {"tools": [TOOL]}])
def test_a_stream_says_at_its_head_how_long_the_prompt_is(ask, more):
    start, *_, delta, _ = events_of(ask(f"[[say=hi]] {LONG}", stream=True, **more))
    told = start["message"]["usage"]["input_tokens"]
    assert told == delta["usage"]["input_tokens"] > 12_000


def test_every_answer_names_its_request(ask, gateway):
    body = {"model": "auto", "max_tokens": 9, "messages": []}
    refused = ask([])
    assert refused.json()["request_id"] == refused.headers["request-id"] == refused.headers["x-request-id"]
    for answer in (ask("[[say=hi]]"), ask("[[say=hi]]", stream=True), ask("hi", path=COUNT)):
        assert answer.headers["request-id"].startswith("req_")
    broken = ask("[[script=error]] hi", stream=True)
    assert events_of(broken)[-1]["request_id"] == broken.headers["request-id"]
    assert "request-id" not in gateway.post("/v1/chat/completions", body).headers


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/messages/nothing", "/messages/nothing"])
def test_a_path_that_is_not_there_is_refused_in_the_envelope(gateway, path):
    for answer in (gateway.get(path), gateway.post(path, {})):
        error = ErrorResponse.model_validate(answer.json())
        assert (answer.status_code, error.error.type) == (404, "not_found_error")
        assert error.request_id == answer.headers["request-id"]


def test_what_is_refused_before_it_comes_here_is_in_the_envelope(gateway):
    other_method = gateway.get(PATH)
    assert (other_method.status_code, other_method.json()["error"]["type"]) == (405, "invalid_request_error")
    url, gz = gateway.base_url + PATH, {"content-encoding": "gzip"}
    damaged = httpx.post(url, content=b"no gzip", headers=gz, trust_env=False)
    assert (damaged.status_code, damaged.json()["error"]["type"]) == (400, "invalid_request_error")
    unknown = httpx.post(url, content=b"{}", headers={"content-encoding": "other"}, trust_env=False)
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (415, "invalid_request_error")
    assert unknown.json()["request_id"] == unknown.headers["request-id"]
    elsewhere = httpx.get(f"{gateway.base_url}/v1/nothing", headers={"anthropic-version": "1"}, trust_env=False)
    assert elsewhere.json()["error"]["type"] == "not_found_error"
    assert gateway.get("/v1/nothing").json()["error"]["type"] == "invalid_request_error"


def test_a_body_that_is_too_large_is_refused_in_the_envelope(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MAX_REQUEST_BYTES="2000")
    refused = gateway.post(PATH, {"messages": "x" * 3000})
    assert (refused.status_code, refused.json()["error"]["type"]) == (413, "request_too_large")
    assert refused.json()["request_id"] == refused.headers["request-id"]


def test_searching_the_web_is_chatgpts_own(ask, upstream):
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    answer = ask("hi", tools=[search], tool_choice={"type": "tool", "name": "web_search"})
    assert message_of(answer).content[-1].text
    assert answer.headers["x-chat2api-ignored"] == "tools.max_uses"
    (turn,) = upstream.get("/standin/stats").json()["recent_turns"]
    assert "search" in turn["conversation"]["system_hints"]
    with_own = ask("hi", tools=[search, TOOL])
    assert with_own.status_code == 200


def test_what_a_search_found_is_told_and_may_be_sent_back(ask):
    search = {"type": "web_search_20250305", "name": "web_search"}
    content = message_of(ask("[[script=citations]]", tools=[search])).content
    assert [block.type for block in content] == ["server_tool_use", "web_search_tool_result", "text"]
    use, found, text = content
    assert (use.input, found.tool_use_id) == ({"query": "standin"}, use.id)
    assert [page.url for page in found.content] == ["https://example.test/standin"]
    assert [cited.url for cited in text.citations] == ["https://example.test/standin"]
    blocks = [block.model_dump() for block in content]
    fetched = {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_2", "content": {"type": "web_fetch_result"}}
    history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [*blocks, fetched]}]
    again = ask("hi", tools=[search], messages=[*history, {"role": "user", "content": "and now"}])
    assert message_of(again).content[-1].text


def test_caching_is_said_to_be_ignored_and_never_refused(ask, start_gateway, shared_standin):
    block = {"type": "text", "text": "[[say=hi]]", "cache_control": {"type": "ephemeral"}}
    body = {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": [block]}]}
    strict = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, STRICT_PARAMS="true")
    answer = strict.post(PATH, body)
    assert (answer.status_code, answer.headers["x-chat2api-ignored"]) == (200, "cache_control")
    assert "x-chat2api-ignored" not in ask('[[say=hi]] {"cache_control": {"type": "ephemeral"}}').headers
