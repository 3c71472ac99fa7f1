"""Frames of the account's socket: what of them is ours, given once, in the order it came (protocol.md 5.7)."""

import json
import re
from typing import Any

import pytest

from shim.protocol.answer.follow_up import Socket
from shim.protocol.answer.machine import Answer
from shim.protocol.answer.topic import DONE, TopicReader, connecting, unsubscribing
from shim.protocol.events import Finished, TextDelta
from tests.upstream_says import END, V1, added, append, frame

TOPIC, TURN = "conversation-turn-x", "x"
EVENTS = [V1, added(), append("Hel"), append("lo"), added("Hello", **END), DONE]


def item(encoded: bytes, number: int, **fields: Any) -> dict[str, Any]:
    told = {"type": "stream-item", "turn_id": TURN, "encoded_item": encoded.decode(), "stream_item_id": f"i{number}"}
    return message(told | fields, number)


def message(told: dict[str, Any], number: int = 1, topic: str = TOPIC) -> dict[str, Any]:
    payload = {"type": "conversation-turn-stream", "metadata": None, "payload": told}
    return {"type": "message", "topic_id": topic, "offset": f"{number}-0", "payload": payload}


def reply(**fields: Any) -> dict[str, Any]:
    return {"id": 2, "type": "reply", "reply": {"type": "subscribe", "topic_id": TOPIC, "recovered": True, **fields}}


def read(*frames: Any, follow: Socket | None = None) -> tuple[bytes, TopicReader]:
    reader = TopicReader(follow or Socket("c1", TOPIC, TURN))
    told = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in frames]
    return b"".join(map(reader.receive, told)), reader


def test_items_are_the_stream_in_the_order_they_come() -> None:
    told, reader = read([reply()], *([item(event, number)] for number, event in enumerate(EVENTS, 1)))
    assert told == b"".join(EVENTS)
    assert (reader.ended, reader.offset) == (True, "6-0")


def test_a_bare_object_is_as_good_as_a_list_of_one() -> None:
    assert read(*(item(event, number) for number, event in enumerate(EVENTS)))[0] == b"".join(EVENTS)


def test_what_was_taken_is_dropped_and_an_item_without_a_name_is_not() -> None:
    caught_up = [item(event, number) for number, event in enumerate(EVENTS[:3])]
    live = [item(event, number) for number, event in enumerate(EVENTS)]
    told, _ = read([reply(catchups=caught_up)], live, live)
    assert told == b"".join(EVENTS)
    nameless = item(EVENTS[2], 2, stream_item_id=None)
    assert read(nameless, nameless)[0] == EVENTS[2] * 2


@pytest.mark.parametrize(
    "noise",
    [
        b"[]",
        b"null",
        b"no JSON",
        b"\xff",
        b"[" * 9000,
        [None, 7, "x", {}, {"type": "brand-new"}],
        [message({"type": "heartbeat", "turn_id": TURN})],
        [message({"type": "stream-item", "encoded_item": 7})],
        [item(b"data: foreign\n\n", 7, turn_id="y") | {"topic_id": "conversation-turn-y"}],
        [message({"type": "done", "turn_id": "y"}, topic="conversation-turn-y")],
        [{"type": "message", "payload": {"type": "conversation-turn-complete", "payload": {"conversation_id": "c1"}}}],
        [{"type": "conversation-update", "payload": {"conversation_id": "c1", "update_content": {"message": {}}}}],
        [{"id": 9, "type": "reply", "reply": {"type": "subscribe", "topic_id": "other", "recovered": False}}],
    ],
)
def test_what_is_not_ours_says_and_ends_nothing(noise: Any) -> None:
    told, reader = read(item(EVENTS[0], 1), noise, *(item(event, n) for n, event in enumerate(EVENTS[1:], 2)))
    assert told == b"".join(EVENTS)
    assert not reader.lost


def test_replies_in_one_another_are_no_answer() -> None:
    """As deep as JSON may be, and deeper than functions may call one another."""
    begin = f'{{"type":"reply","reply":{{"type":"subscribe","topic_id":"{TOPIC}","catchups":['
    assert read(f"[{begin * 1000}{']}}' * 1000}]".encode(), item(EVENTS[0], 1))[0] == EVENTS[0]


def test_an_offset_that_is_none_is_not_gone_on_from() -> None:
    assert read(item(EVENTS[0], 1) | {"offset": "9" * 5000})[1].offset == "0"


@pytest.mark.parametrize(
    "end", [[message({"type": "done", "turn_id": TURN}, 9)], [item(DONE, 9), message({"type": "done"}, 10)]]
)
def test_either_end_ends_once(end: list[Any]) -> None:
    told, reader = read(item(EVENTS[0], 1), *end, item(append("late"), 11))
    assert (told, reader.ended) == (EVENTS[0] + DONE, True)


def test_an_item_of_our_turn_on_another_topic_is_ours() -> None:
    """The topic has been written in several ways."""
    told, _ = read(item(EVENTS[0], 1) | {"topic_id": "conv-turn-low-ttl-x"})
    assert told == EVENTS[0]


def test_an_event_taken_apart_is_put_together_and_a_missing_blank_line_is_added() -> None:
    apart = message({"type": "delta", "event": "delta", "data": '{"v": "x"}'})
    assert read(apart)[0] == frame({"v": "x"}, "delta")
    assert read(item(b"data: 1", 1))[0] == b"data: 1\n\n"


def test_a_topic_that_is_not_kept_is_lost() -> None:
    assert read([reply(recovered=False)])[1].lost
    assert not read([reply()])[1].lost


def test_it_subscribes_from_where_it_was() -> None:
    reader = TopicReader(Socket("c1", TOPIC, TURN))
    assert json.loads(connecting(1))[0]["command"]["type"] == "connect"
    subscribe = {"id": 2, "command": {"type": "subscribe", "topic_id": TOPIC, "offset": "0"}}
    assert json.loads(reader.subscribing(2)) == [subscribe]
    for number in ("1784872208758-0", "1784872208758-2", "1784872208758-1", "9" * 5000, "9" * 21, "x", "-"):
        reader.receive(json.dumps(item(b"data: 1", 1) | {"offset": number}).encode())
    assert json.loads(reader.subscribing(3))[0]["command"]["offset"] == "1784872208758-2"
    assert json.loads(unsubscribing(4, TOPIC)) == [{"id": 4, "command": {"type": "unsubscribe", "topic_id": TOPIC}}]
    beside = json.loads(TopicReader(Socket("c1")).subscribing(2))[0]["command"]
    assert beside == {"type": "subscribe", "topic_id": "conversations"}, "what is still to come"


def test_without_a_topic_it_hears_of_pictures_in_the_conversation() -> None:
    picture = {"id": "d1", "author": {"role": "tool"}}

    def update(kind: str, conversation: str = "c1", **content: Any) -> dict[str, Any]:
        told = {"conversation_id": conversation, "update_type": kind, "update_content": content}
        return {"type": "conversation-update", "payload": told}

    told, reader = read(
        update("async-task-update-message", message=picture),
        update("add-messages", messages=[picture]),
        update("add-messages", "c2", messages=[picture]),
        update("async-task-completed", message=picture),
        follow=Socket("c1"),
    )
    *events, last, _ = told.split(b"\n\n")
    shown = [json.loads(event.removeprefix(b"data: ")) for event in events]
    assert shown == [{"message": picture, "conversation_id": "c1"}] * 3
    assert last == DONE.strip()
    assert reader.ended


def restored(item: str, number: int) -> str:
    """An item of the recording, with something in the place of what its author left out: else it is no JSON, and its
    messages have no author."""
    item = re.sub(r"\{ELIDED[^{}]*\}", "{}", re.sub(r"\[ELIDED[^\[\]]*\]", "[]", item))
    whole = f'"message":{{"id":"m{number}","author":{{"role":"assistant"}},"content"'
    return item.replace('"message":{"content"', whole)


def test_the_recorded_frames_give_what_their_items_say(capture: Any) -> None:
    recorded = json.loads(capture("ws-turn-frames-2026-07.reduced.json"))
    for number, entry in enumerate(recorded):
        if "encoded_item" in entry:
            entry["encoded_item"] = restored(entry["encoded_item"], number)
    first = next(one for entry in recorded for one in entry.get("frame", []) if one.get("type") == "message")
    topic = first["topic_id"]
    items = [first["payload"]["payload"]["encoded_item"], *(e["encoded_item"] for e in recorded if "encoded_item" in e)]
    reader = TopicReader(Socket("c1", topic, topic.removeprefix("conversation-turn-")))
    told = b""
    for number, entry in enumerate(recorded):
        if entry["from"] != "server":
            continue
        if "encoded_item" in entry:
            wrapped = item(entry["encoded_item"].encode(), number) | {"topic_id": topic}
            told += reader.receive(json.dumps([wrapped]).encode())
        else:
            bare = entry.get("frame") or entry.get("payload") or message(entry["payload_payload"], number, topic)
            told += reader.receive(json.dumps(bare).encode())
    twin = b"".join(one.rstrip("\n").encode() + b"\n\n" for one in items)
    assert told == twin
    assert reader.ended
    by_socket, by_stream, bytewise = Answer(kept=False), Answer(kept=False), Answer(kept=False)
    heard = by_socket.receive(told)
    assert repr(heard) == repr(by_stream.receive(twin))
    pieces = [event for place in range(len(told)) for event in bytewise.receive(told[place : place + 1])]
    assert [type(event) for event in pieces] == [type(event) for event in heard]
    for events in (heard, pieces):
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "**Sếp,** 45."
        assert events[-1] == Finished("stop")


@pytest.mark.parametrize("size", [1, 7])
def test_an_answer_by_the_socket_is_the_answer_by_the_stream(size: int) -> None:
    told, _ = read([reply()], *(item(event, number) for number, event in enumerate(EVENTS)))
    by_socket, by_stream = Answer(), Answer()
    pieces = [told[begin : begin + size] for begin in range(0, len(told), size)]
    heard = [event for piece in pieces for event in by_socket.receive(piece)]
    twin = by_stream.receive(b"".join(EVENTS))
    assert "".join(event.text for event in heard if isinstance(event, TextDelta)) == "Hello"
    assert "".join(event.text for event in twin if isinstance(event, TextDelta)) == "Hello"
    assert (heard[0], heard[-1]) == (twin[0], twin[-1])
