"""Which histories are the same one, and which are not."""

import hashlib

import msgspec
import pytest

from shim.apis.chat.read import read
from shim.protocol.prompt import Continues
from shim.protocol.turn.history import MOST_PREFIXES, History, rest_of

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"é","n":[1,2]}'}}
SECOND = {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "a tree"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
BARE_PICTURE = {"type": "image_url", "image_url": "data:image/png;base64,QUJD"}
OTHER_PICTURE = {"type": "image_url", "image_url": "data:image/png;base64,QUJE"}
WORDS = {"type": "text", "text": "What is this?"}
FILE = {"type": "file", "file": {"file_data": "data:text/plain;base64,QUJD", "filename": "a.txt"}}
SYSTEM = {"role": "system", "content": "Be kind."}
QUESTION = {"role": "user", "content": [WORDS, PICTURE]}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
ANSWER = {"role": "assistant", "content": "**A tree.**\n\n```py\n  x\n```"}
NEXT = {"role": "user", "content": "And then?"}
WHOLE = [SYSTEM, QUESTION, CALLS, RESULT, ANSWER, NEXT]


def sha256(data):
    return hashlib.sha256(data).digest()


def asked(body):
    return read(msgspec.json.encode(body)).prompt


def history(messages, scope="pool", **more):
    """Through the real decoder, as what clients send besides is dropped there."""
    body = {"model": "auto", "messages": messages, "tools": [TOOL], **more}
    return History(asked(body), scope, sha256)


def prefixes(messages, *more, **fields):
    return [(prefix.length, prefix.key) for prefix in history(messages, *more, **fields).prefixes()]


def said(message):
    return asked({"model": "auto", "messages": [message]}).messages[0]


def changed(place, **fields):
    return [one | fields if place == number else one for number, one in enumerate(WHOLE)]


def test_the_key_of_an_answer_is_the_one_its_history_is_found_by():
    assert prefixes(WHOLE) == [
        (5, history(WHOLE[:4]).key_with(said(ANSWER))),
        (3, history(WHOLE[:2]).key_with(said(CALLS))),
    ]


@pytest.mark.parametrize(
    "again",
    [
        changed(4, reasoning_content="Hm.", annotations=[], refusal=None, audio=None),
        changed(4, content=f"\n {ANSWER['content']} \n\n"),
        changed(4, content=[{"type": "text", "text": ANSWER["content"]}]),
        changed(4, content=[{"type": "text", "text": part} for part in ANSWER["content"].split("\n", 1)]),
        changed(4, tool_calls=[]),
        changed(4, name=""),
        changed(2, content=""),
        changed(2, content=[]),
        changed(2, content=" "),
        changed(2, tool_calls=[CALL | {"function": {"name": "look", "arguments": '{ "at": "\\u00e9", "n": [1, 2] }'}}]),
        changed(2, tool_calls=[CALL | {"function": {"name": "look", "arguments": '{"n":[1,2],"at":"é"}'}}]),
        changed(2, tool_calls=[CALL | {"index": 0}]),
        changed(3, content="a tree\n"),
        changed(3, content=[{"type": "text", "text": "a tree"}]),
        changed(0, content="Be kind. "),
        changed(0, role="developer"),
        changed(1, content=[WORDS, BARE_PICTURE]),
        changed(1, content=[WORDS, {"type": "text", "text": ""}, PICTURE]),
        changed(5, content="Another question, as often as one likes"),
    ],
)
def test_what_clients_alter_counts_nothing(again):
    assert prefixes(again) == prefixes(WHOLE)


def test_what_does_not_decide_the_history_counts_nothing():
    fields = {"stream": True, "max_tokens": 5, "stop": ["x"], "user": "me", "reasoning_effort": "low", "temperature": 0}
    assert prefixes(WHOLE, **fields) == prefixes(WHOLE)
    assert prefixes(WHOLE, tool_choice="auto", parallel_tool_calls=True) == prefixes(WHOLE)


@pytest.mark.parametrize(
    "edited",
    [
        changed(4, content="**A tree.**\n\n```py\nx\n```"),
        changed(4, content="**A Tree.**\n\n```py\n  x\n```"),
        changed(4, content=None),
        changed(4, name="somebody"),
        changed(4, content=[{"type": "text", "text": ANSWER["content"]}, PICTURE]),
        changed(3, content="a bush"),
        changed(4, tool_calls=[CALL]),
    ],
)
def test_an_edit_misses_from_there_on_and_leaves_what_is_before(edited):
    assert prefixes(edited)[0] != prefixes(WHOLE)[0]
    assert prefixes(edited)[-1] == prefixes(WHOLE)[-1]


@pytest.mark.parametrize(
    "edited",
    [
        changed(0, content="Be very kind."),
        changed(0, name="operator"),
        WHOLE[1:],
        [SYSTEM, *WHOLE],
        [QUESTION, SYSTEM, *WHOLE[2:]],
        changed(1, content="What is this?"),
        changed(1, content=[PICTURE, WORDS]),
        changed(1, content=[WORDS, OTHER_PICTURE]),
        changed(1, content=[WORDS, FILE]),
        changed(1, content=f"What is this?\nimage\n{PICTURE['image_url']['url']}"),
        changed(2, content="Let me look."),
        changed(2, tool_calls=[CALL | {"function": {"name": "look", "arguments": "{}"}}]),
        changed(2, tool_calls=[CALL | {"function": {"name": "see", "arguments": '{"at":"é","n":[1,2]}'}}]),
    ],
)
def test_an_edit_at_the_beginning_misses_everything(edited):
    assert not {key for _, key in prefixes(edited)} & {key for _, key in prefixes(WHOLE)}


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-4o"},
        {"tools": []},
        {"tools": [TOOL | {"function": TOOL["function"] | {"description": "Looks."}}]},
        {"tool_choice": "required"},
        {"tool_choice": "none"},
        {"parallel_tool_calls": False},
        {"response_format": {"type": "json_object"}},
    ],
)
def test_what_the_model_is_told_besides_decides(fields):
    assert not {key for _, key in prefixes(WHOLE, **fields)} & {key for _, key in prefixes(WHOLE)}


def test_no_two_callers_come_to_the_same_keys():
    keys = [key for scope in ("pool", "own a", "own b") for _, key in prefixes(WHOLE, scope)]
    assert len(set(keys)) == len(keys) == 6


def test_messages_do_not_run_into_each_other():
    """What one message says, and what two say, never comes to the same key."""
    answer = {"role": "assistant", "content": "c"}
    ways = [
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, answer, NEXT],
        [{"role": "user", "content": "a\nb"}, answer, NEXT],
        [{"role": "user", "content": "ab"}, answer, NEXT],
        [{"role": "user", "content": '"],["user","","",["b'}, answer, NEXT],
        [{"role": "user", "name": "a", "content": "b"}, answer, NEXT],
    ]
    assert len({prefixes(way)[0][1] for way in ways}) == len(ways)


def test_only_the_newest_few_are_looked_for():
    many = [message for number in range(50) for message in ({"role": "user", "content": f"{number}"}, ANSWER)]
    assert [length for length, _ in prefixes([*many, NEXT])] == [100, 98, 96][:MOST_PREFIXES]


@pytest.mark.parametrize(
    ("messages", "lengths"),
    [
        ([NEXT], []),
        ([SYSTEM, NEXT], []),
        ([NEXT, ANSWER], []),  # nothing would be left to send
        ([NEXT, ANSWER, NEXT, ANSWER], [2]),
        ([NEXT, ANSWER, SYSTEM, NEXT], [2]),
        ([ANSWER, NEXT], [1]),
        ([NEXT, CALLS, RESULT], [2]),
        ([NEXT, CALLS, RESULT, NEXT], [2]),
        ([NEXT, CALLS, NEXT], []),  # no result
        ([NEXT, ANSWER, RESULT], []),  # no call
        ([NEXT, CALLS | {"tool_calls": [CALL, SECOND]}, RESULT, RESULT | {"tool_call_id": "call_2"}], [2]),
        ([NEXT, CALLS | {"tool_calls": [SECOND, CALL]}, RESULT, RESULT | {"tool_call_id": "call_2"}], []),
        ([NEXT, CALLS | {"tool_calls": [CALL, SECOND]}, RESULT], []),
        ([NEXT, CALLS, RESULT, RESULT | {"tool_call_id": "call_2"}], []),
    ],
)
def test_where_a_history_can_be_gone_on_with(messages, lengths):
    assert [length for length, _ in prefixes(messages)] == lengths


def test_arguments_that_are_no_json_are_compared_as_they_are():
    def calling(arguments):
        calls = [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}}]
        return prefixes([NEXT, CALLS | {"tool_calls": calls}, RESULT])

    assert calling("{nonsense") == calling(" {nonsense")
    assert len({calling(text)[0][1] for text in ("{nonsense", '"{nonsense"', "", "null", "[" * 5000)}) == 5


def test_the_rest_is_a_turn_of_that_conversation():
    prompt = asked({"model": "auto", "messages": [QUESTION, ANSWER, NEXT], "stream": True, "max_tokens": 7})
    rest = rest_of(prompt, 2, "conversation.account", "message")
    assert rest == msgspec.structs.replace(
        prompt, messages=(said(NEXT),), continues=Continues("conversation.account", "message")
    )
    assert len(prompt.messages) == 3
