"""Events on the wire: chunks and completions, checked by the official SDK's own types."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from shim.apis.chat.read import ChatOptions
from shim.apis.openai_errors import ErrorEnvelope, envelope
from shim.errors import GatewayError, LimitError, RefusedError, UpstreamError
from shim.protocol.api import AnswerPlace
from shim.protocol.counting.usage import Usage, usage_of
from shim.protocol.events import (
    Called,
    Citation,
    CodeDelta,
    Event,
    Failed,
    Finished,
    Link,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolOutput,
)
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.transcript import Transcript
from tests.answering import FakeAnswer

STARTED = Started("c1", "a1", "gpt-4o")
FINISHED = Finished("stop")
# What the SDK does not know and clients read anyway (the Vercel AI SDK and others).
KNOWN_EXTRAS = {"reasoning_content", "annotations"}


def count(transcripts: Sequence[Transcript]) -> Usage:
    return usage_of(7, transcripts, len)


def answer_of(*, include_usage: bool = False, **names: Any) -> FakeAnswer:
    names = {"model": "gpt-4o", "count": count, **names}
    return FakeAnswer(**names, options=ChatOptions(include_usage=include_usage))


def streamed(*events: Event, include_usage: bool = False, **names: Any) -> list[Any]:
    """The data lines of a streamed answer, decoded; `[DONE]` as it is. Event by event they are the same."""
    at_once, one_by_one = (answer_of(include_usage=include_usage, **names) for _ in range(2))
    body = at_once.head() + at_once.write(events)
    assert one_by_one.head() + b"".join(one_by_one.write([event]) for event in events) == body
    return parsed(body)


def parsed(body: bytes) -> list[Any]:
    assert body.endswith(b"\n\n")
    lines = body[:-2].split(b"\n\n")
    assert all(line.startswith(b"data: ") and b"\n" not in line and b"\r" not in line for line in lines)
    return [line[6:].decode() if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]


def whole(*events: Event, **names: Any) -> Any:
    answer = answer_of(**names)
    answer.add(events)
    return json.loads(answer.whole())


def assert_known(model: BaseModel) -> None:
    """No field that the SDK's type has not declared, all the way down."""
    assert set(model.model_extra or {}) <= KNOWN_EXTRAS
    for value in dict(model).values():
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, BaseModel):
                assert_known(inner)


def check_stream(lines: list[Any], *, include_usage: bool = False) -> None:
    """The order of a good stream: role, text, one finish reason, usage where asked for, [DONE]."""
    assert lines[-1] == "[DONE]"
    assert lines.count("[DONE]") == 1
    chunks = lines[:-1]
    for chunk in chunks:
        assert_known(ChatCompletionChunk.model_validate_json(json.dumps(chunk), strict=True))
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    if include_usage:
        usage = chunks.pop()
        assert usage["choices"] == []
        assert usage["usage"]["total_tokens"] == usage["usage"]["prompt_tokens"] + usage["usage"]["completion_tokens"]
    assert all(chunk.get("usage", "absent") == (None if include_usage else "absent") for chunk in chunks)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert len(choices) == len(chunks)
    assert [choice["delta"].get("role") for choice in choices] == ["assistant"] + [None] * (len(choices) - 1)
    assert choices[0]["delta"]["content"] == ""
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] in {"stop", "length", "content_filter", "tool_calls"}
    assert choices[-1]["delta"] == {}
    assert all(choice["index"] == 0 for choice in choices)


def said(lines: list[Any], field: str = "content") -> str:
    """What a client that joins one field of all deltas has at the end."""
    return "".join(
        choice["delta"].get(field) or "" for line in lines if "choices" in line for choice in line["choices"]
    )


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_stream_as_it_is_on_the_wire(include_usage: bool) -> None:
    lines = streamed(STARTED, TextDelta("Hel", opens=True), TextDelta("lo"), FINISHED, include_usage=include_usage)
    check_stream(lines, include_usage=include_usage)
    assert lines[0] == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o",
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "refusal": None},
                "logprobs": None,
                "finish_reason": None,
            }
        ],
    } | ({"usage": None} if include_usage else {})
    assert [line["choices"][0]["delta"] for line in lines[1:4]] == [{"content": "Hel"}, {"content": "lo"}, {}]
    assert lines[3]["choices"][0]["finish_reason"] == "stop"
    assert len(lines) == (6 if include_usage else 5)


def test_usage_counts_text_and_reasoning() -> None:
    lines = streamed(STARTED, ReasoningDelta("hmm"), TextDelta("four"), FINISHED, include_usage=True)
    usage = lines[-2]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 7, 14)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 3


def test_usage_is_not_counted_unless_asked_for() -> None:
    def refuse(transcripts: Sequence[Transcript]) -> Usage:
        raise AssertionError

    assert answer_of(count=refuse).write([TextDelta("a"), FINISHED])


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_the_finish_reason_is_passed_on(reason: str) -> None:
    lines = streamed(STARTED, TextDelta("a"), Finished(reason))
    check_stream(lines)
    assert lines[-2]["choices"][0]["finish_reason"] == reason
    assert whole(STARTED, TextDelta("a"), Finished(reason))["choices"][0]["finish_reason"] == reason


def test_what_arrives_together_is_sent_together_but_each_in_its_own_chunk() -> None:
    body = answer_of().write([TextDelta("a"), TextDelta("b")])
    assert [line["choices"][0]["delta"]["content"] for line in parsed(body)] == ["a", "b"]


def test_events_that_say_nothing_send_nothing() -> None:
    assert answer_of().write([STARTED]) == b""
    assert answer_of().write([]) == b""


def test_reasoning_has_its_own_field() -> None:
    lines = streamed(
        STARTED, ReasoningDelta("hm", opens=True), ReasoningDelta("m"), ReasoningDelta("ah", opens=True),
        TextDelta("42", opens=True), FINISHED,
    )  # fmt: skip
    check_stream(lines)
    assert said(lines, "reasoning_content") == "hmm\n\nah"
    assert said(lines) == "42"
    assert all(len(line["choices"][0]["delta"]) == 1 for line in lines[1:-2])


CALLS = (Called("call_1", "add", '{"a":1}'), Called("call_2", "sub", "{}"))


def test_calls_as_the_real_api_streams_them() -> None:
    lines = streamed(STARTED, TextDelta("Let me see."), *CALLS, Finished("tool_calls"), include_usage=True)
    check_stream(lines, include_usage=True)
    deltas = [line["choices"][0]["delta"] for line in lines[2:6]]
    assert deltas == [
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]},
        {
            "tool_calls": [
                {"index": 1, "id": "call_2", "type": "function", "function": {"name": "sub", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]
    assert lines[-2]["usage"]["completion_tokens"] > len("Let me see.")


def test_calls_in_a_completion() -> None:
    completion = whole(STARTED, *CALLS, Finished("tool_calls"))
    assert_known(ChatCompletion.model_validate_json(json.dumps(completion), strict=True))
    message = completion["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["add", "sub"]
    assert {call["type"] for call in message["tool_calls"]} == {"function"}


CITED = (
    STARTED,
    TextDelta("é🎉 says"),
    Citation(" ([x](https://x.test))", (Link("X", "https://x.test"), Link("Y", "https://y.test"))),
    TextDelta("."),
    FINISHED,
)


def test_citations_say_where_they_stand() -> None:
    completion = whole(*CITED)
    assert_known(ChatCompletion.model_validate_json(json.dumps(completion), strict=True))
    message = completion["choices"][0]["message"]
    assert message["content"] == "é🎉 says ([x](https://x.test))."
    cited = [annotation["url_citation"] for annotation in message["annotations"]]
    assert [message["content"][one["start_index"] : one["end_index"]] for one in cited] == [
        " ([x](https://x.test))"
    ] * 2
    assert [(one["title"], one["url"]) for one in cited] == [("X", "https://x.test"), ("Y", "https://y.test")]


def test_citations_come_last_in_a_stream() -> None:
    lines = streamed(*CITED)
    check_stream(lines)
    assert said(lines) == "é🎉 says ([x](https://x.test))."
    assert lines[-3]["choices"][0]["delta"] == {"annotations": whole(*CITED)["choices"][0]["message"]["annotations"]}


# --- several choices --------------------------------------------------------------------------------------------------


def test_choices_share_a_stream_and_one_usage() -> None:
    answer = answer_of(include_usage=True, choices=2)
    body = answer.head() + answer.write([TextDelta("b")], 1) + answer.write([TextDelta("a"), FINISHED], 0)
    assert b"[DONE]" not in body
    lines = parsed(body + answer.write([TextDelta("c"), Finished("length")], 1))
    assert lines[-1] == "[DONE]"
    assert lines[-2]["choices"] == []
    assert lines[-2]["usage"]["completion_tokens"] == 3
    told = [line["choices"][0] for line in lines[:-2]]
    for index, text, reason in ((0, "a", "stop"), (1, "bc", "length")):
        mine = [choice for choice in told if choice["index"] == index]
        assert mine[0]["delta"]["role"] == "assistant"
        assert "".join(choice["delta"].get("content", "") for choice in mine) == text
        assert [choice["finish_reason"] for choice in mine if choice["finish_reason"]] == [reason]


def test_the_stream_ends_with_the_last_end_that_is_written() -> None:
    """Another choice may have come to its end, and have its last bytes still to be written."""
    answer = answer_of(choices=2)
    answer.add([TextDelta("b"), FINISHED], 1)
    first = answer.write([TextDelta("a"), FINISHED], 0)
    last = answer.writer.receive([TextDelta("b"), FINISHED], 1)
    assert b"[DONE]" not in first
    assert last.endswith(b"data: [DONE]\n\n")


def test_choices_of_a_completion() -> None:
    answer = answer_of(choices=2, place=AnswerPlace("c.a", "m"))
    answer.add([TextDelta("a"), FINISHED], 0)
    answer.add([TextDelta("b"), Finished("length")], 1)
    body = json.loads(answer.whole())
    told = [(one["index"], one["message"]["content"], one["finish_reason"]) for one in body["choices"]]
    assert told == [(0, "a", "stop"), (1, "b", "length")]
    assert body["usage"]["completion_tokens"] == 2
    assert not {"conversation_id", "message_id"} & body.keys(), "several choices are no one place to continue"


def test_where_an_answer_stands_is_told_with_its_end() -> None:
    place = AnswerPlace("c.a", "m")
    ids = {"conversation_id": "c.a", "message_id": "m"}
    *chunks, end, _ = streamed(STARTED, TextDelta("a"), FINISHED, place=place)
    assert {name: end[name] for name in ids} == ids
    assert not any(ids.keys() & chunk.keys() for chunk in chunks)
    completion = whole(STARTED, TextDelta("a"), FINISHED, place=place)
    assert {name: completion[name] for name in ids} == ids
    assert not ids.keys() & whole(STARTED, TextDelta("a"), FINISHED).keys()


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError("Upstream's answer was cut off before its end", code="upstream_cut"),
        LimitError("slow down", retry_after=60),
        RefusedError("no"),
        GatewayError("what"),
    ],
)
@pytest.mark.parametrize("include_usage", [False, True])
def test_a_failure_is_one_error_in_band_and_nothing_after_it(error: GatewayError, include_usage: bool) -> None:
    lines = streamed(STARTED, TextDelta("Hel"), Failed(error), include_usage=include_usage)
    assert lines[-1] == {
        "error": {"message": error.message, "type": error.error_type, "param": None, "code": error.code}
    }
    assert [line for line in lines if "error" in line] == lines[-1:]
    assert "[DONE]" not in lines
    assert [choice["finish_reason"] for line in lines[:-1] for choice in line["choices"]] == [None, None]


# --- the wire itself --------------------------------------------------------------------------------------------------

ODD = [
    'quotes " and \\ backslashes',
    "line\nends\r\nand\rtabs\t",
    "separators \u2028\u2029\x85\x0b\x0c\x1c",
    "null \x00 and \x7f",
    "emoji 🎉 and 中文",
    '"},"finish_reason":"stop"}]}',
    '{"content":""}',
    "data: [DONE]\n\n",
    "</script>",
    "",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_text_arrives_as_it_was(text: str) -> None:
    lines = streamed(STARTED, TextDelta("<" + text), ReasoningDelta("<" + text), FINISHED)
    check_stream(lines)
    assert said(lines) == said(lines, "reasoning_content") == "<" + text
    assert whole(STARTED, TextDelta("<" + text), FINISHED)["choices"][0]["message"]["content"] == "<" + text


@pytest.mark.parametrize("separator", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_text_can_end_a_line(separator: str) -> None:
    """Clients that read with httpx's `iter_lines` split wherever `str.splitlines` does, so within JSON as well."""
    assert len(f"a{separator}b".splitlines()) == 2
    text = f"é{separator}b{separator}"
    body = answer_of().write([TextDelta(text), ReasoningDelta(text), FINISHED])
    lines = [line for line in body.decode().splitlines() if line]
    assert [line.partition(" ")[0] for line in lines] == ["data:"] * 4
    assert json.loads(lines[0][6:])["choices"][0]["delta"]["content"] == text


@pytest.mark.parametrize("name", [*ODD, '"content":""', '"reasoning_content":""', '","content":"","x":"'])
@pytest.mark.parametrize("field", ["model", "id"])
def test_no_name_can_be_mistaken_for_the_hole_in_the_template(field: str, name: str) -> None:
    lines = streamed(STARTED, TextDelta("a"), ReasoningDelta("b"), FINISHED, include_usage=True, **{field: name})
    check_stream(lines, include_usage=True)
    assert (said(lines), said(lines, "reasoning_content")) == ("a", "b")
    assert {line[field] for line in lines[:-1]} == {f"chatcmpl-{name}" if field == "id" else name}


def test_the_quick_way_writes_what_the_long_way_would() -> None:
    """Chunks of text are made from a template; all but the text has to be as in any other chunk."""
    head, text, end, _ = streamed(STARTED, TextDelta("a"), FINISHED, include_usage=False)
    for chunk in (head, text, end):
        del chunk["choices"][0]["delta"], chunk["choices"][0]["finish_reason"]
    assert head == text == end


# --- completions ------------------------------------------------------------------------------------------------------


def test_a_completion_as_it_is_on_the_wire() -> None:
    completion = whole(STARTED, TextDelta("Hel", opens=True), TextDelta("lo"), FINISHED)
    assert_known(ChatCompletion.model_validate_json(json.dumps(completion), strict=True))
    assert completion["object"] == "chat.completion"
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert completion["usage"]["total_tokens"] == 12


def test_a_completion_with_reasoning() -> None:
    completion = whole(STARTED, ReasoningDelta("hm"), TextDelta("42"), FINISHED)
    assert_known(ChatCompletion.model_validate_json(json.dumps(completion), strict=True))
    assert completion["choices"][0]["message"]["reasoning_content"] == "hm"
    assert completion["choices"][0]["message"]["content"] == "42"


def test_a_completion_of_a_failed_answer_is_the_failure() -> None:
    error = UpstreamError("cut", code="upstream_cut")
    with pytest.raises(UpstreamError) as caught:
        whole(STARTED, TextDelta("Hel"), Failed(error))
    assert caught.value is error


# --- generated answers ------------------------------------------------------------------------------------------------

TEXT = st.text(min_size=1, max_size=6).map(lambda text: text.encode("utf-8", "replace").decode())
EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, TEXT, st.booleans()),
        st.builds(ReasoningDelta, TEXT, st.booleans()),
        st.builds(CodeDelta, TEXT, st.sampled_from(["python", ""]), st.booleans()),
        st.builds(ToolOutput, TEXT, st.booleans()),
    ),
    max_size=10,
)


@settings(max_examples=100)
@given(EVENTS, st.sampled_from(["stop", "length", "content_filter"]), st.booleans())
def test_streamed_and_whole_answers_are_the_same(events: list[Event], reason: str, include_usage: bool) -> None:
    events = Markdown(link=repr).receive([STARTED, *events, Finished(reason)])
    lines = streamed(*events, include_usage=include_usage)
    check_stream(lines, include_usage=include_usage)
    completion = whole(*events)
    ChatCompletion.model_validate_json(json.dumps(completion), strict=True)
    message = completion["choices"][0]["message"]
    assert said(lines) == message["content"]
    assert said(lines, "reasoning_content") == message.get("reasoning_content", "")
    assert lines[-2 - include_usage]["choices"][0]["finish_reason"] == completion["choices"][0]["finish_reason"]
    if include_usage:
        assert lines[-2]["usage"] == completion["usage"]


@settings(max_examples=50)
@given(EVENTS)
def test_a_failed_answer_streams_what_it_said_and_then_the_error(events: list[Event]) -> None:
    shown = Markdown(link=repr).receive([STARTED, *events, Failed(UpstreamError("cut"))])
    *lines, last = streamed(*shown)
    assert last["error"]["message"] == "cut"
    for line in lines:
        ChatCompletionChunk.model_validate_json(json.dumps(line), strict=True)
    assert json.loads(envelope(UpstreamError("cut"))).keys() == set(ErrorEnvelope.__struct_fields__)
