"""Token counts by OpenAI's published rules, against OpenAI's published examples."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import pytest

from shim import tokenizer
from shim.apis.chat.read import read
from shim.protocol.counting.usage import function_tokens, prompt_tokens, usage_of
from shim.protocol.events import Called
from shim.protocol.prompt import Prompt, PromptMessage, Role

# From "How to count tokens with tiktoken" (OpenAI cookbook), with what the API itself counted for gpt-4o.
JARGON = [
    {
        "role": "system",
        "content": "You are a helpful, pattern-following assistant that translates "
        "corporate jargon into plain English.",
    },
    {"role": "system", "name": "example_user", "content": "New synergies will help drive top-line growth."},
    {"role": "system", "name": "example_assistant", "content": "Things working well together will increase revenue."},
    {
        "role": "system",
        "name": "example_user",
        "content": "Let's circle back when we have more bandwidth to touch base "
        "on opportunities for increased leverage.",
    },
    {
        "role": "system",
        "name": "example_assistant",
        "content": "Let's talk later when we're less busy about how to do better.",
    },
    {
        "role": "user",
        "content": "This late pivot means we don't have time to boil the ocean for the client deliverable.",
    },
]
WEATHER = [
    {
        "role": "system",
        "content": "You are a helpful assistant that can answer to questions about the weather.",
    },
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]
WEATHER_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Get the current weather in a given location",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                    "unit": {
                        "type": "string",
                        "description": "The unit of temperature to return",
                        "enum": ["celsius", "fahrenheit"],
                    },
                },
                "required": ["location"],
            },
        },
    }
]


def words(text: str) -> int:
    """A tokenizer one can check by eye: a token is a word."""
    return len(text.split())


USER = {"role": "user", "content": "one"}


def prompt_of(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None = None) -> Prompt:
    return read(json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()).prompt


def counted(*messages: dict[str, Any], **more: Any) -> int:
    return prompt_tokens(prompt_of(list(messages)).messages if messages else (), words, **more)


# --- against OpenAI ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "tools", "openai_counted"),
    [pytest.param(JARGON, None, 124, id="messages"), pytest.param(WEATHER, WEATHER_TOOLS, 101, id="tools")],
)
def test_the_published_examples(messages: list[Any], tools: list[Any] | None, openai_counted: int) -> None:
    prompt = prompt_of(messages, tools)
    assert prompt_tokens(prompt.messages, tokenizer.count, functions=prompt.functions) == openai_counted


@pytest.mark.parametrize("role", get_args(Role))
def test_a_role_counts_what_the_tokenizer_says(role: Role) -> None:
    framed = prompt_tokens((PromptMessage(role, ()),), tokenizer.count) - prompt_tokens((), tokenizer.count)
    assert framed == 3 + tokenizer.count(role)


# --- messages ---------------------------------------------------------------------------------------------------------


def picture(url: str = "data:image/png;base64,AAAA") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def calling(*calls: tuple[str, str], **more: Any) -> dict[str, Any]:
    called = [
        {"id": f"call {place}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for place, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "tool_calls": called, **more}


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [
        pytest.param([], 3, id="the reply alone"),
        pytest.param([{"role": "user", "content": "one two"}], 3 + (3 + 1 + 2), id="a message"),
        pytest.param([{"role": "user", "content": ""}], 3 + (3 + 1), id="an empty one"),
        pytest.param([{"role": "assistant"}], 3 + (3 + 1), id="one without content"),
        pytest.param([{"role": "user", "content": "one", "name": "Ann Lee"}], 3 + (3 + 1 + 1) + (1 + 2), id="a name"),
        pytest.param([{"role": "user", "content": "one", "name": ""}], 3 + (3 + 1 + 1), id="an empty name"),
        pytest.param(
            [{"role": "system", "content": "one"}, {"role": "user", "content": "two"}], 3 + 2 * (3 + 1 + 1), id="two"
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "text", "text": "c"}]}],
            3 + (3 + 1 + 3),
            id="parts",
        ),
        pytest.param(
            [{"role": "user", "content": [{"type": "text", "text": "a b"}, picture()]}], 3 + (3 + 1 + 2), id="a picture"
        ),
        pytest.param(
            [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no way"}]}],
            3 + (3 + 1 + 2),
            id="a refusal",
        ),
        pytest.param([calling(("f", "a b"))], 3 + (3 + 1) + (3 + 1 + 2), id="a call"),
        pytest.param(
            [calling(("f", "a b"), ("g", ""), content="so then")],
            3 + (3 + 1 + 2) + (3 + 1 + 2) + (3 + 1),
            id="two calls and text",
        ),
        pytest.param(
            [{"role": "tool", "tool_call_id": "call 0", "content": "it is warm"}], 3 + (3 + 1 + 3), id="a call's result"
        ),
    ],
)
def test_prompt(messages: list[dict[str, Any]], tokens: int) -> None:
    assert counted(*messages) == tokens


def test_pictures_are_counted_by_whoever_knows_their_size() -> None:
    shown = {"role": "user", "content": [picture(), picture()]}
    assert counted(shown, images=(85, 765)) == counted(shown) + 850


def test_readable_text_leaves_out_what_is_none() -> None:
    parts = [{"type": "text", "text": "a"}, picture(), {"type": "file", "file": {"file_data": "AAAA"}}]
    (message,) = prompt_of([{"role": "user", "content": [*parts, {"type": "text", "text": "b"}]}]).messages
    assert message.text == "a\nb"


# --- tools ------------------------------------------------------------------------------------------------------------

FUNCTION, PROPERTIES, PROPERTY, ENUM, ITEM, ALL = 7, 3, 3, -3, 3, 12


def spoken(text: str) -> int:
    """Counts what stands between the colons of a line, too."""
    return words(text.replace(":", " "))


@pytest.mark.parametrize(
    ("function", "tokens"),
    [
        pytest.param({"name": "f"}, FUNCTION + 1, id="a name"),
        pytest.param({"name": "f", "description": "does it"}, FUNCTION + 3, id="a description"),
        pytest.param({"name": "f", "description": "."}, FUNCTION + 1, id="a full stop does not count"),
        pytest.param({"name": "f", "parameters": {}}, FUNCTION + 1, id="no schema"),
        pytest.param({"name": "f", "parameters": {"type": "object", "properties": {}}}, FUNCTION + 1, id="none"),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": {"type": "string", "description": "an A."}}}},
            FUNCTION + 1 + PROPERTIES + PROPERTY + 4,
            id="a property",
        ),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": {}, "b": {"type": ["string", "null"]}}}},
            FUNCTION + 1 + PROPERTIES + 2 * PROPERTY + 3,
            id="of no type, of two",
        ),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": {"enum": ["x", "y z", 3, None]}}}},
            FUNCTION + 1 + PROPERTIES + PROPERTY + 1 + ENUM + 4 * ITEM + 5,
            id="an enum",
        ),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": {"properties": {"b": {}}}}}},
            FUNCTION + 1 + 2 * (PROPERTIES + PROPERTY + 1),
            id="an object in it",
        ),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": {"items": {"anyOf": [{"properties": {"b": {}}}, 1]}}}}},
            FUNCTION + 1 + 2 * (PROPERTIES + PROPERTY + 1),
            id="a list of choices",
        ),
        pytest.param(
            {"name": "f", "parameters": {"$defs": {"D": {"properties": {"b": {}}}}, "properties": {"a": {}}}},
            FUNCTION + 1 + 2 * (PROPERTIES + PROPERTY + 1),
            id="a definition",
        ),
        pytest.param(
            {"name": "f", "parameters": {"properties": {"a": 1, "b": {"enum": "x", "anyOf": {}, "description": 5}}}},
            FUNCTION + 1 + PROPERTIES + (PROPERTY + 1) + (PROPERTY + 2),
            id="what is no schema",
        ),
        pytest.param({"name": "f", "parameters": {"properties": [], "$defs": 3}}, FUNCTION + 1, id="no mapping"),
    ],
)
def test_tools(function: dict[str, Any], tokens: int) -> None:
    prompt = prompt_of([USER], [{"type": "function", "function": function}])
    assert function_tokens(prompt.functions, spoken) == ALL + tokens


def test_the_end_of_tools_counts_once() -> None:
    prompt = prompt_of([USER], [{"type": "function", "function": {"name": name}} for name in "fg"])
    assert function_tokens(prompt.functions, spoken) == ALL + 2 * (FUNCTION + 1)


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_cost_nothing(tools: list[Any] | None) -> None:
    assert counted(USER, functions=prompt_of([USER], tools).functions) == counted(USER)
    assert function_tokens((), words) == 0


def test_a_deep_schema_is_counted_to_its_bottom() -> None:
    schema: dict[str, Any] = {}
    for _ in range(150):
        schema = {"properties": {"a": schema}}
    prompt = prompt_of([USER], [{"type": "function", "function": {"name": "f", "parameters": schema}}])
    assert function_tokens(prompt.functions, spoken) == ALL + FUNCTION + 1 + 150 * (PROPERTIES + PROPERTY + 1)


# --- answers ----------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """What of a choice counts."""

    text: str = ""
    reasoning: str = ""
    calls: Sequence[Called] = ()


def call(name: str, arguments: str) -> Called:
    return Called("call 1", name, arguments)


@pytest.mark.parametrize(
    ("answers", "completion", "reasoning"),
    [
        pytest.param([], 0, 0, id="no choice"),
        pytest.param([Answer()], 0, 0, id="nothing"),
        pytest.param([Answer("one two three")], 3, 0, id="text"),
        pytest.param([Answer("one two three", "hm hm")], 5, 2, id="reasoning is part of it"),
        pytest.param([Answer(calls=[call("f", "a b")])], 3 + 1 + 2, 0, id="so is a call"),
        pytest.param([Answer("one"), Answer("a b", "hm"), Answer("", "hm", [call("f", "")])], 9, 2, id="choices"),
    ],
)
def test_usage(answers: list[Answer], completion: int, reasoning: int) -> None:
    usage = usage_of(10, answers, words)
    assert (usage.prompt, usage.completion, usage.total) == (10, completion, 10 + completion)
    assert usage.reasoning == reasoning
