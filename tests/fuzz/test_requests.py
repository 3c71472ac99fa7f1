"""Chat requests that are spoiled, as bytes: they are decoded and checked, or refused as the client's mistake."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.apis.chat.read import read
from shim.apis.openai_errors import envelope
from shim.errors import RequestError
from shim.protocol.turn.checks import check_prompt
from shim.protocol.turn.conversation import Chosen, conversation_for
from shim.schemas import check_parameters, check_schema

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"$ref": "#/$defs/b"}, "c": {"enum": ["x", 1], "pattern": "^(a+)+$"}},
    "$defs": {"b": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#"}}]}},
    "required": ["a"],
}
GOOD: list[dict[str, Any]] = [
    {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "stop": ["a", "b"], "n": 2},
    {
        "model": "auto",
        "messages": [
            {"role": "system", "content": "Be brief.", "name": "x"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What?"},
                    {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                    {"type": "file", "file": {"file_data": "aGk=", "filename": "a.txt"}},
                ],
            },
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    },
    {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": PARAMETERS, "strict": True}},
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "max_completion_tokens": 5,
        "temperature": 1,
        "logit_bias": {},
        "metadata": {"a": "b"},
        "conversation_id": "c",
        "parent_message_id": "m",
    },
]
Spoil = Callable[[Callable[[st.SearchStrategy[Any]], Any], Any], Any]


def taken(body: bytes) -> RequestError | None:
    """None where the request is taken, as far as a conversation; else what it is refused with."""
    try:
        asked = read(body)
        check_prompt(asked.prompt, kept=True, check_parameters=check_parameters, check_schema=check_schema)
        conversation_for(asked.prompt, Chosen("auto"), {}, temporary=True, now=0.0, new_id=lambda: "id")
    except RequestError as error:
        return error
    assert all(name.isascii() and name.isprintable() for name in asked.ignored)
    return None


def check(body: bytes) -> None:
    """It is taken, or refused with an error that says all that an error has to."""
    refused = taken(body)
    if refused is not None:
        assert refused.http_status in {400, 413}
        inside = json.loads(envelope(refused))["error"]
        assert inside["type"] == "invalid_request_error"
        assert inside["code"]


@pytest.mark.parametrize("good", GOOD, ids=("short", "tools", "schema"))
def test_what_is_spoiled_here_is_good(good: dict[str, Any]) -> None:
    assert taken(json.dumps(good).encode()) is None


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), good=st.sampled_from(GOOD), times=st.integers(1, 3))
def test_a_spoiled_request_is_taken_or_refused(
    data: st.DataObject, good: dict[str, Any], times: int, spoil: Spoil, as_json: Spoil
) -> None:
    for _ in range(times):
        good = spoil(data.draw, good)
    check(as_json(data.draw, good))


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), good=st.sampled_from(GOOD), times=st.integers(1, 3))
def test_broken_bytes_are_taken_or_refused(
    data: st.DataObject, good: dict[str, Any], times: int, break_bytes: Spoil
) -> None:
    body = json.dumps(good).encode()
    for _ in range(times):
        body = break_bytes(data.draw, body)
    check(body)
