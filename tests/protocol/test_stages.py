"""Which stages a request has, and what they make of an answer together."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from shim.protocol.shaping.limits import StopSequences, TokenLimit

from shim.apis.chat.read import chat_request
from shim.apis.chat.wire import ChatRequest
from shim.protocol.events import Called, Event, Finished, TextDelta, Unusable
from shim.protocol.shaping.filter import Stage
from shim.protocol.shaping.json_answer import Structured
from shim.protocol.shaping.pipeline import Means, stages_for, stops_of
from shim.protocol.shaping.tool_calls import ToolCalls

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
MEANS = Means(len, lambda text, tokens: text[:tokens], lambda: "0" * 32, lambda schema, value: None)


def request_of(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    return chat_request(json.dumps(body).encode())[0]


def kinds(**fields: Any) -> list[type]:
    return [type(stage) for stage in stages_for(request_of(**fields), MEANS)]


def through(stages: Sequence[Stage], events: list[Event]) -> list[Event]:
    for stage in stages:
        events = stage.feed(events)
    return events


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"stop": None},
        {"stop": []},
        {"tools": []},
        {"tools": [TOOL], "tool_choice": "none"},
        {"response_format": {"type": "text"}},
    ],
)
def test_who_asks_for_nothing_has_none(fields: dict[str, Any]) -> None:
    assert kinds(**fields) == []


def test_all_of_them_in_their_order() -> None:
    wish = {"stop": "x", "max_tokens": 5, "tools": [TOOL], "response_format": {"type": "json_object"}}
    assert kinds(**wish) == [StopSequences, TokenLimit, ToolCalls, Structured]


def test_the_newer_limit_counts_where_both_are_given() -> None:
    stages = stages_for(request_of(max_tokens=2, max_completion_tokens=4), MEANS)
    told = through(stages, [TextDelta("abcdefgh"), Finished("stop")])
    assert told == [TextDelta("abcd"), Finished("length")]
    assert stages[0].decided


def test_stops_each_once() -> None:
    assert stops_of(request_of(stop="a")) == ("a",)
    assert stops_of(request_of(stop=["b", "a", "b"])) == ("b", "a")
    assert stops_of(request_of()) == ()


def test_a_call_needs_no_json_besides() -> None:
    stages = stages_for(request_of(tools=[TOOL], response_format={"type": "json_object"}), MEANS)
    told = through(stages, [TextDelta(CALL), Finished("stop")])
    assert [type(event) for event in told] == [Called, Finished]
    assert told[-1] == Finished("tool_calls")


def test_an_answer_cut_by_its_limit_is_not_asked_for_again() -> None:
    stages = stages_for(request_of(tools=[TOOL], tool_choice="required", max_tokens=20), MEANS)
    assert through(stages, [TextDelta(CALL), Finished("stop")])[-1] == Finished("length")


def test_a_second_answer_goes_through_all_of_them_again() -> None:
    stages = stages_for(request_of(tools=[TOOL], tool_choice="required", stop=["END"], max_tokens=500), MEANS)
    first = through(stages, [TextDelta("no call END and more"), Finished("stop")])
    assert isinstance(first[-1], Unusable)
    for stage in stages:
        stage.again()
    second = through(stages, [TextDelta(CALL), Finished("stop")])
    assert [type(event) for event in second] == [Called, Finished]
