"""The user socket (protocol.md 5.7): its addresses, and the frames that tell a turn's topic.

Rule: an address is a secret that runs out, and everybody sees only their own topics. What is told is what a resume
tells, as items; how badly it is told is for the directive `socket` to say.
"""

import secrets
from collections.abc import Iterator

import msgspec

from shim.standin.accounts import Clock
from shim.standin.conversations import Conversation
from shim.standin.memory import remember
from shim.standin.moved import Handoff
from shim.standin.steps import Json

LIFETIME = 3600.0  # seconds
CONVERSATIONS = "conversations"


class Sockets:
    """The addresses handed out, by what verifies them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issued: dict[str, tuple[str, float]] = {}

    def issue(self, identity: str) -> str:
        """What stands behind `verify=`."""
        verify = f"{int(self._clock())}-{secrets.token_urlsafe(24)}"
        remember(self._issued, verify, (identity, self._clock() + LIFETIME))
        return verify

    def identity_of(self, verify: str) -> str | None:
        """Whose address it is; None where it is unknown or has run out."""
        identity, until = self._issued.get(verify, (None, 0.0))
        return identity if until > self._clock() else None


class Command(msgspec.Struct):
    """What a client asks for: `connect`, `subscribe`, `unsubscribe` or `presence`."""

    type: str
    topic_id: str | None = None
    offset: str | None = None


class Asked(msgspec.Struct):
    """One object of a client's frame."""

    id: int
    command: Command


def notices(conversation: Conversation) -> Iterator[Json]:
    """What is told beside turns of messages that come later, among notices that mean nothing."""
    for place, message in enumerate(conversation.notices, 1):
        yield _update("another", "add-messages", messages=[message])
        yield _update(conversation.id, "set-conversation-async-status", conversation_async_status=4)
        preview = message | {"status": "in_progress", "content": {"content_type": "multimodal_text", "parts": []}}
        yield _update(conversation.id, "async-task-update-message", message=preview)
        if place < len(conversation.notices):
            yield _update(conversation.id, "add-messages", messages=[message])
        else:
            yield _update(conversation.id, "async-task-completed", message=message)


def _update(conversation_id: str, kind: str, **content: object) -> Json:
    told = {"conversation_id": conversation_id, "update_type": kind, "update_content": content}
    payload = {"type": "conversation-update", "payload": told}
    return {"type": "message", "topic_id": CONVERSATIONS, "offset": "1-0", "payload": payload}


class Topic:
    """One turn's topic as one connection is told of it."""

    def __init__(self, topic_id: str, conversation: Conversation, handoff: Handoff) -> None:
        self.topic_id = topic_id
        self.handoff = handoff
        self._how = handoff.directives.socket or "plain"
        self._here = {"conversation_id": conversation.id, "turn_id": handoff.turn.exchange_id}

    def reply(self, asked: Asked) -> Json:
        """The answer to a subscription: with noise, the first items are told in it already."""
        offset = asked.command.offset
        recovered = offset is not None and self._how != "lost"
        told: Json = {"type": "subscribe", "topic_id": self.topic_id, "recovered": recovered, "last_offset": "0-0"}
        if self._how == "noise" and recovered:
            told["catchups"] = [*self._messages_after(offset)][:3]
        return {"id": asked.id, "type": "reply", "reply": told}

    def messages(self, offset: str | None) -> Iterator[Json | list[Json] | None]:
        """What is told after `offset`, and the end. None: the connection breaks here."""
        if self._how in {"silent", "lost"}:
            return
        messages = [*self._messages_after(offset)]
        breaks = self.handoff.breaks > 0
        self.handoff.breaks -= breaks
        for place, message in enumerate(messages):
            if breaks and place > len(messages) // 2:
                yield None
                return
            if self._how == "noise":
                yield from self._noise(place, message)
            yield message
        if self._how == "noise":
            yield self._foreign("conversation-turn-complete")
        if self._how != "endless":
            yield self._message({"type": "done", **self._here}, len(self.handoff.frames))

    def _messages_after(self, offset: str | None) -> Iterator[Json]:
        begin = int((offset or "0").partition("-")[0])
        before: str | None = None
        for number, frame in enumerate(self.handoff.frames, 1):
            if frame.startswith(b": ") or (self._how == "undone" and b"[DONE]" in frame):
                continue
            name = f"{self.handoff.turn.exchange_id}-{number}"
            item: Json = {"type": "stream-item", **self._here, "encoded_item": frame.decode()}
            item |= {"stream_item_id": name, "parent_stream_item_id": before, "server_timestamp_ms": number}
            if self._how == "noise" and number == 2:
                del item["stream_item_id"]
            before = name
            if number > begin:
                yield self._message(item, number)

    def _message(self, item: Json, number: int) -> Json:
        payload = {"type": "conversation-turn-stream", "metadata": None, "payload": item}
        return {"type": "message", "topic_id": self.topic_id, "offset": f"{number}-0", "payload": payload}

    def _noise(self, place: int, message: Json) -> Iterator[Json | list[Json]]:
        """What a client must get over: nothing, bare objects, heartbeats, other turns, what it has had already."""
        if place % 5 == 0:
            yield []
            yield self._message({"type": "heartbeat", **self._here}, 0)
        if place % 7 == 0:
            yield self._foreign("conversation-update")
            foreign = {"type": "done", "conversation_id": self._here["conversation_id"], "turn_id": "another"}
            payload = {"type": "conversation-turn-stream", "payload": foreign}
            yield {"type": "message", "topic_id": "conversation-turn-another", "offset": "9-0", "payload": payload}
        if "stream_item_id" in message["payload"]["payload"]:
            yield [message]

    def _foreign(self, kind: str) -> Json:
        payload = {"type": kind, "payload": {"conversation_id": self._here["conversation_id"]}}
        return {"type": "message", "topic_id": CONVERSATIONS, "offset": "1-0", "payload": payload}
