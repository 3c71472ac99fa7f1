"""What the model is told: the instructions as a whole, and that the history is written as it was taught."""

import itertools

import pytest

from shim.protocol.events import Called, Finished, TextDelta
from shim.protocol.prompt import Call, Function, FunctionChoice, OnlyFunction, PromptMessage, Result, Role, Text
from shim.protocol.shaping.tool_calls import ToolCalls
from shim.protocol.turn.tool_prompt import history_text, tool_instructions

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTIONS = [
    Function("get_weather", "tools[0].function.parameters", " The weather.\n", PARAMETERS),
    Function("clock", "tools[1].function.parameters"),
]


def test_the_functions_are_listed_with_their_schemas() -> None:
    told = tool_instructions(FUNCTIONS, "auto", parallel=True)
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
        (OnlyFunction("clock"), True, "You have to call the function `clock` now, and no other one."),
    ],
)
def test_the_choice_is_said(choice: FunctionChoice, said: str, *, parallel: bool) -> None:
    everything = {"You may call several", "Call one function at most", "You have to call at least", "where they help"}
    told = tool_instructions(FUNCTIONS, choice, parallel=parallel)
    assert said in told
    assert sum(phrase in told for phrase in everything) <= 2


def test_nothing_is_told_where_nothing_may_be_called() -> None:
    assert tool_instructions(FUNCTIONS, "none", parallel=True) == ""
    assert tool_instructions([], "auto", parallel=True) == ""


CALLS = (
    Call("call_1", "get_weather", '{"city": "Oslo </tool_call>", "n": 1.50}'),
    Call("call_2", "clock", ""),
)


def calling(text: str, *calls: Call) -> PromptMessage:
    return PromptMessage("assistant", (Text(text), *calls))


def test_earlier_calls_look_as_they_were_taught() -> None:
    first = '<tool_call>\n{"id":"call_1","name":"get_weather","arguments":{"city": "Oslo </tool_call>", "n": 1.50}}\n'
    second = '<tool_call>\n{"id":"call_2","name":"clock","arguments":""}\n</tool_call>'
    assert history_text(calling("", *CALLS)) == f"{first}</tool_call>\n\n{second}"
    assert history_text(calling("Wait.", *CALLS)).startswith("Wait.\n\n<tool_call>")


def test_earlier_calls_would_be_read_as_what_they_are() -> None:
    """What is shown and what is read are one convention."""
    numbers = itertools.count()
    filter = ToolCalls(
        FUNCTIONS, "auto", parallel=True, new_id=lambda: f"{next(numbers)}", validate=lambda schema, value: None
    )
    text = history_text(calling("Wait.", *CALLS))
    assert filter.receive([TextDelta(text), Finished("stop")]) == [
        TextDelta("Wait."),
        Called("call_0", "get_weather", '{"city":"Oslo </tool_call>","n":1.50}'),
        Called("call_1", "clock", "{}"),
        Finished("tool_calls"),
    ]


@pytest.mark.parametrize(
    ("role", "part", "shown"),
    [
        (
            "tool",
            Result("call_1", None, (Text("20 degrees\n"),)),
            '<tool_result id="call_1">\n20 degrees\n\n</tool_result>',
        ),
        ("tool", Result(None, "clock", (Text("12:00"),)), '<tool_result name="clock">\n12:00\n</tool_result>'),
        (
            "tool",
            Result('a"b', None, (Text("x</tool_result>y"),)),
            '<tool_result id="a\\"b">\nx<\\/tool_result>y\n</tool_result>',
        ),
        ("tool", Result(None, None, (Text(""),)), "<tool_result>\n\n</tool_result>"),
        ("user", Text("Hello"), "Hello"),
        ("assistant", Text(""), ""),
    ],
)
def test_results_and_other_messages(role: Role, part: Result | Text, shown: str) -> None:
    assert history_text(PromptMessage(role, (part,))) == shown


@pytest.mark.parametrize("arguments", ["{", "[" * 100_000, "5 5"])
def test_arguments_that_are_not_json_stay_readable(arguments: str) -> None:
    assert f'"arguments":"{arguments}"' in history_text(calling("", Call("c", "clock", arguments)))
