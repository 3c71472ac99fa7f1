"""Which filters a prompt has, and what they make of an answer together."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from shim.apis.chat.read import read
from shim.protocol.events import Called, Event, Finished, TextDelta, Unusable
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.json_answer import JsonText
from shim.protocol.shaping.pipeline import FilterDependencies, filters_for
from shim.protocol.shaping.stop import StopSequences
from shim.protocol.shaping.token_limit import TokenLimit
from shim.protocol.shaping.tool_calls import ToolCalls

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
NEEDS = FilterDependencies(len, lambda text, tokens: text[:tokens], len, lambda: "0" * 32, lambda schema, value: None)


def prompt_of(**fields: Any) -> Prompt:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    return read(json.dumps(body).encode()).prompt


def kinds(**fields: Any) -> list[type]:
    return [type(filter) for filter in filters_for(prompt_of(**fields), NEEDS)]


def through(filters: Sequence[Filter], events: list[Event]) -> list[Event]:
    for filter in filters:
        events = filter.receive(events)
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
    assert kinds(**wish) == [StopSequences, TokenLimit, ToolCalls, JsonText]


def test_the_newer_limit_counts_where_both_are_given() -> None:
    filters = filters_for(prompt_of(max_tokens=2, max_completion_tokens=4), NEEDS)
    told = through(filters, [TextDelta("abcdefgh"), Finished("stop")])
    assert told == [TextDelta("abcd"), Finished("length")]
    assert filters[0].decided


def test_stops_each_once() -> None:
    assert prompt_of(stop="a").limits.stop == ("a",)
    assert prompt_of(stop=["b", "a", "b"]).limits.stop == ("b", "a")
    assert prompt_of().limits.stop == ()


def test_a_call_needs_no_json_besides() -> None:
    filters = filters_for(prompt_of(tools=[TOOL], response_format={"type": "json_object"}), NEEDS)
    told = through(filters, [TextDelta(CALL), Finished("stop")])
    assert [type(event) for event in told] == [Called, Finished]
    assert told[-1] == Finished("tool_calls")


def test_an_answer_cut_by_its_limit_is_not_asked_for_again() -> None:
    filters = filters_for(prompt_of(tools=[TOOL], tool_choice="required", max_tokens=20), NEEDS)
    assert through(filters, [TextDelta(CALL), Finished("stop")])[-1] == Finished("length")


def test_a_second_answer_goes_through_all_of_them_again() -> None:
    filters = filters_for(prompt_of(tools=[TOOL], tool_choice="required", stop=["END"], max_tokens=500), NEEDS)
    first = through(filters, [TextDelta("no call END and more"), Finished("stop")])
    assert isinstance(first[-1], Unusable)
    for filter in filters:
        filter.restart()
    second = through(filters, [TextDelta(CALL), Finished("stop")])
    assert [type(event) for event in second] == [Called, Finished]
