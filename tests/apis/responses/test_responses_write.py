"""Events as responses, checked by the official SDK's own types, and every stream against a table of what may follow."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from shim.apis.responses import RESPONSES
from shim.apis.responses.read import ResponseOptions
from shim.apis.responses.tools import ToolNames
from shim.apis.responses.write import place_of_item
from shim.errors import Field, LimitError, RequestError, UpstreamError
from shim.protocol.counting.usage import usage_of
from shim.protocol.events import (
    Called,
    Citation,
    Failed,
    FileRef,
    Finished,
    Link,
    Picture,
    ReasoningDelta,
    Searched,
    Started,
    TextDelta,
)
from tests.answering import FakeAnswer

STARTED = Started("c1", "a1", "gpt-4o")
DONE = Finished("stop")
EVENT = TypeAdapter(ResponseStreamEvent)
THINKING = ResponseOptions(thinking=True)
CALL = Called("call_1", "add", '{"a":1}')
ID = "0123456789abcdef" * 2

# What may follow what, the names without "response.".
ITEM = "output_item.added"
ENDS = {"completed", "incomplete", "failed"}
NEXT = {
    None: {"created"},
    "created": {"in_progress"},
    "in_progress": {ITEM, *ENDS},
    ITEM: {
        "content_part.added",
        "reasoning_summary_part.added",
        "function_call_arguments.delta",
        "custom_tool_call_input.delta",
        "image_generation_call.in_progress",
        "web_search_call.in_progress",
    },
    "content_part.added": {"output_text.delta"},
    "output_text.delta": {"output_text.delta", "output_text.annotation.added", "output_text.done", "failed"},
    "output_text.annotation.added": {"output_text.annotation.added", "output_text.delta", "output_text.done", "failed"},
    "output_text.done": {"content_part.done"},
    "content_part.done": {"output_item.done"},
    "reasoning_summary_part.added": {"reasoning_summary_text.delta"},
    "reasoning_summary_text.delta": {"reasoning_summary_text.delta", "reasoning_summary_text.done", "failed"},
    "reasoning_summary_text.done": {"reasoning_summary_part.done"},
    "reasoning_summary_part.done": {"output_item.done"},
    "function_call_arguments.delta": {"function_call_arguments.done"},
    "function_call_arguments.done": {"output_item.done"},
    "custom_tool_call_input.delta": {"custom_tool_call_input.done"},
    "custom_tool_call_input.done": {"output_item.done"},
    "image_generation_call.in_progress": {"image_generation_call.generating"},
    "image_generation_call.generating": {"image_generation_call.completed"},
    "image_generation_call.completed": {"output_item.done"},
    "web_search_call.in_progress": {"web_search_call.searching"},
    "web_search_call.searching": {"web_search_call.completed"},
    "web_search_call.completed": {"output_item.done"},
    "output_item.done": {ITEM, *ENDS},
    **{end: set() for end in ENDS},
}

# The events that tell all that the deltas before them said, and in which field.
WHOLE = {
    "output_text.done": "text",
    "reasoning_summary_text.done": "text",
    "function_call_arguments.done": "arguments",
    "custom_tool_call_input.done": "input",
}


def answer_of(options=THINKING, **names):
    names = {"model": "gpt-4o", "count": lambda transcripts: usage_of(7, transcripts, len), **names}
    return FakeAnswer(**names, id=ID, api=RESPONSES, options=options)


def events_of(body):
    """(name, data) of every event."""
    *events, rest = body.decode().split("\n\n")
    assert rest == ""
    pairs = [event.split("\n") for event in events]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def strict(kind, value):
    """The value as the SDK's type has it, with nothing that it does not know but our extension."""
    checked = kind.validate_python(value) if isinstance(kind, TypeAdapter) else kind.model_validate(value)
    assert set(checked.model_extra or ()) <= {"chatgpt", "store"}
    return checked


def joined(events):
    """The output that a stream adds up to, each event being one that the SDK knows and may follow the one before."""
    before, items, said = None, [], ""
    for number, (name, event) in enumerate(events):
        strict(EVENT, event)
        kind = name.removeprefix("response.")
        assert (name, event["sequence_number"]) == (event["type"], number)
        assert kind in NEXT[before], (before, kind)
        before = kind
        if "output_index" in event:
            assert event["output_index"] == len(items) - (kind != ITEM)
            assert event.get("item_id", None) in {None, items[-1]["id"] if items else None}
        if kind == ITEM:
            assert event["item"]["status"] == "in_progress"  # some clients can't read an item without it
            items.append(dict(event["item"]))
            said = ""
        said += event.get("delta", "")
        if kind in WHOLE:
            assert event[WHOLE[kind]] == said
        if kind == "output_text.annotation.added":
            items[-1].setdefault("annotations", []).append(event["annotation"])
        if kind == "output_item.done":
            parts = event["item"].get("content") or [{"annotations": []}]
            assert parts[0]["annotations"] == items[-1].get("annotations", [])
            assert event["item"]["status"] != "in_progress"
            items[-1] = event["item"]
    assert before in ENDS
    return items


def both(events, options=THINKING):
    """The response, which is the same whole and streamed, at once and event by event."""
    streamed, in_pieces, whole = (answer_of(options) for _ in range(3))
    body = streamed.head() + streamed.write(events)
    assert in_pieces.head() + b"".join(in_pieces.write([event]) for event in events) == body
    whole.add(events)
    response = json.loads(whole.whole())
    strict(Response, response)
    told = events_of(body)
    assert joined(told) == response["output"]
    assert told[-1][1]["response"] == response
    assert told[-1][0] == f"response.{response['status']}"
    return response


def output(*events, options=THINKING):
    return both([STARTED, *events, DONE], options)["output"]


def test_words_are_one_message():
    (item,) = output(TextDelta("Hel", opens=True), TextDelta("lo"))
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "completed")
    assert item["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]


def test_thinking_is_an_item_of_its_own_where_it_is_asked_for():
    events = (
        ReasoningDelta("First.", opens=True),
        ReasoningDelta("Then.", opens=True),
        TextDelta("One"),
        ReasoningDelta("\n\nHm.", opens=True),
        TextDelta("two"),
    )
    assert [item["type"] for item in output(*events)] == ["reasoning", "message", "reasoning", "message"]
    assert output(*events)[0]["summary"] == [{"type": "summary_text", "text": "First.\n\nThen."}]
    (item,) = output(*events, options=ResponseOptions())
    assert item["content"][0]["text"] == "Onetwo"


def test_citations_are_counted_within_their_message():
    page = Link("A", "https://a.test")
    events = (
        TextDelta("One"),
        Citation(" [A]", (page,)),
        Citation("", (page,)),
        ReasoningDelta("Hm.", opens=True),
        Citation("(A)", (page, page)),
        TextDelta("."),
    )
    first, _, second = output(*events)
    cited = {"type": "url_citation", "title": "A", "url": "https://a.test"}
    assert first["content"][0]["annotations"] == [cited | {"start_index": 3, "end_index": 7}]
    assert second["content"][0]["annotations"] == [cited | {"start_index": 0, "end_index": 3}] * 2


def test_calls_come_last_as_what_the_client_knows_them_by():
    names = ToolNames(frozenset({"patch", "mcp.write"}), {"mcp.read": ("mcp", "read"), "mcp.write": ("mcp", "write")})
    calls = [
        CALL,
        Called("call_2", "patch", '{"input":"*** \\u2028"}'),
        Called("call_3", "mcp.read", "{}"),
        Called("call_4", "mcp.write", '{"input":"x"}'),
    ]
    _, add, patch, read, write = output(TextDelta("Look."), *calls, options=ResponseOptions(names=names))
    assert (add["type"], add["call_id"], add["name"], add["arguments"]) == ("function_call", "call_1", "add", '{"a":1}')
    assert (patch["type"], patch["name"], patch["input"]) == ("custom_tool_call", "patch", "*** \u2028")
    assert (read["namespace"], read["name"]) == ("mcp", "read")
    assert (write["namespace"], write["name"], write["input"]) == ("mcp", "write", "x")


def test_pictures_are_items_with_their_bytes_where_these_could_be_had(monkeypatch):
    monkeypatch.setattr(FakeAnswer, "link", lambda _self, file, _choice: f"data:image/png;base64,{file.file_id}")
    picture = Picture(FileRef(file_id="QQ=="))
    first, _, third = output(TextDelta("Look"), picture, TextDelta("there"))
    assert (first["content"][0]["text"], third["content"][0]["text"]) == ("Look", "there")
    (item,) = output(picture)
    assert (item["type"], item["result"], item["status"]) == ("image_generation_call", "QQ==", "completed")
    monkeypatch.setattr(FakeAnswer, "link", lambda *_: "http://gateway.test/files/x")
    (item,) = output(picture)
    assert (item["result"], item["status"]) == (None, "failed")


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_it_ended_is_its_status(reason, status, details):
    response = both([STARTED, TextDelta("One"), Finished(reason)])
    assert (response["status"], response["incomplete_details"]) == (status, details)
    assert response["output"][0]["status"] == status
    assert response["usage"]["output_tokens"] == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("It broke."), "server_error"),
        (LimitError("Too many."), "rate_limit_exceeded"),
        (RequestError("Not so."), "invalid_prompt"),
    ],
)
@pytest.mark.parametrize("said", [[], [TextDelta("One")], [ReasoningDelta("Hm", opens=True)]])
def test_a_failure_within_the_stream_ends_it(error, code, said):
    answer = answer_of()
    events = events_of(answer.head() + answer.write([STARTED, *said, Failed(error)]))
    joined(events)
    failed = events[-1][1]["response"]
    assert (failed["status"], failed["error"]) == ("failed", {"code": code, "message": error.message})
    assert len(failed["output"]) == len(said)


def test_a_prompt_that_is_too_long_is_told_as_codex_knows_it():
    """Its code is none of those that are published, so the libraries' strict types do not have it."""
    answer = answer_of()
    error = RequestError("The prompt is too long", code="context_length_exceeded", param=Field.PROMPT)
    events = events_of(answer.head() + answer.write([STARTED, Failed(error)]))
    assert events[-1][1]["response"]["error"] == {"code": error.code, "message": error.message}


def test_a_failure_before_there_is_a_response_is_an_error_event():
    error = RequestError("No such model", code="model_not_found", param=Field.MODEL)
    for body in (answer_of().write([Failed(error)]), RESPONSES.break_off(error)):
        ((name, event),) = events_of(body)
        strict(EVENT, event)
        assert (name, event["sequence_number"]) == ("error", 0)
        assert (event["message"], event["code"], event["param"]) == ("No such model", "model_not_found", "model")


def test_refusals_have_openais_envelope():
    headers, body = RESPONSES.refuse(RequestError("No.", param=Field.PROMPT))
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["error"]["param"] == "input"


def test_the_name_of_an_item_says_where_it_belongs():
    first, second = output(ReasoningDelta("Hm", opens=True), TextDelta("x"))
    assert place_of_item(first["id"]) == (f"resp_{ID}", 0)
    assert place_of_item(second["id"]) == (f"resp_{ID}", 1)
    assert [place_of_item(name) for name in ("", "msg_1", f"msg_{ID}", f"msg_{ID}zzzz")] == [None] * 4


PAGE = Link("A", "https://a.test")
EVENTS = st.one_of(
    st.builds(TextDelta, st.text(max_size=4), opens=st.booleans()),
    st.builds(ReasoningDelta, st.text(max_size=4), opens=st.booleans()),
    st.builds(Citation, st.text(max_size=4), st.lists(st.just(PAGE), max_size=2).map(tuple)),
    st.just(Picture(FileRef(file_id="f"))),
    st.builds(Searched, st.text(max_size=4)),
)


@given(st.lists(EVENTS, max_size=12), st.lists(st.just(CALL), max_size=2), st.booleans())
def test_whatever_happens_streamed_is_whole(events, calls, thinking):
    both([STARTED, *events, *calls, DONE], ResponseOptions(thinking=thinking))
