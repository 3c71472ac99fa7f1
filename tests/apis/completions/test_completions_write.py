"""Events as text completions, checked by the official SDK's own type."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types import Completion

from shim.apis.completions import COMPLETIONS
from shim.apis.completions.read import CompletionOptions
from shim.errors import LimitError, UpstreamError
from shim.protocol.api import AnsweredBy
from shim.protocol.counting.usage import usage_of
from shim.protocol.events import Citation, Failed, Finished, ReasoningDelta, Started, TextDelta
from tests.answering import FakeAnswer

STARTED = Started("c1", "a1", "gpt-4o")


def answer_of(options=None, **names):
    names = {"model": "gpt-4o", "count": lambda transcripts: usage_of(7, transcripts, len), **names}
    return FakeAnswer(**names, api=COMPLETIONS, options=options or CompletionOptions())


def checked(body):
    """The body, which the SDK has to take as it is (a line's reason is null until the last one, as in the real API)."""
    for choice in body["choices"]:
        assert set(choice) == {"text", "index", "finish_reason", "logprobs"}
    as_last = [choice | {"finish_reason": choice["finish_reason"] or "stop"} for choice in body["choices"]]
    Completion.model_validate(body | {"choices": as_last}, strict=True)
    assert not Completion.model_validate(body | {"choices": as_last}).model_extra
    return body


def lines_of(body):
    *lines, rest = body.split(b"\n\n")
    assert rest == b""
    return [line.removeprefix(b"data: ") for line in lines]


def check_sequence(lines, choices=1, usage=False):
    """Texts of every choice, its reason once and last; then usage where it is asked for; then the end."""
    *lines, done = lines
    assert done == b"[DONE]"
    read = [checked(json.loads(line)) for line in lines]
    last = read.pop() if usage else None
    assert last is None or (last["choices"] == [] and last["usage"])
    assert all(("usage" in one) == usage and one.get("usage") is None for one in read)
    texts, ended = dict.fromkeys(range(choices), ""), {}
    for one in read:
        (choice,) = one["choices"]
        assert choice["index"] not in ended
        texts[choice["index"]] += choice["text"]
        if choice["finish_reason"]:
            ended[choice["index"]] = choice["finish_reason"]
    assert set(ended) == set(texts)
    return texts, ended


def both(events, options=None, **names):
    """(streamed text and reason, whole text and reason)"""
    streamed, whole = answer_of(options, **names), answer_of(options, **names)
    lines = lines_of(streamed.head() + b"".join(streamed.write([event]) for event in events))
    texts, ended = check_sequence(lines, usage=bool(options and options.include_usage))
    whole.add(events)
    (choice,) = checked(json.loads(whole.whole()))["choices"]
    return (texts[0], ended[0]), (choice["text"], choice["finish_reason"])


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([STARTED, TextDelta("Hel", opens=True), TextDelta("lo\u2028")], "Hello\u2028"),
        ([STARTED, ReasoningDelta("hm", opens=True), TextDelta("ok")], "ok"),
        ([STARTED, TextDelta("see "), Citation("[1](u)")], "see [1](u)"),
        ([STARTED], ""),
    ],
)
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
@pytest.mark.parametrize("options", [CompletionOptions(), CompletionOptions(include_usage=True, echo=("Say: ",))])
def test_streamed_equals_whole(events, text, reason, options):
    told = ("".join(options.echo) + text, reason)
    assert both([*events, Finished(reason)], options) == (told, told)


@given(st.lists(st.text(max_size=5), max_size=8))
def test_any_text_arrives(texts):
    said = "".join(texts)
    events = [STARTED, *map(TextDelta, texts), Finished("stop")]
    assert both(events) == ((said, "stop"), (said, "stop"))


def test_choices_are_told_apart():
    answer = answer_of(CompletionOptions(echo=("> ", "> ")), choices=2)
    body = answer.head() + answer.write([STARTED, TextDelta("b")], 1) + answer.write([STARTED, TextDelta("a")], 0)
    body += answer.write([Finished("stop")], 1) + answer.write([Finished("length")], 0)
    assert check_sequence(lines_of(body), 2) == ({0: "> a", 1: "> b"}, {0: "length", 1: "stop"})
    whole = checked(json.loads(answer.whole()))
    assert [(one["index"], one["text"]) for one in whole["choices"]] == [(0, "> a"), (1, "> b")]


def test_usage_is_that_of_all_choices():
    answer = answer_of(CompletionOptions(include_usage=True))
    body = answer.write([STARTED, ReasoningDelta("hm"), TextDelta("four"), Finished("stop")])
    usage = json.loads(lines_of(body)[-2])["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (7, 6, 13)
    assert json.loads(answer.whole())["usage"] == usage


def test_an_answer_that_breaks_off_ends_with_its_error():
    answer = answer_of()
    lines = lines_of(answer.write([STARTED, TextDelta("a"), Failed(UpstreamError("Cut", code="upstream_cut"))]))
    assert json.loads(lines[-1])["error"]["code"] == "upstream_cut"
    assert b"[DONE]" not in lines


def test_an_answer_that_never_began_is_its_error_alone():
    (line,) = lines_of(COMPLETIONS.break_off(UpstreamError("Cut")))
    assert json.loads(line)["error"]["message"] == "Cut"


def test_a_refusal_has_openais_envelope():
    headers, body = COMPLETIONS.refuse(LimitError("Wait", retry_after=7.0))
    assert (headers["retry-after"], json.loads(body)["error"]["type"]) == ("7", "rate_limit_error")


def test_who_really_answered_is_told_with_the_end():
    answer = answer_of(answered_by=AnsweredBy("gpt-5-6-thinking", "max", True, None))
    lines = lines_of(answer.write([STARTED, TextDelta("Hi"), Finished("stop")]))
    told = {"slug": "gpt-5-6-thinking", "effort": "max", "auto_switched": True}
    assert [json.loads(line).get("chatgpt") for line in lines[:-1]] == [None, told]
    assert json.loads(answer.whole())["chatgpt"] == told
