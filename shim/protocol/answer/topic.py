"""Frames of the user's socket to the bytes of one answer's stream (protocol.md 5.7).

Rule: pure. The socket is the account's, so most of what comes is somebody else's; what is ours comes twice or more,
and is given once. What can't be read is passed over.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from shim.protocol.answer.follow_up import Socket

# What ends a stream over HTTP, so that the machine needs to know nothing of sockets.
DONE = b"data: [DONE]\n\n"
_OF_CONVERSATIONS = "conversations"


def connecting(id: int) -> str:
    """The first frame of a connection."""
    return _frame(id, {"type": "connect", "presence": {"type": "presence", "state": "background"}})


def unsubscribing(id: int, topic: str) -> str:
    """The frame that unsubscribes from a topic."""
    return _frame(id, {"type": "unsubscribe", "topic_id": topic})


def told_in(frame: bytes) -> list[Any]:
    """The messages of a frame, of whatever form; none where it can't be read."""
    try:
        told = msgspec.json.decode(frame)
    except (ValueError, RecursionError):
        return []
    # The server sends lists, and single objects as well (5.7).
    return told if isinstance(told, list) else [told]


class TopicReader:
    """One turn's topic. `offset` is where to go on after a break, `ended` that the turn is over, `lost` that upstream
    does not keep the topic. Without a topic it hears what is told of the conversation beside turns: pictures."""

    def __init__(self, follow: Socket) -> None:
        self.offset = "0"
        self.ended = self.lost = False
        self.items = 0
        self._follow = follow
        # Ids of items: duplicates are normal, 189 messages for 16 items in one recording (5.7).
        self._taken: set[str] = set()

    @property
    def topic(self) -> str:
        """The topic that is subscribed to."""
        return self._follow.topic_id or _OF_CONVERSATIONS

    def subscribing(self, id: int) -> str:
        """The frame that subscribes to the topic, from where it was left. Frames of one connection have rising ids."""
        command = {"type": "subscribe", "topic_id": self.topic}
        # What is told beside turns has no place to go on from.
        return _frame(id, command | ({"offset": self.offset} if self._follow.topic_id is not None else {}))

    def receive(self, frame: bytes) -> bytes:
        """The stream's bytes in a frame."""
        return self.hear(told_in(frame))

    def hear(self, told: list[Any]) -> bytes:
        """The same of a frame that was read for several topics at once (`told_in`)."""
        return b"".join(self._messages(told))

    def _messages(self, told: list[Any], *, caught_up: bool = False) -> Iterator[bytes]:
        for message in told:
            match message:
                case {"type": "reply", "reply": {"type": "subscribe", "topic_id": topic, **reply}} if not caught_up:
                    if topic == self._follow.topic_id:
                        self.lost = reply.get("recovered") is False
                        catchups = reply.get("catchups")
                        yield from self._messages(catchups if isinstance(catchups, list) else [], caught_up=True)
                case {"type": "message", "payload": {"type": "conversation-turn-stream", "payload": dict() as item}}:
                    topic, turn = self._follow.topic_id, self._follow.turn_id
                    is_of_turn = turn is not None and item.get("turn_id") == turn
                    if topic is not None and (message.get("topic_id") == topic or is_of_turn):
                        yield from self._item(item)
                        offset = message.get("offset")
                        # What is repeated comes with the old offset, and must not take us back.
                        if isinstance(offset, str) and _numbers(offset) > _numbers(self.offset):
                            self.offset = offset
                case {"type": "message", "payload": {"type": "conversation-update", "payload": dict() as update}}:
                    yield from self._update(update)
                case {"type": "conversation-update", "payload": dict() as update}:
                    yield from self._update(update)

    def _item(self, item: dict[str, Any]) -> Iterator[bytes]:
        if self.ended:
            return
        match item:
            case {"type": "done"}:
                self.ended = True
                yield DONE
            case {"type": "stream-item", "encoded_item": str(encoded)}:
                id = item.get("stream_item_id")
                if isinstance(id, str):
                    # An item without an id is never dropped: nothing tells it from the next one (5.7).
                    if id in self._taken:
                        return
                    self._taken.add(id)
                self.items += 1
                self.ended = encoded.strip() == "data: [DONE]"
                yield encoded.rstrip("\n").encode() + b"\n\n"
            case {"type": "delta", "data": str(data), **rest}:
                self.items += 1
                event = rest.get("event")
                yield (f"event: {event}\n" if isinstance(event, str) else "").encode() + b"data: %s\n\n" % data.encode()

    def _update(self, update: dict[str, Any]) -> Iterator[bytes]:
        """What is told of a conversation beside its turns: whole messages (6.5). Of use where there is no topic."""
        # The whole account hears of these, other chats' too.
        if self._follow.topic_id is not None or update.get("conversation_id") != self._follow.conversation_id:
            return
        content = update.get("update_content")
        content = content if isinstance(content, dict) else {}
        messages = content.get("messages")
        for message in [content.get("message"), *(messages if isinstance(messages, list) else [])]:
            if isinstance(message, dict):
                self.items += 1
                shown = {"message": message, "conversation_id": self._follow.conversation_id}
                yield b"data: %s\n\n" % _encode(shown)
        if update.get("update_type") == "async-task-completed":
            self.ended = True
            yield DONE


def _numbers(offset: str) -> tuple[int, ...]:
    parts = offset.split("-")
    # Two numbers of 64 bits. `int` raises for thousands of digits.
    plain = all(part.isdecimal() and len(part) <= 20 for part in parts)
    return tuple(map(int, parts)) if plain else ()


def _frame(id: int, command: dict[str, Any]) -> str:
    return _encode([{"id": id, "command": command}]).decode()


_encode = msgspec.json.Encoder().encode
