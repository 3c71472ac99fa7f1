"""`/v1/responses` through the real gateway: tools, thinking, searches, and failures in the API's own way."""

import json

import pytest
from openai.types.responses import InputTokenCountResponse, Response

PATH = "/v1/responses"
COUNT = f"{PATH}/input_tokens"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'


@pytest.fixture
def ask(gateway):
    def run(input, *, path=PATH, headers=None, **more):
        return gateway.post(path, {"model": "auto", "input": input, **more}, **(headers or {}))

    return run


def response_of(answer):
    assert answer.status_code == 200, answer.text
    return Response.model_validate(answer.json())


def events_of(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(event.split("data: ", 1)[1]) for event in answer.text.split("\n\n") if "data: " in event]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def sent_of(upstream):
    return upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]


@pytest.mark.parametrize("path", [PATH, "/responses", "/v1/v1/responses"])
def test_the_whole_answer(ask, path):
    response = response_of(ask("[[say=one two]]", path=path, metadata={"a": "b"}, instructions="Be brief."))
    assert (response.output_text, response.status, response.model) == ("one two", "completed", "auto")
    assert (response.metadata, response.instructions) == ({"a": "b"}, "Be brief.")
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 5


def test_the_stream_ends_with_the_whole(ask):
    events = events_of(ask("[[say=one two]]", stream=True))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert said == Response.model_validate(events[-1]["response"]).output_text == "one two"


def test_a_tool_is_called_and_its_result_sent_back(ask, upstream):
    upstream.post("/standin/plan", {"directives": {"say": f"Let me look.\n\n{CALL}"}})
    asked = {"role": "user", "content": "How warm is Oslo?"}
    first = ask([asked], tools=[TOOL])
    words, call = response_of(first).output
    assert (words.content[0].text, call.name, call.arguments) == ("Let me look.", "get_weather", '{"city":"Oslo"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "20 degrees"}
    upstream.post("/standin/plan", {"directives": {"say": "It is warm."}})
    last = response_of(ask([asked, *first.json()["output"], result], tools=[TOOL]))
    assert last.output_text == "It is warm."
    sent = sent_of(upstream)["messages"][-1]
    assert sent["author"]["role"] == "tool"
    assert "20 degrees" in json.dumps(sent)


def test_a_custom_tool_is_given_its_input(ask, upstream):
    written = '<tool_call>\n{"name": "patch", "arguments": {"input": "*** Begin"}}\n</tool_call>'
    upstream.post("/standin/plan", {"directives": {"say": written}})
    events = events_of(ask("Patch it", tools=[{"type": "custom", "name": "patch"}], stream=True))
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", "*** Begin")


def test_json_that_fits_is_all_there_is(ask, upstream):
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object", "required": ["a"]}}
    upstream.post("/standin/plan", {"directives": {"say": '```json\n{"a": 1}\n```'}})
    assert json.loads(response_of(ask("JSON", text={"format": form})).output_text) == {"a": 1}


def test_a_limit_leaves_it_incomplete(ask):
    response = response_of(ask("[[say=one two three four five]]", max_output_tokens=2))
    assert (response.output_text, response.status) == ("one two", "incomplete")
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_moderated_answer_is_incomplete(ask):
    response = response_of(ask("[[script=moderation_blocked]] hi"))
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "content_filter")


def test_thinking_is_summed_up_where_that_is_asked_for(ask):
    asked = "[[script=reasoning seed=7]] Think"
    response = response_of(ask(asked, reasoning={"summary": "auto"}))
    assert [item.type for item in response.output] == ["reasoning", "message"]
    events = events_of(ask(asked, reasoning={"summary": "auto"}, stream=True))
    thought = "".join(event["delta"] for event in events if event["type"].endswith("summary_text.delta"))
    assert thought == response.output[0].summary[0].text
    assert [item.type for item in response_of(ask(asked)).output] == ["message"]


def test_citations_are_annotations(ask):
    events = events_of(ask("[[script=citations seed=7]] Cite", stream=True))
    search, item = events[-1]["response"]["output"]
    assert (search["type"], search["action"]) == ("web_search_call", {"type": "search", "query": "standin"})
    told = [event["annotation"] for event in events if event["type"].endswith("annotation.added")]
    assert told == item["content"][0]["annotations"]
    assert told


def test_a_picture_is_an_item_with_its_bytes(ask, make_account):
    headers = {"authorization": f"Bearer {make_account('painter', plan='plus')}"}
    tools = [{"type": "image_generation"}]
    asked = "[[script=image_gen seed=7]] Draw a fox"
    kept = {"chatgpt": {"temporary": False}}
    response = response_of(ask(asked, headers=headers, tools=tools, tool_choice={"type": "image_generation"}, **kept))
    (picture,) = [item for item in response.output if item.type == "image_generation_call"]
    assert (picture.status, picture.result[:8]) == ("completed", "iVBORw0K")
    events = events_of(ask(asked, headers=headers, tools=tools, stream=True, **kept))
    names = [event["type"] for event in events if "image_generation_call" in event["type"]]
    assert names == [f"response.image_generation_call.{name}" for name in ("in_progress", "generating", "completed")]
    linked = response_of(ask(asked, headers=headers, **kept))
    assert "](http" in linked.output_text


@pytest.mark.parametrize("way", ["as it came", "by its id"])
def test_a_picture_that_was_made_can_be_spoken_of(ask, upstream, make_account, way):
    headers = {"authorization": f"Bearer {make_account('painter', plan='plus')}"}
    tools = [{"type": "image_generation"}]
    asked = {"role": "user", "content": "[[script=image_gen seed=7]] Draw a fox"}
    made = ask([asked], headers=headers, tools=tools, chatgpt={"temporary": False}).json()
    (picture,) = [item for item in made["output"] if item["type"] == "image_generation_call"]
    sent_back = picture if way == "as it came" else {"type": picture["type"], "id": picture["id"]}
    more = {"role": "user", "content": "[[say=fine]] Now in blue"}
    answer = ask([asked, sent_back, more], headers=headers, tools=tools)
    assert response_of(answer).output_text == "fine"
    shown = [one for one in sent_of(upstream)["messages"] if one["content"]["content_type"] == "multimodal_text"]
    assert ["image_asset_pointer" in json.dumps(one["content"]["parts"]) for one in shown] == [True]


@pytest.mark.parametrize(("choice", "hints"), [("auto", None), ({"type": "web_search_preview"}, ["search"])])
def test_a_search_is_chatgpts_own_and_made_where_it_has_to_be(ask, upstream, choice, hints):
    response_of(ask("[[say=hi]]", tools=[{"type": "web_search"}], tool_choice=choice))
    assert sent_of(upstream).get("system_hints") == hints


def test_what_has_no_effect_is_said(ask):
    answer = ask("[[say=hi]]", temperature=0.2, text={"verbosity": "low"}, tools=[{"type": "local_shell"}])
    assert answer.headers["x-chat2api-ignored"] == "temperature, tools.local_shell, text.verbosity"


@pytest.mark.parametrize(
    ("prompt", "status", "kind"),
    [
        ("[[status=429 clears_in=77]] hi", 429, "rate_limit_error"),
        ("[[failure=sentinel]] hi", 403, "upstream_error"),
        ("[[script=empty]] hi", 502, "upstream_error"),
        ([], 400, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_a_status(ask, prompt, status, kind, stream):
    answer = ask(prompt, stream=stream)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert ("retry-after" in answer.headers) == (status == 429)


def test_a_failure_within_the_stream_is_its_last_event(ask):
    *_, last = events_of(ask("[[script=error]] hi", stream=True))
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == "server_error"


def test_tokens_are_counted_as_usage_counts_them(ask, upstream):
    more = {"instructions": "Be brief.", "tools": [TOOL]}
    counted = InputTokenCountResponse.model_validate(ask("[[say=hi]]", path=COUNT, **more).json(), strict=True)
    assert upstream.get("/standin/stats").json()["recent_turns"] == []
    assert response_of(ask("[[say=hi]]", **more)).usage.input_tokens == counted.input_tokens > 20
    assert ask([], path=COUNT).status_code == 400
