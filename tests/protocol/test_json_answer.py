"""Answers that have to be JSON: what is around it goes, what is wrong with it is found, cut anywhere."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.errors import UpstreamError
from shim.protocol.events import Called, Citation, Event, Failed, Finished, ReasoningDelta, Started, TextDelta, Unusable
from shim.protocol.prompt import JsonAnswer
from shim.protocol.shaping.json_answer import JsonEnd, JsonText, format_instructions

STARTED = Started("c", "m", "gpt")
STOP = Finished("stop")
OBJECT = JsonAnswer()


def fitting(schema: dict[str, Any]) -> JsonAnswer:
    return JsonAnswer(schema, "answer")


def validate(schema: dict[str, Any], value: Any) -> str | None:
    """Enough of JSON Schema for these tests: types and required keys."""
    kinds: dict[str, Any] = {"object": dict, "array": list, "integer": int, "string": str}
    if not isinstance(value, kinds.get(schema.get("type", ""), object)):
        return "at the top: wrong type"
    missing = [key for key in schema.get("required", ()) if key not in value]
    return f"at the top: {missing[0]} is missing" if missing else None


def run(filter: JsonText, text: str, *, whole: bool = True, end: Event = STOP) -> list[Event]:
    deltas: list[Event] = [TextDelta(text)] if whole else [TextDelta(char) for char in text]
    return [out for event in [STARTED, *deltas, end] for out in filter.receive([event])]


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


ANSWERS = [
    ('{"a": 1}', '{"a": 1}'),
    ('```json\n{"a": [1, {"b": "}"}]}\n```', '{"a": [1, {"b": "}"}]}'),
    ('Here is {name}, [see below]:\n\n{ "a":"\\"}\\\\" }\nEnjoy {it}!', '{ "a":"\\"}\\\\" }'),
    ("{}", "{}"),
    ("{\n}", "{\n}"),
    ('{"a": {"b": []}}{"c": 1}', '{"a": {"b": []}}'),
    ("[1] {[ {} ]}", "{}"),
]


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("written", "shown"), ANSWERS)
def test_the_object_is_cut_out(written: str, shown: str, *, whole: bool, hold: bool) -> None:
    filter = JsonText(OBJECT, validate=validate, hold=hold)
    events = run(filter, written, whole=whole)
    assert text_of(events) == shown
    assert (events[0], events[-1]) == (STARTED, STOP)
    assert filter.decided


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("schema", "written", "shown"),
    [
        ({"type": "array"}, 'Two {"a": 1}: [ [1], 2 ].', "[ [1], 2 ]"),
        ({"type": "array"}, "```\n[]\n```", "[]"),
        ({"anyOf": [{}]}, "See [the list]: [true]", "[true]"),
        ({}, 'So: [ {"a": 1} ]', '[ {"a": 1} ]'),
        ({"type": "integer"}, "\n42\n", "42"),
        ({"type": "integer"}, "```json\n42\n```", "42"),
        ({"type": "string"}, '"a {\\"b\\"} c"', '"a {\\"b\\"} c"'),
        ({"type": "object", "required": ["a"]}, '{"a": null}', '{"a": null}'),
    ],
)
def test_what_a_schema_asks_for_is_cut_out(
    schema: dict[str, Any], written: str, shown: str, *, whole: bool, hold: bool
) -> None:
    events = run(JsonText(fitting(schema), validate=validate, hold=hold), written, whole=whole)
    assert (text_of(events), events[-1]) == (shown, STOP)


def test_the_value_streams_as_it_comes_and_its_end_decides() -> None:
    filter = JsonText(OBJECT, validate=validate)
    assert filter.receive([STARTED, TextDelta("Sure: {")]) == [STARTED]
    assert filter.receive([TextDelta(' "a')]) == [TextDelta('{ "a')]
    assert filter.receive([TextDelta('": 1')]) == [TextDelta('": 1')]
    assert filter.receive([ReasoningDelta("hm")]) == [ReasoningDelta("hm")]
    assert not filter.decided
    assert filter.receive([TextDelta("} and"), TextDelta(" more")]) == [TextDelta("}"), STOP]
    assert filter.decided
    assert filter.receive([TextDelta("{}"), STOP]) == []


def test_held_back_nothing_is_shown_before_all_is_checked() -> None:
    filter = JsonText(OBJECT, validate=validate, hold=True)
    assert filter.receive([TextDelta('{"a": '), TextDelta("1")]) == []
    assert filter.receive([TextDelta("}")]) == [TextDelta('{"a": 1}'), STOP]


SCHEMA = {"type": "object", "required": ["a"]}
WRONG = [
    pytest.param('{"b": 1}', "does not fit the JSON schema: at the top: a is missing", id="does not fit"),
    pytest.param('{"a": 1,}', "trailing comma", id="a trailing comma"),
    pytest.param('{"a": NaN}', "not valid JSON", id="not a number"),
    pytest.param('{"a": ["', "not valid JSON", id="cut off"),
    pytest.param('{"a": ' + "[" * 20_000 + "]" * 20_000 + "}", "not valid JSON", id="too deep"),
]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("written", "complaint"), WRONG)
def test_what_was_not_shown_is_asked_for_again(written: str, complaint: str, *, whole: bool) -> None:
    filter = JsonText(fitting(SCHEMA), validate=validate, hold=True)
    *before, last = run(filter, written, whole=whole)
    assert before == [STARTED]
    assert isinstance(last, Unusable)
    assert last.answer == written
    assert complaint in last.complaint
    filter.restart()
    assert not filter.decided
    assert run(filter, '{"a": 2}') == [TextDelta('{"a": 2}'), STOP]


@pytest.mark.parametrize(("written", "complaint"), WRONG)
def test_what_was_shown_fails(written: str, complaint: str) -> None:
    last = run(JsonText(fitting(SCHEMA), validate=validate), written)[-1]
    assert isinstance(last, Failed)
    assert last.error.code == "invalid_json_answer"
    assert complaint not in last.error.message


@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize("written", ["", "I'm sorry, I can't.", "{name}", "[1, 2]"])
def test_an_answer_without_the_json_is_asked_for_again_once(written: str, *, hold: bool) -> None:
    filter = JsonText(OBJECT, validate=validate, hold=hold)
    *before, last = run(filter, written)
    assert before == [STARTED]
    assert isinstance(last, Unusable)
    assert last.answer == written
    filter.restart()
    (failed,) = run(filter, "I can't.")
    assert isinstance(failed, Failed)
    assert failed.error.code == "no_json_answer"
    assert "sorry" not in failed.error.message


def test_a_second_answer_that_is_wrong_fails() -> None:
    filter = JsonText(fitting(SCHEMA), validate=validate, hold=True)
    run(filter, "{}")
    filter.restart()
    (failed,) = run(filter, "{}")
    assert isinstance(failed, Failed)
    assert failed.error.code == "invalid_json_answer"


@pytest.mark.parametrize("hold", [True, False])
def test_an_answer_cut_from_outside_ends_as_it_was_cut(*, hold: bool) -> None:
    events = run(JsonText(OBJECT, validate=validate, hold=hold), 'So: {"a": "b', end=Finished("length"))
    assert events == [STARTED, TextDelta('{"a": "b'), Finished("length")]


def test_calls_and_failures_pass() -> None:
    called = [Called("call_1", "clock", "{}"), Finished("tool_calls")]
    assert JsonText(OBJECT, validate=validate).receive([TextDelta("Wait."), *called]) == called
    failed = Failed(UpstreamError("cut"))
    assert JsonText(OBJECT, validate=validate).receive([TextDelta("{"), failed, STOP]) == [failed]


def test_a_citation_is_its_text() -> None:
    events = JsonText(OBJECT, validate=validate).receive(
        [TextDelta('{"a": "b '), Citation("[1]"), TextDelta('"}'), STOP]
    )
    assert text_of(events) == '{"a": "b [1]"}'


# --- anything ---------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.sampled_from([None, 1]), st.booleans(), st.text())
def test_any_object_arrives(value: object, indent: int | None, ascii: bool, after: str) -> None:
    written = json.dumps(value, indent=indent, ensure_ascii=ascii)
    for whole in (True, False):
        events = run(JsonText(OBJECT, validate=validate), f"So:\n```json\n{written}{after}", whole=whole)
        assert (text_of(events), events[-1]) == (written, STOP)


@settings(max_examples=300)
@given(st.text(alphabet='{}[]" \\\n`a1t,:', max_size=30), st.booleans(), st.sampled_from([OBJECT, fitting({})]))
def test_how_text_is_cut_makes_no_difference(
    written: str,
    hold: bool,
    form: JsonAnswer,
) -> None:
    first, second = (JsonText(form, validate=validate, hold=hold) for _ in range(2))
    whole, cut = run(first, written), run(second, written, whole=False)
    assert text_of(whole) == text_of(cut)
    assert type(whole[-1]) is type(cut[-1])


@pytest.mark.parametrize(("text", "end"), [("{}", 2), ("[[]]]", 4), ('{"}":"\\""}x', 10), ('{"\\\\"}', 6), ("{", None)])
def test_where_json_ends(text: str, end: int | None) -> None:
    assert JsonEnd().find(text) == end
    scanner = JsonEnd()
    assert next((place for place, char in enumerate(text, 1) if scanner.find(char)), None) == end


# --- what the model is told -------------------------------------------------------------------------------------------


def test_the_instructions() -> None:
    assert format_instructions(None) == ""
    assert format_instructions(OBJECT).startswith("Answer with one valid JSON object. ")
    person = JsonAnswer({"type": "object"}, "person", "Who it is")
    assert format_instructions(person).endswith('no code fence.\nperson\nWho it is\n{"type":"object"}')
