"""A chat request becomes a conversation: the whole history in one turn (protocol.md 4.1, 4.2)."""

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import UNSET

from shim.chatgpt.conversation import Conversation, SentAuthor, SentContent, SentMessage
from shim.errors import RequestError
from shim.openai.chat import AudioPart, ChatMessage, ChatRequest, FilePart, ImagePart, RefusalPart, TextPart

# OpenAI's roles -> the roles upstream knows.
_ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_OWNER = "."  # between upstream's id and the account's
_UNSUPPORTED = {ImagePart: "image_url", AudioPart: "input_audio", FilePart: "file"}


def conversation_for(
    request: ChatRequest, slug: str, *, temporary: bool, now: float, new_id: Callable[[], str]
) -> Conversation:
    """The conversation body for a request.

    `now` is in seconds since 1970, `new_id` makes a UUID v4. Raises RequestError (400) with the `param` of a message
    that can't be sent.
    """
    messages = [
        SentMessage(
            new_id(), SentAuthor(_ROLES[message.role]), SentContent([text_of(message, f"messages[{place}]")]), now
        )
        for place, message in enumerate(request.messages)
    ]
    return Conversation(
        messages=messages,
        parent_message_id=request.parent_message_id or new_id(),
        conversation_id=request.conversation_id.partition(_OWNER)[0] if request.conversation_id else UNSET,
        model=slug,
        history_and_training_disabled=temporary,
        websocket_request_id=new_id(),
    )


def check_messages(request: ChatRequest) -> None:
    """Raises RequestError (400) where the messages can't be sent, before anything is asked of upstream for them."""
    if request.conversation_id and not request.parent_message_id:
        raise RequestError(
            "Missing required parameter: 'parent_message_id' (the 'message_id' that came with the conversation).",
            param="parent_message_id",
            code="missing_required_parameter",
        )
    if not request.messages:
        raise RequestError("'messages' must not be empty.", param="messages", code="empty_array")
    for place, message in enumerate(request.messages):
        text_of(message, f"messages[{place}]")


def owner_of(request: ChatRequest) -> str | None:
    """The account that owns the conversation a request goes on with, as `conversation_name` has put it into the id."""
    return (request.conversation_id or "").partition(_OWNER)[2] or None


def conversation_name(conversation_id: str, account: str | None) -> str:
    """The id a client is given: upstream's own, and the account's (no secret), so that whichever gateway gets it back
    knows whose it is."""
    return f"{conversation_id}{_OWNER}{account}" if account else conversation_id


def encode_conversation(conversation: Conversation) -> bytes:
    """The body as it goes upstream."""
    return _encode(conversation)


def text_of(message: ChatMessage, place: str = "messages") -> str:
    """All text of a message; parts are joined by a line break, as separate blocks of one message."""
    match message.content:
        case None:
            return ""
        case str(text):
            return text
        case parts:
            return "\n".join(_part_text(part, f"{place}.content[{index}]") for index, part in enumerate(parts))


def _part_text(part: object, place: str) -> str:
    match part:
        case TextPart(text=text) | RefusalPart(refusal=text):
            return text
        case _:
            kind = _UNSUPPORTED[type(part)]  # type: ignore[index]  # the decoder admits no other part
            raise RequestError(
                f"Content parts of type '{kind}' are not supported.", param=f"{place}.type", code="unsupported_content"
            )


_encode = msgspec.json.Encoder().encode
