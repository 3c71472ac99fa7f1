"""What arrives on the answer stream: snapshots, delta operations, typed events (protocol.md 5.1 to 5.3).

Rule: tolerant. A field whose type upstream might vary is `Any` and is checked where it is read (it may be a list, so
never hash it unchecked); an unknown content type, a null or a new field is thus never a decoding error.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, final

import msgspec
from msgspec import UNSET, UnsetType

T = TypeVar("T")


@final
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

    # Which of the others are there goes by this one; the table of 5.1 says which.
    content_type: Any = None
    # Of `text` plain strings; of `multimodal_text` pointers to pictures and sound among them (4.2, 6.5).
    parts: Any = None
    # Of `code`, `execution_output` and `system_error`, which have no parts.
    text: Any = None
    # Of `code`; "unknown" where the recipient alone says what it is written in.
    language: Any = None
    # Of `thoughts`: objects with a summary, a content, which in many streams stays empty, and whether it is finished
    # (5.2).
    thoughts: Any = None
    # Of `system_error`: the tool's word for what went wrong.
    name: Any = None


class Metadata(msgspec.Struct, frozen=True):
    """The metadata keys the gateway acts on."""

    # Which model answered: the resolved one counts before this, which may be an alias (4.3).
    model_slug: Any = None
    resolved_model_slug: Any = None
    # Its `type` tells a length cut from a stop. It is missing as often as not, and then `end_turn` says the rest (5.1).
    finish_details: Any = None
    # Neither is for the reader: instructions to the model, and what a Pro model says before it thinks.
    is_visually_hidden_from_conversation: Any = None
    is_thinking_preamble_message: Any = None
    # The two captions of a tool's text in the time of o1, by which it is known to be reasoning.
    initial_text: Any = None
    finished_text: Any = None
    # What the markers in the text stand for, of three ages (5.4): by the marker itself, by a key into the results of a
    # search, and of 2023 by the range that a link takes the place of.
    content_references: Any = None
    search_result_groups: Any = None
    citations: Any = None
    # What a run of the interpreter printed and drew: its charts are no parts (6.5).
    aggregate_result: Any = None
    # Of pictures. The task's id, the flag and the type each promise one that comes later, and not all of them are there
    # (6.5).
    image_gen_title: Any = None
    image_gen_task_id: Any = None
    image_gen_async: Any = None
    async_task_type: Any = None
    # `reasoning_ended` comes with the recap, and before it nothing that says `end_turn` is the end (5.8).
    reasoning_status: Any = None
    thinking_effort: Any = None
    # How often upstream wants a conversation to be read at most (5.8).
    poll_interval_ms: Any = None
    # Two widgets by which the model asks its user, which no API can answer (5.1).
    ask_user_input: Any = None
    codex_request_user_input: Any = None
    # The state of a research is JSON in a string in here (7.14).
    chatgpt_sdk: Any = None


_NOBODY, _NOTHING, _NO_METADATA = Author(), Content(), Metadata()
# Upstream sends null as well as nothing at all. That is read, and no `Message` keeps it, which spares every reader the
# question; properties that ask it were called twenty times for each look at a message, at 1 microsecond in all.
if TYPE_CHECKING:
    _Author: TypeAlias = Author
    _Content: TypeAlias = Content
    _Metadata: TypeAlias = Metadata
else:
    _Author, _Content, _Metadata = Author | None, Content | None, Metadata | None


class Message(msgspec.Struct, frozen=True):
    """One message of the conversation tree, whole or still growing. What upstream does not say is an empty Author,
    Content or Metadata."""

    id: Any = None
    author: _Author = _NOBODY
    content: _Content = _NOTHING
    # Of several answers of one turn the newest counts, by this; some messages have none (5.8).
    create_time: Any = None
    # `in_progress` is a preview of a picture. Of a text it says nothing: some stay in progress for ever (5.1, 5.8).
    status: Any = None
    # True on the last message, and not only there: preambles, recaps and notices of the picture tool have had it (5.1).
    end_turn: Any = None
    # 0 is context that is not shown; finished pictures have come with it, too (6.5).
    weight: Any = None
    metadata: _Metadata = _NO_METADATA
    # `all` is for the reader, a tool's name makes it a call of that tool, and `assistant` is a tool's output.
    recipient: Any = None
    # `final` is the answer, `commentary` progress and tools, `analysis` hidden thinking; null is shown as ever.
    channel: Any = None

    def __post_init__(self) -> None:
        told: tuple[object, ...] = (self.author, self.content, self.metadata)
        if None in told:
            for name, empty in (("author", _NOBODY), ("content", _NOTHING), ("metadata", _NO_METADATA)):
                msgspec.structs.force_setattr(self, name, getattr(self, name) or empty)


class StreamItem(msgspec.Struct, frozen=True):
    """The object in one data line that is not an operation: a snapshot, a typed event or an error, told apart by
    which fields are there. The root that delta operations build has the same shape."""

    # A text in an `error` event, where it says what went wrong.
    message: Message | str | None = None
    conversation_id: Any = None
    # Three forms of one thing: a text or an object beside a message, a code of its own, and that of HTTP answers (9.4).
    error: Any = None
    error_code: Any = None
    detail: Any = None
    type: Any = None
    # Comes without a `type` too, as it did at first (5.1).
    moderation_response: Any = None
    metadata: Any = None
    # Of `resume_conversation_token`. It is no sign that the answer goes on elsewhere: each turn has one (5.3).
    token: Any = None
    # Of `stream_handoff`: the ways to the rest of the answer, and whose turn it is (5.6).
    options: Any = None
    turn_exchange_id: Any = None
    # 3 is a stream, 4 unread, 5 to 7 work in the background (5.3).
    async_status: Any = None
    # The account's quotas, of which the newest count (5.3).
    limits_progress: Any = None
    # Where it is there, this is a delta that came without its name (5.2).
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


def item_of(root: Any) -> StreamItem | None:
    """The same view of a root that delta operations built, or None where it is of another shape."""
    try:
        return msgspec.convert(root, StreamItem)
    except msgspec.ValidationError:
        return None


_operations = msgspec.json.Decoder(Operation)
decode_operation: Callable[[bytes], Operation | None] = partial(decode_tolerantly, _operations)
"""The operation in a delta event's data, or None where it is JSON of another shape. Raises ValueError where it is not
JSON."""
decode_plainly: Callable[[bytes], Operation] = _operations.decode
"""The same, for the usual case alone: raises msgspec.DecodeError where only `decode_operation` can tell."""
decode_item: Callable[[bytes], StreamItem | None] = partial(decode_tolerantly, msgspec.json.Decoder(StreamItem))
"""As `decode_operation`, for the object in an unnamed event's data."""
