"""What goes upstream: the conversation request (protocol.md 4.1) and its messages (4.2)."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class SentAuthor(msgspec.Struct, frozen=True):
    """Who says it."""

    role: Literal["system", "user", "assistant", "tool"]
    name: str | UnsetType = UNSET


class SentContent(msgspec.Struct, frozen=True):
    """Text, as a list of plain strings."""

    parts: list[str]
    content_type: Literal["text"] = "text"


class SentMessage(msgspec.Struct, frozen=True):
    """One message to append. `id` is a UUID v4 made here; `create_time` is in seconds since 1970."""

    id: str
    author: SentAuthor
    content: SentContent
    create_time: float
    metadata: dict[str, object] = {}


class ConversationMode(msgspec.Struct, frozen=True):
    """An ordinary chat."""

    kind: Literal["primary_assistant"] = "primary_assistant"


class Conversation(msgspec.Struct, frozen=True):
    """The body of the turn. `supported_encodings: ["v1"]` is what turns on delta encoding (4.1)."""

    messages: list[SentMessage]
    parent_message_id: str
    model: str
    history_and_training_disabled: bool
    websocket_request_id: str
    conversation_id: str | UnsetType = UNSET
    timezone_offset_min: int = 0
    action: Literal["next"] = "next"
    conversation_mode: ConversationMode = ConversationMode()
    force_use_sse: bool = True
    force_nulligen: bool = False
    force_paragen: bool = False
    force_paragen_model_slug: str = ""
    force_rate_limit: bool = False
    reset_rate_limits: bool = False
    suggestions: tuple[str, ...] = ()
    variant_purpose: str = "comparison_implicit"
    supports_buffering: bool = True
    supported_encodings: tuple[str, ...] = ("v1",)
