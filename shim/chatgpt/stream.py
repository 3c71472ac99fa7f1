"""What arrives on the answer stream: snapshots, delta operations, typed events (protocol.md 5.1 to 5.3).

Rule: tolerant. A field whose type upstream might vary is `Any` and is checked where it is read (it may be a list, so
never hash it unchecked); an unknown content type, a null or a new field is thus never a decoding error.
"""

import json
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

T = TypeVar("T")


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One delta event's data: `{"p":..,"o":..,"v":..,"c":..}`, every field optional on the wire."""

    # No gc: one is made for every event, and what comes from JSON is never part of a cycle.
    p: str | UnsetType = UNSET
    o: str | UnsetType = UNSET
    v: Any = UNSET
    c: int | UnsetType = UNSET


class Author(msgspec.Struct, frozen=True, gc=False):
    """Who wrote a message. `name` is the tool's, where the role is `tool`."""

    role: Any = None
    name: Any = None


class Content(msgspec.Struct, frozen=True):
    """A message's content, all known content types in one: the fields of others are simply absent."""

    content_type: Any = None
    parts: Any = None
    text: Any = None
    language: Any = None
    thoughts: Any = None
    name: Any = None


class Metadata(msgspec.Struct, frozen=True):
    """The metadata keys the gateway acts on."""

    model_slug: Any = None
    resolved_model_slug: Any = None
    finish_details: Any = None
    is_visually_hidden_from_conversation: Any = None
    is_thinking_preamble_message: Any = None
    initial_text: Any = None
    finished_text: Any = None
    content_references: Any = None
    search_result_groups: Any = None
    citations: Any = None
    aggregate_result: Any = None
    image_gen_title: Any = None
    image_gen_task_id: Any = None
    image_gen_async: Any = None
    async_task_type: Any = None
    reasoning_status: Any = None
    thinking_effort: Any = None
    poll_interval_ms: Any = None
    ask_user_input: Any = None
    codex_request_user_input: Any = None
    chatgpt_sdk: Any = None


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation tree, whole or still growing."""

    id: Any = None
    # Upstream sends null as well as nothing at all; the properties below spare every reader that question.
    maybe_author: Author | None = msgspec.field(default=None, name="author")
    maybe_content: Content | None = msgspec.field(default=None, name="content")
    create_time: Any = None
    status: Any = None
    end_turn: Any = None
    weight: Any = None
    maybe_metadata: Metadata | None = msgspec.field(default=None, name="metadata")
    recipient: Any = None
    channel: Any = None

    @property
    def author(self) -> Author:
        """Who wrote it; an empty Author where upstream does not say."""
        return self.maybe_author or _NOBODY

    @property
    def content(self) -> Content:
        """Its content; an empty Content where there is none."""
        return self.maybe_content or _NOTHING

    @property
    def metadata(self) -> Metadata:
        """Its metadata; empty where there are none."""
        return self.maybe_metadata or _NO_METADATA


class StreamItem(msgspec.Struct, frozen=True):
    """The object in one data line that is not an operation: a snapshot, a typed event or an error, told apart by
    which fields are there. The root that delta operations build has the same shape."""

    message: Message | str | None = None
    conversation_id: Any = None
    error: Any = None
    error_code: Any = None
    detail: Any = None
    type: Any = None
    moderation_response: Any = None
    metadata: Any = None
    token: Any = None
    options: Any = None
    turn_exchange_id: Any = None
    async_status: Any = None
    limits_progress: Any = None
    v: Any = UNSET


def decode_tolerantly(decoder: "msgspec.json.Decoder[T]", data: bytes) -> T | None:
    """JSON as `decoder` reads it, or None where it is JSON of another shape. Raises ValueError where it is not JSON."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        # JSON with half a surrogate pair is refused by msgspec but not by every sender: such halves become U+FFFD.
        loose = json.dumps(json.loads(data), ensure_ascii=False)
        clean = loose.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        try:
            return decoder.decode(clean)
        except msgspec.ValidationError:
            return None


def decode_operation(data: bytes) -> Operation | None:
    """The operation in a delta event's data, or None where it is JSON of another shape.

    Raises ValueError where it is not JSON.
    """
    return decode_tolerantly(_operation_decoder, data)


def decode_item(data: bytes) -> StreamItem | None:
    """The object in an unnamed event's data, or None where it is JSON of another shape.

    Raises ValueError where it is not JSON.
    """
    return decode_tolerantly(_item_decoder, data)


def item_of(root: Any) -> StreamItem | None:
    """The same view of a root that delta operations built, or None where it is of another shape."""
    try:
        return msgspec.convert(root, StreamItem)
    except msgspec.ValidationError:
        return None


_NOBODY, _NOTHING, _NO_METADATA = Author(), Content(), Metadata()


_operation_decoder = msgspec.json.Decoder(Operation)
_item_decoder = msgspec.json.Decoder(StreamItem)
