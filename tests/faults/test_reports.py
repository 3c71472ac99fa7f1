"""What people have reported of other gateways and clients, each tried on this one. The name says where it was read."""

import json

import httpx
import pytest

CHAT = "/v1/chat/completions"
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def ask(gateway, *messages, **more):
    body = {"model": "auto", "messages": list(messages) or [{"role": "user", "content": "[[say=one]]"}], **more}
    return httpx.post(gateway.base_url + CHAT, json=body, trust_env=False, timeout=30)


def user(content):
    return {"role": "user", "content": content}


def history(upstream):
    turn = upstream.get("/standin/stats").json()["recent_turns"][-1]
    return [one["content"]["parts"] for one in turn["conversation"]["messages"] if one["author"]["role"] != "system"]


def call(arguments):
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}],
    }


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "done"}


@pytest.mark.parametrize("arguments", ["", "  ", '"Oslo"', '["Oslo"]', "{not json"])
def test_bedrock_access_gateway_258_sglang_28035_odd_arguments_in_the_history(gateway, upstream, arguments):
    """A call without arguments, or with what is no object, in the history: every later turn failed."""
    assert ask(gateway, user("a"), call(arguments), RESULT, tools=[TOOL]).status_code == 200


def test_vercel_ai_6687_hermes_agent_83937_a_call_without_arguments(gateway, upstream):
    """Answers with `""` for the arguments of a function that takes none could not be parsed."""
    say = '<tool_call>{"name": "look", "arguments": ""}</tool_call>'
    upstream.post("/standin/plan", {"directives": {"say": say}})
    (called,) = ask(gateway, user("a"), tools=[TOOL]).json()["choices"][0]["message"]["tool_calls"]
    assert called["function"]["arguments"] == "{}"


def test_localai_10552_genie_683_text_as_parts_in_every_role(gateway, upstream):
    """Content as an array was refused, or only that of users was taken."""
    parts = [{"type": "text", "text": "hi"}]
    answer = ask(gateway, {"role": "assistant", "content": parts}, user(parts), RESULT | {"content": parts})
    assert answer.status_code == 200
    assert history(upstream)[:2] == [["hi"], ["hi"]]


def test_ai_dial_511_sglang_17853_parts_of_the_responses_api(gateway, upstream):
    """`input_text` and `output_text` were refused."""
    answer = ask(
        gateway,
        user([{"type": "input_text", "text": "hi"}]),
        {"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
        user("more"),
    )
    assert answer.status_code == 200
    assert history(upstream) == [["hi"], ["hello"], ["more"]]


@pytest.mark.parametrize("kind", ["video_url", "image_file", "file_search"])
def test_vllm_41121_swiftlet_38_unknown_parts(gateway, kind):
    """They were dropped in silence, or a 501."""
    answer = ask(gateway, user([{"type": "text", "text": "hi"}, {"type": kind, kind: {"url": "https://a.test/x"}}]))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("messages[0].content[1]")


def test_litellm_proxy_19_cliproxyapi_4860_every_chunk_has_its_finish_reason(gateway, upstream):
    """Streams without `finish_reason`, null or not, made clients hang or drop the answer."""
    text = ask(gateway, stream=True).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(reasons) - 1) + ["stop"]


def test_litellm_1255_a_stream_ends_with_done(gateway, upstream):
    assert ask(gateway, stream=True).text.endswith("data: [DONE]\n\n")


def test_chatgpt_938_a_page_of_cloudflare_is_a_403_with_a_sentence(gateway, upstream):
    """Its HTML was the error's text, over pages."""
    answer = ask(gateway, user("[[html=403]]"))
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/json")
    assert "<" not in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["stream_options", "tools", "stop", "response_format", "n", "user", "functions"])
def test_null_is_as_good_as_missing_from_every_client(gateway, upstream, field):
    """Clients of typed languages send all they know of as null."""
    assert ask(gateway, **{field: None}).status_code == 200


def test_a_router_names_models_by_their_provider(gateway, upstream):
    answer = ask(gateway, model="openai/auto").json()
    assert answer["choices"][0]["message"]["content"] == "one"
    assert not answer["model"].startswith("openai/")


CALLED = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
BODIES = {
    "cline": {
        "messages": [
            {"role": "developer", "content": "You are Cline."},
            user([{"type": "text", "text": "<task>x</task>"}, {"type": "text", "text": "<environment_details>"}]),
            {"role": "assistant", "content": "", "tool_calls": [CALLED], "reasoning_details": []},
            RESULT,
            user([{"type": "text", "text": "[[say=one]]"}]),
        ],
        "reasoning_effort": "medium",
        "stream_options": {"include_usage": True},
        "tools": [TOOL | {"function": TOOL["function"] | {"strict": False}}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    },
    "continue": {
        "messages": [{"role": "system", "content": "<important_rules>"}, user("[[say=one]]")],
        "max_tokens": 4096,
        "frequency_penalty": None,
        "stop": ["<|a|>", "<|b|>", "<|c|>", "<|d|>"],
        "tools": [TOOL | {"displayTitle": "Look", "readonly": True, "group": "Built-In"}],
        "prediction": {"type": "content", "content": "x"},
    },
    "litellm's proxy": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
            user("a"),
            {
                "role": "assistant",
                "content": "b",
                "reasoning_content": "c",
                "thinking_blocks": [{"type": "thinking", "thinking": "c", "signature": ""}],
                "provider_specific_fields": {"refusal": None},
                **dict.fromkeys(("audio", "function_call", "tool_calls", "refusal")),
            },
            user("[[say=one]]") | {"cache_control": {"type": "ephemeral"}},
        ],
        "user": "default_user_id",
        "metadata": {"user_api_key_alias": "x"},
        "extra_body": {"drop_params": True},
        "n": 1,
    },
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_cline_continue_and_litellms_proxy(gateway, upstream, name):
    """As their sources put them together, with what no API publishes."""
    answer = ask(gateway, **BODIES[name], stream=True)
    assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert '"content":"one"' in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")


# --- what streams of calls look like, and where usage stands ----------------------------------------------------------


@pytest.fixture
def called(gateway, upstream):
    """The chunks of a streamed answer that says something and calls a function."""
    upstream.post(
        "/standin/plan",
        {"directives": {"say": 'One moment. <tool_call>{"name": "look", "arguments": {"a": "b c"}}</tool_call>'}},
    )
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    text = ask(gateway, user("a"), tools=[tool], stream=True, stream_options={"include_usage": True}).text
    return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]


def calls_in(chunks):
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return [call for delta in deltas for call in delta.get("tool_calls", [])]


def test_opencode_43328_gptel_935_absent_fields_of_a_call_are_absent(called):
    """Later pieces of a call had `"id": null` and `"name": null` (or the text "null"): it overwrote the first ones."""
    pieces = calls_in(called)
    assert pieces
    assert not [piece for piece in pieces if None in [*piece.values(), *piece["function"].values()]]
    assert [piece["function"]["name"] for piece in pieces if "name" in piece["function"]] == ["look"]


def test_oci_genai_access_gateway_22_vllm_16340_a_call_has_index_id_and_type(called):
    """Without an index clients could not put a call together; without a type they refused it."""
    pieces = calls_in(called)
    assert {piece["index"] for piece in pieces} == {0}
    assert pieces[0]["type"] == "function"
    assert pieces[0]["id"]


def test_lmstudio_649_dify_9775_the_pieces_of_arguments_make_json(called):
    assert json.loads("".join(piece["function"].get("arguments", "") for piece in calls_in(called))) == {"a": "b c"}


def test_spring_ai_6441_text_comes_without_empty_lists_of_calls(called):
    """Every chunk of text had `tool_calls: []`, which was taken for a call."""
    deltas = [choice["delta"] for chunk in called for choice in chunk["choices"]]
    assert not [delta for delta in deltas if delta.get("tool_calls", ["absent"]) in ([], None)]


def test_cliproxyapi_796_usage_comes_in_a_chunk_of_its_own_behind_the_finish(called):
    """Beside `finish_reason` it was not read."""
    *_, finish, usage = called
    assert finish["choices"][0]["finish_reason"] == "tool_calls"
    assert not finish.get("usage")
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] > 0


# --- requests of clients that think the model is another one ----------------------------------------------------------


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_get_based_114_dify_33285_either_name_of_the_limit_works(gateway, upstream, field):
    """Clients send the older or the newer name, whatever the model."""
    answer = ask(gateway, user("[[words=50]]"), **{field: 3}).json()
    assert answer["choices"][0]["finish_reason"] == "length"


def test_gpt4free_689_one_model_is_found_with_and_without_v1(gateway, upstream):
    """`GET /models/gpt-4` was an HTML 404."""
    for path in ("/v1/models/auto", "/models/auto"):
        answer = httpx.get(gateway.base_url + path, trust_env=False, timeout=30)
        assert (answer.status_code, answer.json()["id"]) == (200, "auto")


def test_open_webui_developer_messages_are_taken(gateway, upstream):
    answer = ask(gateway, {"role": "developer", "content": "Be brief."}, user("[[say=one]]"))
    assert answer.status_code == 200


def test_gemini_openai_proxy_14_a_page_where_a_picture_should_be_is_named(gateway, upstream):
    """It was a 400 without a word about which field."""
    page = "data:text/html;base64,PHA+SGk8L3A+"
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": page}}]
    error = ask(gateway, user(parts)).json()["error"]
    assert error["param"].startswith("messages[0].content[1]")


def test_ninja_152_the_stream_says_its_role_once_and_first(gateway, upstream):
    text = ask(gateway, stream=True).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    roles = [chunk["choices"][0]["delta"].get("role") for chunk in chunks]
    assert roles == ["assistant"] + [None] * (len(roles) - 1)


def claude(gateway, *messages, **more):
    body = {"model": "auto", "max_tokens": 99, "messages": list(messages), **more}
    return httpx.post(f"{gateway.base_url}/v1/messages", json=body, trust_env=False, timeout=30)


LOOK = {"name": "look", "input_schema": {"type": "object"}}


def test_cli2api_152_edgee_128_tool_references_do_not_lock_a_session(gateway, upstream):
    """Claude Code's search for tools leaves them in the history: every later request was a 400."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "ToolSearch", "input": {"query": "stop"}}
    found = {"type": "tool_reference", "tool_name": "mcp__neon__run_sql"}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [found]}
    asked = [
        user("go"),
        {"role": "assistant", "content": [use]},
        user([result, {"type": "text", "text": "[[say=on]]"}]),
    ]
    assert claude(gateway, *asked, tools=[LOOK]).json()["content"][0]["text"] == "on"
    assert "mcp__neon__run_sql" in json.dumps(history(upstream))


def test_teamclaude_451_tools_that_come_in_the_midst_are_taken(gateway):
    """A connector that is ready later is told by a block of its own type in a message of the system's."""
    added = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "look"}}
    late = {"role": "system", "content": [{"type": "text", "text": "Connected."}, added]}
    answer = claude(gateway, user("go"), late, user("[[say=on]]"), tools=[LOOK])
    assert answer.json()["content"][0]["text"] == "on"


def test_manifest_1897_tools_of_anthropics_own_are_done_without(gateway):
    """Claude Code names `advisor_20260301` in every request: a 400 for all of them."""
    answer = claude(gateway, user("[[say=on]]"), tools=[LOOK, {"type": "advisor_20260301", "name": "advisor"}])
    assert (answer.status_code, answer.headers["x-chat2api-ignored"]) == (200, "tools.advisor")


@pytest.mark.parametrize("effort", ["xhigh", "max"])
def test_cliproxyapi_1059_efforts_of_newer_models_are_taken(gateway, effort):
    assert ask(gateway, reasoning_effort=effort).status_code == 200


def test_oh_my_pi_3201_a_search_in_the_history_is_taken(gateway):
    """`Unknown parameter: 'input[1].action'` for an item that the answer before had."""
    search = {
        "type": "web_search_call",
        "id": "ws_1",
        "status": "completed",
        "action": {"type": "search", "query": "q"},
    }
    body = {"model": "auto", "input": [user("go"), search, user("[[say=on]]")]}
    answer = httpx.post(f"{gateway.base_url}/v1/responses", json=body, trust_env=False, timeout=30)
    assert answer.json()["output"][0]["content"][0]["text"] == "on"


def test_omniroute_13956_cliproxyapi_1681_strict_clients_can_read_each_event(gateway):
    """Clients that know the fields of every event beforehand failed where one was missing."""
    body = {"model": "auto", "input": "[[script=reasoning]] go", "reasoning": {"summary": "auto"}, "stream": True}
    answer = httpx.post(f"{gateway.base_url}/v1/responses", json=body, trust_env=False, timeout=30)
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    events = [json.loads(line) for line in lines]
    for event in events:
        assert "sequence_number" in event
        if "response" in event:
            assert {"model", "usage", "output", "background", "error", "status"} <= event["response"].keys()
    items = [event["item"] for event in events if "item" in event]
    assert {item["type"] for item in items} == {"reasoning", "message"}
    assert all("status" in item for item in items)
    assert events[-1]["response"]["usage"]["total_tokens"] > 0
