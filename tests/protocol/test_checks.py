"""Requests that are well-formed and make no sense: each is a 400 that names its field."""

import json
from typing import Any

import pytest

from shim.apis.chat.read import read
from shim.errors import RequestError
from shim.protocol.turn.checks import MAX_FILES, check_prompt

HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "bad"}}}


def refuse(schema: dict[str, Any], param: str) -> None:
    if schema.get("type") == "bad":
        raise RequestError("No schema.", param=param, code="invalid_schema")


def checked(*, kept: bool = True, **fields: Any) -> None:
    prompt = read(json.dumps({"model": "m", "messages": [HI], **fields}).encode()).prompt
    check_prompt(prompt, kept=kept, check_parameters=refuse, check_schema=refuse)


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


GOOD: list[dict[str, Any]] = [
    {},
    {"stop": "x"},
    {"stop": []},
    {"stop": None},
    {"stop": ["a", "b", "c", "d"]},
    {"tools": []},
    {"tools": [TOOL]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}},
    {"tool_choice": "none"},
    {"tool_choice": "auto"},
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "text"}},
    {"conversation_id": "c.a", "parent_message_id": "m"},
]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"messages": []}, "messages", "empty_array"),
    ({"conversation_id": "c.a"}, "parent_message_id", "missing_required_parameter"),
    ({"stop": ""}, "stop", "invalid_value"),
    ({"stop": ["a", ""]}, "stop", "invalid_value"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice", "invalid_value"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "sub"}}},
        "tool_choice.function.name",
        "invalid_value",
    ),
    ({"tools": [TOOL, TOOL]}, "tools[1].function.name", "duplicate"),
    ({"tools": [TOOL, tool("x", type="bad")]}, "tools[1].function.parameters", "invalid_schema"),
    ({"response_format": SCHEMA}, "response_format.json_schema.schema", "invalid_schema"),
]


@pytest.mark.parametrize("fields", GOOD)
def test_what_makes_sense_passes(fields: dict[str, Any]) -> None:
    checked(**fields)


@pytest.mark.parametrize(("fields", "param", "code"), BAD)
def test_what_does_not_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        checked(**fields)
    assert (caught.value.http_status, caught.value.param, caught.value.code) == (400, param, code)


def test_there_is_nothing_to_go_on_with_where_chats_are_not_kept() -> None:
    with pytest.raises(RequestError) as caught:
        checked(kept=False, conversation_id="c.a", parent_message_id="m")
    assert (caught.value.param, caught.value.code) == ("conversation_id", "history_disabled")


def test_there_are_only_so_many_files() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.test/x"}}
    full = {"role": "user", "content": [picture] * MAX_FILES}
    checked(messages=[full])
    with pytest.raises(RequestError) as caught:
        checked(messages=[full, {"role": "user", "content": [{"type": "text", "text": "look"}, picture]}])
    assert (caught.value.http_status, caught.value.code) == (400, "too_many_files")
    assert caught.value.param == "messages[1].content[1].image_url.url"
