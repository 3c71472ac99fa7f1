"""Events as messages, checked by the official SDK's own types, and every stream against a table of what may follow."""

import json
import re

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shim.apis.messages import MESSAGES
from shim.apis.messages.read import MessageOptions
from shim.errors import (
    CredentialError,
    DeadlineError,
    Field,
    LimitError,
    RefusedError,
    RequestError,
    UnavailableError,
    UpstreamError,
)
from shim.protocol.api import AnsweredBy
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
EVENT = TypeAdapter(RawMessageStreamEvent)
THINKING, NO_THINKING = MessageOptions(thinking=True), MessageOptions()
SEARCHING = MessageOptions(thinking=True, search=True)
CALL = Called("call_1", "add", '{"a":1}')

# What may follow what. Within a block only what is its own.
NEXT = {
    None: {"message_start"},
    "message_start": {"ping"},
    "ping": {"content_block_start", "message_delta"},
    "content_block_start": {"content_block_delta", "content_block_stop"},
    "content_block_delta": {"content_block_delta", "content_block_stop"},
    "content_block_stop": {"content_block_start", "message_delta"},
    "message_delta": {"message_stop"},
    "message_stop": set(),
}
DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta"},
    "tool_use": {"input_json_delta"},
    "server_tool_use": {"input_json_delta"},
    "web_search_tool_result": set(),
}


def answer_of(options=NO_THINKING, **names):
    names = {"model": "gpt-4o", "count": lambda transcripts: usage_of(7, transcripts, len), **names}
    return FakeAnswer(**names, api=MESSAGES, options=options)


def events_of(body):
    """(name, data) of every event."""
    *events, rest = body.decode().split("\n\n")
    assert rest == ""
    pairs = [event.split("\n") for event in events]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


def filled(block, said, cited):
    """What a block's deltas have made of it."""
    if block["type"].endswith("tool_use"):
        return {"input": json.loads(said)}
    if block["type"] == "text":
        return {"text": said, "citations": cited or None}
    return {"thinking": said} if block["type"] == "thinking" else {}


def joined(events):
    """The message that a stream comes to, each event being one that the SDK knows and may follow the one before."""
    before, message, parts, cited = None, {}, [], []
    for name, event in events:
        assert name == event["type"]
        assert name in NEXT[before], (before, name)
        if name != "ping":  # which SDKs pass over before they look at it
            assert not EVENT.validate_python(event, strict=True).model_extra
        before = name
        match event:
            case {"type": "message_start"}:
                message = event["message"]
                Message.model_validate(message, strict=True)
                assert (message["content"], message["stop_reason"]) == ([], None)
            case {"type": "content_block_start", "content_block": block}:
                assert event["index"] == len(message["content"])
                message["content"].append(dict(block))
                parts, cited = [], []
            case {"type": "content_block_delta", "delta": delta}:
                block = message["content"][event["index"]]
                assert event["index"] == len(message["content"]) - 1
                assert delta["type"] in DELTAS[block["type"]]
                said = next(value for key, value in delta.items() if key != "type")
                (cited if delta["type"] == "citations_delta" else parts).append(said)
            case {"type": "content_block_stop"}:
                block = message["content"][event["index"]]
                block |= filled(block, "".join(parts), cited)
            case {"type": "message_delta"}:
                message |= event["delta"] | {"usage": event["usage"]}
    assert before == "message_stop"
    return message


def both(events, options=THINKING):
    """The message, which is the same whole and streamed, at once and event by event."""
    streamed, in_pieces, whole = (answer_of(options) for _ in range(3))
    body = streamed.head() + streamed.write(events)
    assert in_pieces.head() + b"".join(in_pieces.write([event]) for event in events) == body
    whole.add(events)
    message = json.loads(whole.whole())
    assert not Message.model_validate(message, strict=True).model_extra
    assert joined(events_of(body)) == message
    return message


def blocks(*events, options=THINKING):
    """(kind, what it says) of each block of an answer."""
    told = both([STARTED, *events, DONE], options)["content"]
    return [(block["type"], block.get("text") or block.get("thinking") or block["input"]) for block in told]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([], []),
        ([TextDelta("Hel", opens=True), TextDelta(""), TextDelta("lo\u2028")], [("text", "Hello\u2028")]),
        ([TextDelta("see "), Citation("[1](u)")], [("text", "see [1](u)")]),
        ([ReasoningDelta("hm", opens=True), TextDelta("ok")], [("thinking", "hm"), ("text", "ok")]),
        (
            [ReasoningDelta("a", opens=True), ReasoningDelta("b", opens=True), TextDelta("c")],
            [("thinking", "a\n\nb"), ("text", "c")],
        ),
        (
            [
                TextDelta("a"),
                ReasoningDelta("b", opens=True),
                ReasoningDelta(""),
                TextDelta("c"),
                ReasoningDelta("\n\nd"),
            ],
            [("text", "a"), ("thinking", "b"), ("text", "c"), ("thinking", "d")],
        ),
        ([TextDelta("Wait."), CALL, CALL], [("text", "Wait."), ("tool_use", {"a": 1}), ("tool_use", {"a": 1})]),
        ([ReasoningDelta("hm"), CALL], [("thinking", "hm"), ("tool_use", {"a": 1})]),
    ],
)
def test_blocks_come_in_the_order_of_what_was_said(events, told):
    assert blocks(*events) == told


def test_thinking_that_nobody_asked_for_is_left_out():
    said = [TextDelta("a"), ReasoningDelta("hm", opens=True), TextDelta("b")]
    assert blocks(*said, options=NO_THINKING) == [("text", "ab")]


PAGE, OTHER = Link("A page", "https://a.test/"), Link("B", "https://b.test/")
SEARCH = Searched("a fox", (PAGE, OTHER))


def test_a_search_and_what_it_found_are_blocks_where_its_tool_was_named():
    said = [SEARCH, TextDelta("A "), Citation("[fox](u)", (PAGE,)), TextDelta("."), Searched("more"), TextDelta("B")]
    message = both([STARTED, *said, DONE], SEARCHING)
    use, found, text, *_ = message["content"]
    kinds = ["server_tool_use", "web_search_tool_result", "text"]
    assert [block["type"] for block in message["content"]] == kinds * 2
    assert (use["name"], use["input"]) == ("web_search", {"query": "a fox"})
    assert [(page["title"], page["url"]) for page in found["content"]] == [("A page", PAGE.url), ("B", OTHER.url)]
    assert found["tool_use_id"] == use["id"]
    assert re.fullmatch("srvtoolu_[a-zA-Z0-9_]+", use["id"])
    assert (text["text"], [one["url"] for one in text["citations"]]) == ("A [fox](u).", [PAGE.url])
    assert message["content"][5]["citations"] is None
    assert message["content"][4]["content"] == []
    assert message["usage"]["server_tool_use"]["web_search_requests"] == 2
    bare = both([STARTED, *said, DONE], NO_THINKING)
    assert [block["type"] for block in bare["content"]] == ["text"]
    assert "server_tool_use" not in bare["usage"]


def _piece(kind, text, opens):
    if kind is Citation:
        return Citation(text, (PAGE,))
    if kind is Searched:
        return SEARCH
    return Picture(FileRef(file_id="f")) if kind is Picture else kind(text, opens=opens)


PIECES = st.sampled_from((TextDelta, ReasoningDelta, Citation, Searched, Picture))


@given(st.lists(st.tuples(PIECES, st.text("a\n", max_size=3), st.booleans()), max_size=9), st.booleans(), st.booleans())
def test_streamed_equals_whole(pieces, thinking, search):
    events = [_piece(*piece) for piece in pieces]
    message = both([STARTED, *events, DONE], MessageOptions(thinking, search))
    said = "".join(block["text"] for block in message["content"] if block["type"] == "text")
    assert said == "".join(text for kind, text, _ in pieces if kind in {TextDelta, Citation})


def test_a_call_has_an_id_of_this_api():
    (call,) = both([STARTED, CALL, Finished("tool_calls")])["content"]
    assert (call["id"], call["name"]) == ("toolu_1", "add")


@pytest.mark.parametrize(
    ("end", "reason", "stop"),
    [
        (Finished("stop"), "end_turn", None),
        (Finished("stop", "END"), "stop_sequence", "END"),
        (Finished("length"), "max_tokens", None),
        (Finished("tool_calls"), "tool_use", None),
        (Finished("content_filter"), "refusal", None),
    ],
)
def test_why_it_ended(end, reason, stop):
    message = both([STARTED, TextDelta("a"), end])
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, stop)


def test_usage_is_told_at_both_ends():
    answer = answer_of()
    events = dict(events_of(answer.head() + answer.write([STARTED, ReasoningDelta("hm"), TextDelta("four"), DONE])))
    assert events["message_start"]["message"]["usage"]["input_tokens"] == 7
    usage = events["message_delta"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (7, 6)


def test_an_answer_that_breaks_off_ends_with_its_error():
    answer = answer_of()
    *_, last = events_of(answer.head() + answer.write([STARTED, TextDelta("a"), Failed(UpstreamError("Cut"))]))
    assert last == ("error", {"type": "error", "error": {"type": "api_error", "message": "Cut"}, "request_id": None})


def test_an_answer_that_never_began_is_its_error_alone():
    ((name, told),) = events_of(MESSAGES.break_off(UpstreamError("Cut")))
    assert (name, told["error"]["message"]) == ("error", "Cut")


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (RequestError("Bad.", param="tools[0].name"), "invalid_request_error", "tools[0].name: Bad."),
        (RequestError("'n' is bad.", param="n"), "invalid_request_error", "'n' is bad."),
        (RequestError("None.", status=404, param=Field.MODEL), "not_found_error", "model: None."),
        (CredentialError("Who?"), "authentication_error", "Who?"),
        (RefusedError("No."), "permission_error", "No."),
        (LimitError("Wait."), "rate_limit_error", "Wait."),
        (UpstreamError("Broke."), "api_error", "Broke."),
        (UpstreamError("Full.", code="server_is_overloaded"), "overloaded_error", "Full."),
        (DeadlineError("Late."), "timeout_error", "Late."),
        (UnavailableError("Away."), "overloaded_error", "Away."),
    ],
)
def test_errors_have_their_types_by_status(error, kind, message):
    headers, body = MESSAGES.refuse(error)
    told = ErrorResponse.model_validate_json(body, strict=True)
    assert (told.error.type, told.error.message) == (kind, message)
    assert headers["content-type"] == "application/json"


def test_a_body_that_is_too_large_has_a_type_of_its_own():
    _, body = MESSAGES.refuse(RequestError("Large.", status=413))
    assert json.loads(body)["error"]["type"] == "request_too_large"


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({"x-api-key": "k"}, "k"),
        ({"authorization": "Bearer t"}, "Bearer t"),
        ({"x-api-key": "", "authorization": "Bearer t"}, "Bearer t"),
        ({}, None),
    ],
)
def test_who_calls(headers, credential):
    assert MESSAGES.credential(headers) == credential


def test_who_really_answered_is_told_with_the_end():
    answer = answer_of(answered_by=AnsweredBy("gpt-5-6-thinking", "max", None, None))
    told = {"slug": "gpt-5-6-thinking", "effort": "max"}
    events = events_of(answer.head() + answer.write([STARTED, TextDelta("Hi"), DONE]))
    assert {name: data["chatgpt"] for name, data in events if "chatgpt" in data} == {"message_delta": told}
    assert json.loads(answer.whole())["chatgpt"] == told
