"""A completion request as a prompt, and what of it is refused by name."""

import json

import pytest

from shim.apis.completions.read import CompletionOptions, read
from shim.errors import RequestError
from shim.protocol.prompt import Limits, PromptMessage, Text


def asked(strict=False, **fields):
    return read(json.dumps({"model": "auto", "prompt": "hi", **fields}).encode(), strict=strict)


@pytest.mark.parametrize("prompt", ["hi", ["hi"]])
def test_a_prompt_is_one_message_of_the_users(prompt):
    made = asked(prompt=prompt).prompt
    assert made.messages == (PromptMessage("user", (Text("hi"),)),)
    assert (made.model, made.limits, made.stream, made.effort) == ("auto", Limits(), False, None)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"stop": "x"}, "limits", Limits(("x",))),
        ({"stop": ["x", "y", "x"], "max_tokens": 3, "n": 2}, "limits", Limits(("x", "y"), 3, 2)),
        ({"stream": True}, "stream", True),
        ({"model": "openai/gpt-5"}, "model", "gpt-5"),
    ],
)
def test_fields_come_to_what_they_mean(fields, name, value):
    assert getattr(asked(**fields).prompt, name) == value


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({}, CompletionOptions()),
        ({"echo": True}, CompletionOptions(echo=("hi",))),
        ({"echo": False, "stream_options": {"include_usage": True}}, CompletionOptions(include_usage=True)),
    ],
)
def test_what_the_writer_has_to_know(fields, options):
    assert asked(**fields).options == options


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": [1, 2]}, "prompt", "unsupported_content"),
        ({"prompt": [[1], [2]]}, "prompt", "unsupported_content"),
        ({"prompt": ["a", 1]}, "prompt", "unsupported_content"),
        ({"prompt": ["a"] * 9}, "prompt", "array_above_max_length"),
        ({"prompt": ["a", "b", "c"], "n": 3}, "prompt", "array_above_max_length"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": None}, "prompt", "invalid_type"),
        ({"suffix": "end"}, "suffix", "unsupported_parameter"),
        ({"stop": ""}, "stop", "invalid_value"),
        ({"stop": ["a", ""]}, "stop", "invalid_value"),
        ({"stop": list("abcde")}, "stop", "array_above_max_length"),
        ({"n": 9}, "n", "integer_above_max_value"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"model": 1}, "model", "invalid_type"),
        ({"temperature": 5}, "temperature", "decimal_above_max_value"),
        ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value"),
        ({"best_of": 21}, "best_of", "integer_above_max_value"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"logit_bias": {"5": 101}}, "logit_bias[]", "decimal_above_max_value"),
    ],
)
def test_what_is_refused_is_named(fields, param, code):
    with pytest.raises(RequestError) as raised:
        asked(**fields)
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


def test_what_is_missing_is_named():
    with pytest.raises(RequestError) as raised:
        read(b'{"model": "auto"}')
    assert (raised.value.param, raised.value.code) == ("prompt", "missing_required_parameter")


def test_fields_without_an_effect_are_told_unless_they_ask_for_nothing():
    neutral = {"temperature": 1, "best_of": 1, "logprobs": None, "suffix": "", "user": "u", "seed": None}
    assert asked(**neutral).ignored == []
    assert asked(temperature=0, best_of=2, logprobs=3, seed=7).ignored == ["best_of", "logprobs", "seed", "temperature"]
    with pytest.raises(RequestError) as raised:
        asked(strict=True, logprobs=3)
    assert (raised.value.param, raised.value.code) == ("logprobs", "unsupported_parameter")
