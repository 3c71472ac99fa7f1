"""Calls in the answer's text: what models write, what becomes of it, cut anywhere."""

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shim.errors import UpstreamError
from shim.protocol.events import (
    Called,
    Citation,
    Event,
    Failed,
    FileRef,
    Finished,
    Link,
    Picture,
    ReasoningDelta,
    Started,
    TextDelta,
    Unusable,
)
from shim.protocol.prompt import Function, FunctionChoice, OnlyFunction
from shim.protocol.shaping.call_blocks import Block, CallBlocks, Marks, without_marks
from shim.protocol.shaping.code_fences import CodeFences
from shim.protocol.shaping.tool_calls import ToolCalls

WEATHER = Function(
    "get_weather",
    "tools[0].function.parameters",
    "The weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CLOCK = Function("clock", "tools[1].function.parameters")
STARTED = Started("c", "m", "gpt")
STOP = Finished("stop")
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
OSLO = ("get_weather", '{"city":"Oslo"}')
BROKEN = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo",}}</tool_call>'


def validate(schema: dict[str, Any], value: Any) -> str | None:
    """Enough of JSON Schema for these tests."""
    missing = [key for key in schema.get("required", ()) if not isinstance(value.get(key), str)]
    return f"at {missing[0]}: a string is required" if missing else None


def calling(choice: FunctionChoice = "auto", *, parallel: bool = True) -> ToolCalls:
    numbers = itertools.count()
    return ToolCalls(
        [WEATHER, CLOCK],
        choice,
        parallel=parallel,
        new_id=lambda: f"{next(numbers):08}-0000-4000-8000-000000000000",
        validate=validate,
    )


def texts(text: str, *, whole: bool) -> list[Event]:
    return [TextDelta(text)] if whole else [TextDelta(char) for char in text]


def run(calls: ToolCalls, text: str, *, whole: bool = True, end: Event = STOP) -> list[Event]:
    """The events of an answer, one by one as they arrive."""
    events = [STARTED, *texts(text, whole=whole), end]
    return [out for event in events for out in calls.receive([event])]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def calls_of(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.name, event.arguments) for event in events if isinstance(event, Called)]


# --- what models write ------------------------------------------------------------------------------------------------

VALID = [
    pytest.param(CALL, "", [OSLO], id="as taught"),
    pytest.param(f"Let me look.\n\n{CALL}\n\n", "Let me look.", [OSLO], id="words before it"),
    pytest.param(f"  \n{CALL}", "", [OSLO], id="white space before it"),
    pytest.param(f"{CALL}\n{CALL}", "", [OSLO, OSLO], id="two, one after the other"),
    pytest.param(f"A\n{CALL}\nB\n", "A\n\nB\n", [OSLO], id="words around it are two paragraphs"),
    pytest.param(f"{CALL}\nB", "B", [OSLO], id="words after it alone"),
    pytest.param(f"Sure: {CALL}", "Sure:", [OSLO], id="within a line"),
    pytest.param(CALL.replace("\n", ""), "", [OSLO], id="all on one line"),
    pytest.param(
        CALL.replace("<tool_call>", "<tool_call >").replace("</tool_call>", "< / tool_call\n>"),
        "",
        [OSLO],
        id="white space in the marks",
    ),
    pytest.param(
        '<tool_call>\n```json\n{"name": "clock", "arguments": {}}\n```\n</tool_call>',
        "",
        [("clock", "{}")],
        id="a fence in it",
    ),
    pytest.param(
        '<tool_call>~~~{"name": "clock"}~~~</tool_call>', "", [("clock", "{}")], id="a fence on the line, no arguments"
    ),
    pytest.param('<tool_call>{"name": "clock", "arguments": null}</tool_call>', "", [("clock", "{}")], id="null"),
    pytest.param(
        '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Oslo\\"}"}</tool_call>',
        "",
        [OSLO],
        id="arguments as a string",
    ),
    pytest.param(
        '<tool_call>{"name": "clock", "arguments": ""}</tool_call>', "", [("clock", "{}")], id="an empty string"
    ),
    pytest.param(
        '<tool_call>[{"name":"clock"}, {"name":"get_weather","arguments":{"city":"Oslo"}}]</tool_call>',
        "",
        [("clock", "{}"), OSLO],
        id="a list",
    ),
    pytest.param(CALL.replace("</tool_call>", ""), "", [OSLO], id="no closing mark at the end"),
    pytest.param(CALL.replace("</tool_call>", CALL), "", [OSLO, OSLO], id="no closing mark before the next"),
    pytest.param(CALL.replace('"get', '"functions.get'), "", [OSLO], id="the models' own prefix"),
    pytest.param(
        '<tool_call>{"id": "call_7", "name": "clock", "arguments": '
        '{"z": 1.50, "a": 12345678901234567890123, "z2": [ ]}}</tool_call>',
        "",
        [("clock", '{"z":1.50,"a":12345678901234567890123,"z2":[]}')],
        id="order and digits stay, an id is ignored",
    ),
    pytest.param(
        '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call> \\"<tool_call>\\\\"}}</tool_call>',
        "",
        [("get_weather", '{"city":"</tool_call> \\"<tool_call>\\\\"}')],
        id="marks in a string",
    ),
    pytest.param(
        f'{CALL}\n<tool_result id="call_1">\n20 degrees\n</tool_result>\nIt is warm.', "", [OSLO], id="a made-up result"
    ),
    pytest.param(f"```\nx\n```\n{CALL}", "```\nx\n```", [OSLO], id="after a fence"),
    pytest.param(f"Press ` now.\n{CALL}", "Press ` now.", [OSLO], id="after a lone backtick"),
    pytest.param(f"a `b` c {CALL}", "a `b` c", [OSLO], id="after a span"),
    pytest.param(f"if a <b:\n{CALL}", "if a <b:", [OSLO], id="after an angle bracket"),
]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("written", "text", "calls"), VALID)
def test_calls(written: str, text: str, calls: list[tuple[str, str]], *, whole: bool) -> None:
    events = run(calling(), written, whole=whole)
    assert calls_of(events) == calls
    assert text_of(events) == text
    assert events[0] == STARTED
    assert events[-1] == Finished("tool_calls")
    ids = [event.id for event in events if isinstance(event, Called)]
    assert len(set(ids)) == len(calls)
    assert all(re.fullmatch("call_[0-9a-f]{24}", id) for id in ids)


PLAIN = [
    "",
    "Just words.\n\n  And more. \n",
    f"```\n{CALL}\n```\n",
    f"````xml\n```\n{CALL}\n```\n````",
    f"~~~ `a`\n{CALL}\n~~~\n",
    f"   ```\n{CALL}",
    "Write `<tool_call>` and then `` a ` <tool_call> `` to call.",
    f"    {CALL}",
    f"\t{CALL}",
    f"```\n```x\n{CALL}\n```",
    "a <tool_call",
    "a <tool_ call> b <tool_callx> </tool_call> <",
    '<tool_result id="x">\nnothing was called\n</tool_result>',
    "<" + " " * 40 + "tool_call>",
]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("written", PLAIN)
def test_what_is_no_call_is_text_to_the_letter(written: str, *, whole: bool) -> None:
    events = run(calling(), written, whole=whole)
    assert text_of(events) == written
    assert events[-1] == STOP
    assert {type(event) for event in events} <= {Started, TextDelta, Finished}


WRONG = [
    pytest.param(BROKEN, "trailing comma", id="a trailing comma"),
    pytest.param("<tool_call>get_weather(city='Oslo')</tool_call>", "not the JSON", id="not JSON"),
    pytest.param("<tool_call></tool_call>", "not the JSON", id="nothing"),
    pytest.param("<tool_call>5</tool_call>", "not the JSON", id="a number"),
    pytest.param('<tool_call>{"name": "clock"}}</tool_call>', "not the JSON", id="a brace too many"),
    pytest.param('<tool_call>{"name": "clock", "arguments": {"a": "', "before its closing mark", id="cut off"),
    pytest.param(
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "no function of the name 'rm'", id="unknown"
    ),
    pytest.param('<tool_call>{"arguments": {}}</tool_call>', "name", id="no name"),
    pytest.param('<tool_call>{"name": "get_weather"}</tool_call>', "at city: a string", id="does not fit"),
    pytest.param('<tool_call>{"name": "clock", "arguments": [1]}</tool_call>', "JSON object", id="a list"),
    pytest.param('<tool_call>{"name": "clock", "arguments": "now"}</tool_call>', "not valid JSON", id="a plain string"),
    pytest.param('<tool_call>{"name": "clock", "arguments": {"a": NaN}}</tool_call>', "JSON", id="not a number"),
    pytest.param('<tool_call>{"name": "clock", "arguments": "{\\"a\\": 1e999}"}</tool_call>', "JSON", id="too large"),
    pytest.param(
        '<tool_call>{"name": "clock", "arguments": {"a": "b\nc"}}</tool_call>', "JSON", id="a bare line break"
    ),
    pytest.param("<tool_call>" + "[" * 20_000 + "</tool_call>", "JSON", id="too deep"),
    pytest.param(f"{CALL}{BROKEN}", "trailing comma", id="one good, one bad"),
]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("written", "complaint"), WRONG)
def test_what_can_not_be_used_is_said_once_and_to_the_model(written: str, complaint: str, *, whole: bool) -> None:
    calls = calling()
    *before, last = run(calls, f"Wait.\n{written}", whole=whole)
    assert isinstance(last, Unusable)
    assert last.answer == f"Wait.\n{written}"
    assert complaint in last.complaint
    assert (text_of(before), calls_of(before)) == ("Wait.", [])
    assert calls.receive([TextDelta("more"), STOP]) == []


@pytest.mark.parametrize("choice", ["required", OnlyFunction("clock")])
def test_where_a_call_is_needed_words_are_not_enough(choice: FunctionChoice) -> None:
    *before, last = run(calling(choice), "No.")
    assert isinstance(last, Unusable)
    assert "has to" in last.complaint
    assert text_of(before) == "No."


def test_where_one_function_is_named_no_other_will_do() -> None:
    named = OnlyFunction("clock")
    last = run(calling(named), CALL)[-1]
    assert isinstance(last, Unusable)
    assert "Only the function `clock`" in last.complaint
    assert calls_of(run(calling(named), '<tool_call>{"name": "clock"}</tool_call>')) == [("clock", "{}")]


# --- when -------------------------------------------------------------------------------------------------------------


def test_text_streams_at_once_and_calls_come_when_all_are_known_to_be_valid() -> None:
    calls = calling()
    assert calls.receive([STARTED, TextDelta("Let")]) == [STARTED, TextDelta("Let")]
    assert calls.receive([TextDelta(" me\n")]) == [TextDelta(" me")]
    assert calls.receive([TextDelta("<to")]) == []
    assert calls.receive([TextDelta("ast>")]) == [TextDelta("\n<toast>")]
    assert calls.receive([ReasoningDelta("hm")]) == [ReasoningDelta("hm")]
    assert calls.receive([TextDelta(CALL)]) == []
    assert not calls.decided
    assert calls_of(calls.receive([STOP])) == [OSLO]
    assert calls.decided


@pytest.mark.parametrize("whole", [True, False])
def test_only_so_much_white_space_is_held_back(*, whole: bool) -> None:
    calls = calling()
    shown = [out for event in texts("a" + " " * 300, whole=whole) for out in calls.receive([event])]
    assert text_of(shown) == "a" + " " * 44
    assert text_of(calls.receive([TextDelta(CALL), STOP])) == ""


def test_the_first_call_decides_where_one_is_all() -> None:
    calls = calling(parallel=False)
    events = calls.receive([TextDelta(CALL + CALL)])
    assert calls_of(events) == [OSLO]
    assert events[-1] == Finished("tool_calls")
    assert calls.decided
    assert calls.receive([TextDelta("more"), STOP]) == []


def test_of_a_list_the_first_is_taken_where_one_is_all() -> None:
    events = run(calling(parallel=False), '<tool_call>[{"name":"clock"},{"name":"rm"}]</tool_call>')
    assert calls_of(events) == [("clock", "{}")]


def test_a_made_up_result_decides() -> None:
    calls = calling()
    calls.receive([TextDelta(CALL)])
    assert calls_of(calls.receive([TextDelta("\n<tool_result")])) == [OSLO]
    assert calls.decided


@pytest.mark.parametrize(
    ("written", "reason", "expected"),
    [
        ("Words", "length", "length"),
        (CALL, "length", "tool_calls"),
        (CALL[:40], "length", "length"),
        (CALL + CALL[:40], "length", "length"),
        (CALL, "content_filter", "content_filter"),
    ],
)
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_an_answer_cut_from_outside(choice: FunctionChoice, written: str, reason: str, expected: str) -> None:
    events = run(calling(choice), written, end=Finished(reason))
    assert events[-1] == Finished(expected)
    assert bool(calls_of(events)) == (expected == "tool_calls")


def test_a_failure_stays_one_and_takes_the_calls_with_it() -> None:
    failed = Failed(UpstreamError("cut"))
    assert run(calling(), f"{CALL}\nA \n", end=failed)[1:] == [TextDelta("A"), TextDelta(" \n"), failed]


def test_what_is_not_text_keeps_its_place() -> None:
    cited = Citation("[1]", (Link("One", "https://one.example"),))
    shown = Picture(FileRef(file_id="f"))
    events = calling().receive([TextDelta("It is \n"), cited, TextDelta("<tool"), shown, TextDelta("_call>"), STOP])
    assert events == [
        TextDelta("It is"),
        TextDelta(" \n"),
        cited,
        TextDelta("<tool"),
        shown,
        TextDelta("_call>"),
        STOP,
    ]


def test_a_citation_in_a_call_is_its_text() -> None:
    head, tail = CALL.split("Oslo")
    assert calls_of(calling().receive([TextDelta(head), Citation("Oslo"), TextDelta(tail), STOP])) == [OSLO]


def test_messages_are_paragraphs() -> None:
    events = calling().receive([TextDelta("A", opens=True), TextDelta("B\n", opens=True), TextDelta(CALL), STOP])
    assert text_of(events) == "A\n\nB"
    assert calls_of(events) == [OSLO]


# --- the second answer ------------------------------------------------------------------------------------------------


def unusable(choice: FunctionChoice = "auto", written: str = f"Wait.\n{BROKEN}") -> ToolCalls:
    calls = calling(choice)
    assert isinstance(run(calls, written)[-1], Unusable)
    calls.restart()
    assert not calls.decided
    return calls


@pytest.mark.parametrize("whole", [True, False])
def test_the_second_answer_gives_the_calls_and_not_its_words(*, whole: bool) -> None:
    events = run(unusable(), f"I am sorry.\n{CALL}\nSo.", whole=whole)
    assert calls_of(events) == [OSLO]
    assert events[-1] == Finished("tool_calls")
    assert len(events) == 2


@pytest.mark.parametrize("written", [BROKEN, "", " \n"])
def test_a_second_answer_that_is_no_better_fails(written: str) -> None:
    (failed,) = run(unusable(), written)
    assert isinstance(failed, Failed)
    assert failed.error.code == "invalid_tool_call"
    assert "Oslo" not in failed.error.message


def test_a_second_answer_may_be_words_where_no_call_is_needed() -> None:
    assert run(unusable(), "I meant none.") == [TextDelta("\n\n"), TextDelta("I meant none."), STOP]
    assert run(unusable(written=BROKEN), "I meant none.") == [TextDelta("I meant none."), STOP]
    assert run(unusable(written=BROKEN), "\n\nI meant none.") == [TextDelta("I meant none."), STOP]
    assert run(unusable(), "\n\nI meant none.") == [TextDelta("\n\n"), TextDelta("I meant none."), STOP]
    (failed,) = run(unusable("required"), "I meant none.")
    assert isinstance(failed, Failed)


# --- anything ---------------------------------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(
        [
            *(
                "<tool_call>",
                "</tool_call>",
                "<tool_result",
                "<tool",
                "_call>",
                "<",
                "```",
                "~~~",
                "`",
                "\n",
                " ",
                "    ",
            ),
            *('{"name": "clock", "arguments": {}}', "\\", "[", "]", "\r\n", CALL, BROKEN, "é\u2028", "a", '"'),
        ]
    ),
    max_size=14,
).map("".join)


def outcome(events: list[Event]) -> tuple[str, list[tuple[str, str]], Event]:
    return text_of(events), calls_of(events), events[-1]


@settings(max_examples=400)
@given(PIECES, st.lists(st.integers(1, 5), max_size=30), st.booleans())
@example("`  <tool_call>", [1] * 20, True)
@example("<tool_call></tool_call><tool_result<tool_call>", [1] * 50, False)
def test_how_text_is_cut_makes_no_difference(written: str, sizes: list[int], parallel: bool) -> None:
    places = [0, *itertools.accumulate(sizes), len(written)]
    cut: list[Event] = [TextDelta(written[a:b]) for a, b in itertools.pairwise(places)]
    first, second = calling(parallel=parallel), calling(parallel=parallel)
    whole = first.receive([TextDelta(written), STOP])
    assert outcome([out for event in [*cut, STOP] for out in second.receive([event])]) == outcome(whole)
    assert isinstance(whole[-1], Finished | Unusable)


@settings(max_examples=200)
@given(st.text("ab.\n", max_size=20), st.sampled_from([CALL, BROKEN, CALL + CALL]))
def test_nothing_of_a_block_is_ever_shown(before: str, block: str) -> None:
    calls, shown = calling(), ""
    for char in before + block + "\n":
        shown += text_of(calls.receive([TextDelta(char)]))
        assert before.startswith(shown)
    assert shown + text_of(calls.receive([STOP])) == before.rstrip()


@settings(max_examples=200)
@given(st.text(alphabet='ab<>/_`~ \n"{}tolcal', max_size=60))
def test_text_without_marks_is_passed_on_to_the_letter(written: str) -> None:
    written = written.replace("tool", "TOOL")
    events = run(calling(), written, whole=False)
    assert text_of(events) == written
    assert events[-1] == STOP


@settings(max_examples=100)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda x: st.lists(x, max_size=3)))
def test_any_arguments_arrive(value: object) -> None:
    arguments = {"city": "Oslo", "value": value, "</tool_call>": "<tool_call>"}
    written = json.dumps({"name": "get_weather", "arguments": arguments}, ensure_ascii=False)
    ((_, got),) = calls_of(run(calling(), f"<tool_call>{written}</tool_call>", whole=False))
    assert json.loads(got) == arguments


# --- code -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("", False),
        ("a", False),
        ("`a", True),
        ("`a`", False),
        ("``a`", True),
        ("``a``", False),
        ("`a\n", False),
        ("```\n", True),
        ("```py\nx\n```\n", False),
        ("```py\nx\n``\n", True),
        ("```py\nx\n~~~\n", True),
        ("```py\nx\n````  \n", False),
        ("```py\nx\n``` y\n", True),
        ("````\n```\n", True),
        ("```a`b\n", False),
        ("~~~a`b\n", True),
        ("   ```\n", True),
        ("    ```\n", False),
        ("a ```\n", False),
        ("```\r\nx\r\n```\r\n", False),
        ("    ", True),
        ("  \t", True),
        ("   ", False),
        ("    a", False),
    ],
)
def test_code(text: str, *, inside: bool) -> None:
    whole, cut = CodeFences(), CodeFences()
    whole.add(text)
    for char in text:
        cut.add(char)
    assert whole.inside is cut.inside is inside


# --- marks with a key -------------------------------------------------------------------------------------------------

KEYED = Marks("3f9c07ab")
BODY = '{"name": "clock"}'


def pieces_of(chunks: list[str]) -> tuple[str, list[Block]]:
    """The text and the blocks that come of chunks, with the marks of `KEYED`."""
    blocks = CallBlocks(KEYED)
    pieces = [piece for chunk in chunks for piece in blocks.add(chunk)] + blocks.close()
    return "".join(one for one in pieces if isinstance(one, str)), [one for one in pieces if isinstance(one, Block)]


@pytest.mark.parametrize(
    ("text", "said", "bodies"),
    [
        (f"Hi <tool_call_3f9c07ab>{BODY}</tool_call_3f9c07ab>", "Hi", [BODY]),
        (f"< tool_call_3f9c07ab >{BODY}</tool_call>", "", [BODY]),
        (f"<tool_call_3f9c07ab>{BODY}<tool_call_3f9c07ab>{BODY}</tool_call_3f9c07ab>", "", [BODY, BODY]),
        (f"<tool_call>{BODY}</tool_call>", f"<tool_call>{BODY}</tool_call>", []),
        (f"<tool_call_3f9c07ac>{BODY}</tool_call>", f"<tool_call_3f9c07ac>{BODY}</tool_call>", []),
        (f"<tool_call_3f9c07ab1>{BODY}", f"<tool_call_3f9c07ab1>{BODY}", []),
        (f"<tool_call_3f9c07ab>{BODY}</tool_call_0>", "", [f"{BODY}</tool_call_0>"]),
        (f"<tool_call_3f9c07ab>{BODY}</tool_call>\n<tool_result_3f9c07ab id=1>made up", "", [BODY]),
    ],
)
def test_only_marks_with_the_key_of_the_request_are_marks(text: str, said: str, bodies: list[str]) -> None:
    """Whole, and one character at a time."""
    for chunks in ([text], list(text)):
        words, blocks = pieces_of(chunks)
        assert (words, [block.body for block in blocks]) == (said, bodies)


@given(st.lists(st.sampled_from(["<", "/", " ", "\n", "tool_call", "TOOL_RESULT", "_3f9c07ab", ">", "x"]), max_size=12))
def test_nothing_in_an_escaped_text_is_a_mark(words: list[str]) -> None:
    text = without_marks("".join(words))
    assert pieces_of([text]) == (text, [])
