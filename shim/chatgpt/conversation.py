"""What goes upstream: the conversation request (protocol.md 4.1) and its messages (4.2)."""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class SentAuthor(msgspec.Struct, frozen=True):
    """The author of a message that we send."""

    role: Literal["system", "user", "assistant", "tool"]
    name: str | UnsetType = UNSET


class ImagePointer(msgspec.Struct, frozen=True):
    """A picture among a message's parts (4.2, 6.4). Width and height are in pixels."""

    # Goes by the form of the id: `file_0000...` is named by `sediment://`, any other by `file-service://` (6.4).
    asset_pointer: str
    size_bytes: int
    width: int
    height: int
    content_type: Literal["image_asset_pointer"] = "image_asset_pointer"


class Attachment(msgspec.Struct, frozen=True):
    """A file a message comes with, in its metadata's `attachments` (6.4). Only pictures have a width and a height."""

    id: str
    size: int
    name: str
    mime_type: str
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET


class SentContent(msgspec.Struct, frozen=True):
    """Text, as a list of plain strings; with files it is multimodal, and pictures stand between the strings."""

    parts: Sequence[str | ImagePointer]
    content_type: Literal["text", "multimodal_text"] = "text"


class SentMessage(msgspec.Struct, frozen=True):
    """One message to append. `id` is a UUID v4 made here; `create_time` is in seconds since 1970."""

    id: str
    author: SentAuthor
    content: SentContent
    create_time: float
    metadata: dict[str, object] = {}  # msgspec makes a new one for each message


class ConversationMode(msgspec.Struct, frozen=True):
    """An ordinary chat, or one with a GPT (then with its id, `g-...`)."""

    kind: Literal["primary_assistant", "gizmo_interaction"] = "primary_assistant"
    gizmo_id: str | UnsetType = UNSET


class Conversation(msgspec.Struct, frozen=True):
    """The body of the turn. `supported_encodings: ["v1"]` is what turns on delta encoding (4.1). Only the action
    `continue` has no messages: it continues the cut-off answer `parent_message_id`."""

    messages: list[SentMessage] | UnsetType
    # Always there: for a new chat it is a UUID that names nothing.
    parent_message_id: str
    model: str
    # True makes the chat temporary (4.7): it shows up in no history.
    history_and_training_disabled: bool
    # This and `force_use_sse` are left from upstream's socket mode, and keep the answer on the stream.
    websocket_request_id: str
    conversation_id: str | UnsetType = UNSET
    timezone_offset_min: int = 0
    action: Literal["next", "continue"] = "next"
    thinking_effort: str | UnsetType = UNSET
    conversation_mode: ConversationMode = ConversationMode()
    force_use_sse: bool = True
    # Constants of the classic body, sent as they were seen.
    force_nulligen: bool = False
    force_paragen: bool = False
    force_paragen_model_slug: str = ""
    force_rate_limit: bool = False
    reset_rate_limits: bool = False
    suggestions: tuple[str, ...] = ()
    variant_purpose: str = "comparison_implicit"
    supports_buffering: bool = True
    supported_encodings: tuple[str, ...] = ("v1",)
    system_hints: tuple[str, ...] | UnsetType = UNSET
    force_use_search: bool | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
