"""The conversation request as the upstream accepts it (protocol.md 4.1 and 4.2).

Rule: strict in the fields that matter, blind to those it does not know. Malformed JSON is 400; a wrong shape is 422.
"""

from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec

from shim.standin.failures import RefusedError, missing_field, refused

CLIENT_CREATED_ROOT = "client-created-root"


class IncomingAuthor(msgspec.Struct):
    """Who wrote a message."""

    role: Literal["system", "user", "assistant", "tool", "critic"]
    name: str | None = None


class IncomingContent(msgspec.Struct):
    """The two forms of content a client sends: plain strings, or strings and pointers."""

    content_type: Literal["text", "multimodal_text"]
    parts: list[str | dict[str, Any]]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts must not be empty")
        objects = [part for part in self.parts if isinstance(part, dict)]
        if objects and self.content_type == "text":
            raise ValueError("parts of a text are plain strings")
        if not all(_is_image_pointer(part) for part in objects):
            raise ValueError("a part that is an object must be an image_asset_pointer")

    @property
    def text(self) -> str:
        """The string parts, one per line."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


class IncomingMessage(msgspec.Struct):
    """One message to append to the conversation."""

    id: UUID
    author: IncomingAuthor
    content: IncomingContent
    metadata: dict[str, Any] = {}
    create_time: float | None = None

    def __post_init__(self) -> None:
        if self.id.version != 4:
            raise ValueError("a message id is a UUID v4")
        attachments = self.metadata.get("attachments") or []
        if not isinstance(attachments, list) or not all(map(_is_attachment, attachments)):
            raise ValueError("an attachment has id, size, name and mime_type")


class ConversationMode(msgspec.Struct):
    """What answers: the assistant, or a GPT (then with its id)."""

    kind: Literal["primary_assistant", "gizmo_interaction"]
    gizmo_id: str | None = None

    def __post_init__(self) -> None:
        if self.kind == "gizmo_interaction" and not (self.gizmo_id or "").startswith("g-"):
            raise ValueError("gizmo_interaction needs a gizmo_id")


class ConversationRequest(msgspec.Struct):
    """The body of a turn. Fields not named here are ignored."""

    action: Literal["next", "continue", "variant"]
    model: str
    parent_message_id: str
    messages: list[IncomingMessage] | None = None
    conversation_id: UUID | None = None
    conversation_mode: ConversationMode | None = None
    history_and_training_disabled: bool = False
    timezone_offset_min: int | None = None
    system_hints: list[str] = []
    supported_encodings: list[str] = []
    force_use_search: bool = False
    thinking_effort: str | None = None
    service_tier: str | None = None

    def __post_init__(self) -> None:
        if self.parent_message_id != CLIENT_CREATED_ROOT:
            UUID(self.parent_message_id)
        if self.action == "continue":
            if self.messages or self.conversation_id is None:
                raise ValueError("continue takes a conversation and no messages")
        elif self.messages is not None and not self.messages:
            raise ValueError("messages must not be empty")

    @property
    def gizmo_id(self) -> str | None:
        """The GPT that is asked, if one is."""
        mode = self.conversation_mode
        return mode.gizmo_id if mode and mode.kind == "gizmo_interaction" else None

    @property
    def last_user_message(self) -> IncomingMessage | None:
        """The newest message of role user."""
        mine = (message for message in reversed(self.messages or []) if message.author.role == "user")
        return next(mine, None)

    @property
    def hints(self) -> set[str]:
        """What the turn wants of the page's tools, said of the turn or of its newest message."""
        newest = self.last_user_message
        return {*self.system_hints, *((newest.metadata.get("system_hints") or []) if newest else [])}


class RequirementsRequest(msgspec.Struct):
    """Body of chat-requirements and of its prepare step (protocol.md 2.1, 2.2)."""

    p: str | None = None


class PrepareRequest(msgspec.Struct):
    """Body of f/conversation/prepare: a turn without messages (protocol.md 4.4)."""

    action: Literal["next", "continue", "variant"]
    model: str
    parent_message_id: str
    messages: msgspec.UnsetType = msgspec.UNSET


class ResumeRequest(msgspec.Struct):
    """Body of f/conversation/resume: `offset` events have been read already (protocol.md 5.6)."""

    conversation_id: str
    offset: int = 0


class StopRequest(msgspec.Struct):
    """Body of stop_conversation (protocol.md 4.5)."""

    conversation_id: str
    exclude_async_types: list[str] = []


class FileRequest(msgspec.Struct):
    """Body of POST files (protocol.md 6.1); file_size in bytes."""

    file_name: str
    file_size: int
    use_case: Literal["multimodal", "my_files", "ace_upload"]
    mime_type: str | None = None
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if not self.file_name or self.file_size <= 0:
            raise ValueError("a file has a name and a size")


class ProcessRequest(msgspec.Struct):
    """Body of POST files/process_upload_stream (protocol.md 6.3)."""

    file_id: str
    use_case: str
    file_name: str
    index_for_retrieval: bool = False


class ConversationPatch(msgspec.Struct, forbid_unknown_fields=True):
    """Body of PATCH conversation/{id} and PATCH conversations: one or more changes (protocol.md 7.4, 7.5)."""

    is_visible: bool | None = None
    is_archived: bool | None = None
    title: str | None = None
    is_starred: bool | None = None
    is_do_not_remember: bool | None = None
    gizmo_id: str | None = None


class TitleRequest(msgspec.Struct):
    """Body of POST conversation/gen_title/{id}."""

    message_id: str


class FeedbackRequest(msgspec.Struct):
    """Body of POST conversation/message_feedback."""

    conversation_id: str
    message_id: str
    rating: Literal["thumbsUp", "thumbsDown"]


class FinalizeRequest(msgspec.Struct):
    """Body of the finalize step (protocol.md 2.2)."""

    prepare_token: str
    proofofwork: str | None = None


class ArkoseRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What a gateway asks of the operator's token service (protocol.md 3)."""

    blob: str | None
    method: Literal["chat35", "chat4"]


class RefreshRequest(msgspec.Struct):
    """Body of POST /oauth/token (protocol.md 8, 8.1)."""

    grant_type: Literal["refresh_token"]
    refresh_token: str
    client_id: str = ""


Body = TypeVar("Body")


def read_conversation(body: bytes, content_type: str) -> ConversationRequest:
    """Decode and check a turn's body; refuses with 400 or 422 (protocol.md 9.1)."""
    if not content_type.startswith("application/json"):
        raise refused("invalid_body")
    conversation = read_body(body, ConversationRequest)
    if conversation.messages is None and conversation.action != "continue":
        raise refused("missing_messages")
    return conversation


def read_body(body: bytes, kind: type[Body]) -> Body:
    """Decode a JSON body into `kind`: 400 when it is no JSON, 422 when the shape is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RefusedError(missing_field(_missing(error))) if _missing(error) else refused("invalid_body") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused("bad_request") from error


def read_refresh(body: bytes, content_type: str) -> RefreshRequest:
    """The body of a renewal, JSON or a form by its content type (protocol.md 8.1)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        body = msgspec.json.encode(dict(parse_qsl(body.decode("latin-1"), keep_blank_values=True)))
    elif kind != "application/json":
        raise refused("bad_request")
    asked = read_body(body, RefreshRequest)
    if not asked.client_id:
        raise refused("missing_client_id")
    return asked


def read_requirements(body: bytes) -> RequirementsRequest:
    """The body of chat-requirements; absent is allowed (protocol.md 2.1)."""
    return read_body(body, RequirementsRequest) if body else RequirementsRequest()


def _missing(error: msgspec.ValidationError) -> str:
    """The top-level field a validation error complains is missing, or nothing."""
    text = str(error)
    _, found, field = text.partition("Object missing required field `")
    return field.rstrip("`") if found and " - at " not in text else ""


def _is_attachment(entry: Any) -> bool:
    """An attachment of protocol.md 6.4; the mime type goes by two names."""
    if not isinstance(entry, dict) or not isinstance(entry.get("size"), int):
        return False
    texts = (entry.get("id"), entry.get("name"), entry.get("mime_type", entry.get("mimeType")))
    return all(isinstance(text, str) and text for text in texts)


def _is_image_pointer(part: dict[str, Any]) -> bool:
    pointer = part.get("asset_pointer")
    known_scheme = isinstance(pointer, str) and pointer.startswith(("file-service://", "sediment://"))
    return part.get("content_type") == "image_asset_pointer" and known_scheme
