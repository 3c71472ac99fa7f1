"""What the model is told: the instructions as a whole, and that the history is written as it was taught."""

import itertools

import pytest

from shim.apis.chat.wire import (
    CalledFunction,
    ChatMessage,
    FunctionDefinition,
    NamedFunction,
    NamedToolChoice,
    Tool,
    ToolCall,
    ToolChoice,
)
from shim.protocol.events import Called, Finished, TextDelta
from shim.protocol.shaping.tool_calls import ToolCalls
from shim.protocol.turn.tool_prompt import history_text, tool_instructions

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [Tool(FunctionDefinition("get_weather", " The weather.\n", PARAMETERS)), Tool(FunctionDefinition("clock"))]


def test_the_functions_are_listed_with_their_schemas() -> None:
    told = tool_instructions(TOOLS, "auto", parallel=True)
    assert told.endswith(
        "## The functions\n\n"
        "### get_weather\nThe weather.\n"
        'Arguments: {"type":"object","properties":{"city":{"type":"string"}}}\n\n'
        '### clock\nArguments: {"type":"object","properties":{}}'
    )
    assert '\n<tool_call>\n{"name": "the_name", "arguments": {"parameter": "value"}}\n</tool_call>\n' in told


@pytest.mark.parametrize(
    ("choice", "parallel", "said"),
    [
        ("auto", True, "Call functions where they help; otherwise answer as usual. You may call several"),
        ("auto", False, "otherwise answer as usual. Call one function at most"),
        ("required", True, "You have to call at least one function now."),
        (NamedToolChoice(NamedFunction("clock")), True, "You have to call the function `clock` now, and no other one."),
    ],
)
def test_the_choice_is_said(choice: ToolChoice, said: str, *, parallel: bool) -> None:
    everything = {"You may call several", "Call one function at most", "You have to call at least", "where they help"}
    told = tool_instructions(TOOLS, choice, parallel=parallel)
    assert said in told
    assert sum(phrase in told for phrase in everything) <= 2


def test_nothing_is_told_where_nothing_may_be_called() -> None:
    assert tool_instructions(TOOLS, "none", parallel=True) == ""
    assert tool_instructions([], "auto", parallel=True) == ""


CALLS = [
    ToolCall("call_1", CalledFunction("get_weather", '{"city": "Oslo </tool_call>", "n": 1.50}')),
    ToolCall("call_2", CalledFunction("clock", "")),
]


def test_earlier_calls_look_as_they_were_taught() -> None:
    message = ChatMessage("assistant", tool_calls=CALLS)
    first = '<tool_call>\n{"id":"call_1","name":"get_weather","arguments":{"city": "Oslo </tool_call>", "n": 1.50}}\n'
    second = '<tool_call>\n{"id":"call_2","name":"clock","arguments":""}\n</tool_call>'
    assert history_text(message, "") == f"{first}</tool_call>\n\n{second}"
    assert history_text(message, "Wait.").startswith("Wait.\n\n<tool_call>")


def test_earlier_calls_would_be_read_as_what_they_are() -> None:
    """What is shown and what is read are one convention."""
    numbers = itertools.count()
    stage = ToolCalls(
        TOOLS, "auto", parallel=True, new_id=lambda: f"{next(numbers)}", validate=lambda schema, value: None
    )
    text = history_text(ChatMessage("assistant", tool_calls=CALLS), "Wait.")
    assert stage.feed([TextDelta(text), Finished("stop")]) == [
        TextDelta("Wait."),
        Called("call_0", "get_weather", '{"city":"Oslo </tool_call>","n":1.50}'),
        Called("call_1", "clock", "{}"),
        Finished("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("message", "text", "shown"),
    [
        (
            ChatMessage("tool", tool_call_id="call_1"),
            "20 degrees\n",
            '<tool_result id="call_1">\n20 degrees\n\n</tool_result>',
        ),
        (ChatMessage("function", name="clock"), "12:00", '<tool_result name="clock">\n12:00\n</tool_result>'),
        (
            ChatMessage("tool", tool_call_id='a"b'),
            "x</tool_result>y",
            '<tool_result id="a\\"b">\nx<\\/tool_result>y\n</tool_result>',
        ),
        (ChatMessage("tool"), "", "<tool_result>\n\n</tool_result>"),
        (ChatMessage("user"), "Hello", "Hello"),
        (ChatMessage("assistant"), "", ""),
    ],
)
def test_results_and_other_messages(message: ChatMessage, text: str, shown: str) -> None:
    assert history_text(message, text) == shown


@pytest.mark.parametrize("arguments", ["{", "[" * 100_000, "5 5"])
def test_arguments_that_are_not_json_stay_readable(arguments: str) -> None:
    message = ChatMessage("assistant", tool_calls=[ToolCall("c", CalledFunction("clock", arguments))])
    assert f'"arguments":"{arguments}"' in history_text(message, "")
