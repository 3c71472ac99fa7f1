"""Conversations that are kept: what is written down of one, what is added to it, and what a request makes of it.

Rule: a conversation is its items, in their order, each with an id of its own. As far as upstream has the same in a
chat, the record says where, and a response goes on there; what was changed since decides whether it still may.
"""

import re
from collections.abc import Iterable

import msgspec

from shim.apis.decoding import decode
from shim.apis.responses import wire
from shim.apis.responses.conversation_wire import Items, RawItem
from shim.apis.responses.items import messages_of
from shim.apis.responses.kept import Found, name_of, whole_items, whole_request_items
from shim.apis.responses.options import ResponseOptions
from shim.apis.responses.write import item_id, response_of
from shim.errors import RequestError
from shim.protocol.api import AnswerInfo, AnswerPlace
from shim.protocol.prompt import GoesOn, PromptMessage

PREFIX = "conv_"
# The record is read and written whole with each answer.
FULL = 4 * 1024 * 1024
"""Bytes of a conversation, with what is added, from which on nothing more is taken"""


class KeptConversation(msgspec.Struct, frozen=True):
    """One record. `place` is where upstream has the first `placed` items."""

    id: str
    created: int
    metadata: dict[str, str] = {}
    items: list[msgspec.Raw] = []
    place: AnswerPlace | None = None
    placed: int = 0

    def with_items(self, items: Iterable[msgspec.Raw], fallback: str) -> "KeptConversation":
        """The same with more items. One whose id is taken gets another, made of `fallback`."""
        taken = {name_of(item) for item in self.items}
        all_of_them, number = [*self.items], _AGAIN
        for item in items:
            name = name_of(item)
            # Clients send items of other conversations, ids and all; two of one id could not be told apart when one is
            # removed.
            if name is None or name in taken:
                name = item_id("item", fallback, number)
                number += 1
                item = msgspec.Raw(_encode(_raw_decoder.decode(item) | {"id": msgspec.Raw(_encode(name))}))  # noqa: PLW2901
            all_of_them.append(item)
            taken.add(name)
        return msgspec.structs.replace(self, items=all_of_them)

    def without_item(self, id: str) -> "KeptConversation | None":
        """The same without an item; None where it has none of that id. What upstream has can't be taken back there, so
        that it is not gone on with."""
        place = next((place for place, item in enumerate(self.items) if name_of(item) == id), None)
        if place is None:
            return None
        items = [*self.items[:place], *self.items[place + 1 :]]
        # Upstream still has what is taken out here, and the model would go on as if it had been said.
        if place < self.placed:
            return msgspec.structs.replace(self, items=items, place=None, placed=0)
        return msgspec.structs.replace(self, items=items)


class ConversationAppending:
    """See `shim.protocol.api.Appending`. `request` is what was asked, `found` what it referred to."""

    def __init__(self, options: ResponseOptions, request: bytes, found: Found | None) -> None:
        self._options, self._request, self._found = options, request, found

    def added(self, record: bytes, answer: AnswerInfo, place: AnswerPlace | None) -> bytes | None:
        """What was asked and what was answered, unless that failed, or is there already."""
        response = response_of(answer, self._options)
        kept = read_conversation(record)
        output = [msgspec.Raw(_encode(item)) for item in response.output]
        there = {name_of(item) for item in kept.items}
        # Also what is there already: a gateway that took an answer over tells the end that the first one has written.
        if response.status == "failed" or any(name_of(item) in there for item in output):
            return None
        new = [*whole_request_items(self._request, answer.id, self._found), *output]
        more = kept.with_items(new, answer.id)
        return _encode(msgspec.structs.replace(more, place=place, placed=len(more.items) if place is not None else 0))


def checked_items(given: Items, id: str) -> list[msgspec.Raw]:
    """Items of a request, as they are kept: found to be what a response could be asked with. `id` is 32 digits for
    their names. Raises RequestError (400)."""
    items = [decode(_item_decoder, _encode(item), f"items[{place}]") for place, item in enumerate(given)]
    # For its complaints: what a response could not be asked with must not be kept, to fail in each later request.
    messages_of(items, "items", _no_reference)
    return list(whole_items(given, id))


def said_before(
    found: Found | None, name: str, told: tuple[PromptMessage, ...], new: tuple[PromptMessage, ...]
) -> tuple[tuple[PromptMessage, ...], GoesOn | None]:
    """What a conversation has said so far, and where it may be gone on with by the instructions (`told`) and the `new`
    messages. Raises RequestError: 404 where there is none, 400 where it takes no more."""
    if found is None:
        return (), None
    record = found.get(name)
    if record is None:
        raise no_conversation(name, "conversation")
    if len(record) > FULL:
        raise too_long()
    kept = read_conversation(record)
    before = _messages(kept.items)
    if kept.place is None:
        return before, None
    # What was added by hand since the last answer: upstream's chat has not heard of it.
    since = _messages(kept.items[kept.placed :])
    return before, GoesOn(kept.place.conversation_id, kept.place.message_id, (*told, *since, *new))


def read_conversation(record: bytes) -> KeptConversation:
    """A record that was written here."""
    return _decoder.decode(record)


def written(kept: KeptConversation) -> bytes:
    """The record of one whose items were changed by hand. Raises RequestError (400) where it is too long."""
    record = _encode(kept)
    if len(record) > FULL:
        raise too_long()
    return record


def checked_name(conversation: str | wire.ConversationName) -> str:
    """The id of a conversation. Raises RequestError (404) for what can't be one."""
    name = conversation if isinstance(conversation, str) else conversation.id
    if not _NAME.fullmatch(name):
        raise no_conversation(name, "conversation")
    return name


def no_conversation(name: str, param: str) -> RequestError:
    """There is none of that name, or it is somebody else's."""
    text = f"Conversation with id '{name[:128]}' not found."
    return RequestError(text, param=param, code="conversation_not_found", status=404)


def too_long() -> RequestError:
    """It takes no more."""
    text = f"The conversation has more than {FULL} bytes: begin another one."
    return RequestError(text, param="conversation", code="conversation_too_long")


def _messages(items: list[msgspec.Raw]) -> tuple[PromptMessage, ...]:
    return messages_of([_item_decoder.decode(item) for item in items], "conversation", _no_reference)


def _no_reference(id: str, param: str) -> tuple[PromptMessage, ...]:
    text = f"Item with id '{id[:128]}' can't be referred to here: send the item itself."
    raise RequestError(text, param=param, code="item_not_found", status=404)


_AGAIN = 0xC000
"""Where the places of items begin whose own names were taken: those of input items come before"""
# Looked at before the store is asked: what can't be an id of ours is told so, and costs no call to it.
_NAME = re.compile(PREFIX + "[0-9a-f]{32}")
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(KeptConversation)
_raw_decoder = msgspec.json.Decoder(RawItem)
_item_decoder = msgspec.json.Decoder(wire.GivenItem)
