"""A chat request becomes a conversation: the whole history in one turn (protocol.md 4.1, 4.2)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import msgspec
from msgspec import UNSET

from shim.apis.chat.wire import ChatMessage, ChatRequest, ReasoningEffort, RefusalPart, TextPart
from shim.chatgpt.conversation import Conversation, ConversationMode, SentAuthor, SentMessage
from shim.protocol.counting.usage import readable_text
from shim.protocol.models import gizmo_of, thinks
from shim.protocol.owners import taken_apart
from shim.protocol.shaping.json_answer import format_instructions
from shim.protocol.turn.tool_prompt import history_text, tool_instructions
from shim.protocol.turn.uploads import UploadedFile, content_of

Placed = Mapping[tuple[int, int], UploadedFile]
"""(message, part) -> the file upstream holds for that part"""
Effort = Literal["standard", "extended", "max"]

# OpenAI's roles -> the roles upstream knows.
_ROLES: dict[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
# OpenAI's efforts -> upstream's (4.1; other words are refused there).
_EFFORTS: dict[ReasoningEffort, Effort] = {
    "none": "standard",
    "minimal": "standard",
    "low": "standard",
    "medium": "extended",
    "high": "max",
    "xhigh": "max",
}


def conversation_for(
    request: ChatRequest,
    slug: str,
    placed: Placed,
    *,
    temporary: bool,
    now: float,
    new_id: Callable[[], str],
) -> Conversation:
    """The conversation body for a request.

    `placed` holds a file for every part that is one. `now` is in seconds since 1970, `new_id` makes a UUID v4.
    """
    return Conversation(
        messages=list(_sent(request, placed, now, new_id)),
        parent_message_id=request.parent_message_id or new_id(),
        conversation_id=taken_apart(request.conversation_id)[0] if request.conversation_id else UNSET,
        model=slug,
        history_and_training_disabled=temporary,
        websocket_request_id=new_id(),
        conversation_mode=_mode(request),
        thinking_effort=effort_for(request, slug) or UNSET,
    )


def effort_for(request: ChatRequest, slug: str) -> Effort | None:
    """The thinking effort that goes up, or None: not asked for, or `slug` takes none."""
    return _EFFORTS[request.reasoning_effort] if request.reasoning_effort and thinks(slug) else None


def owner_of(request: ChatRequest) -> str | None:
    """The account that owns the conversation a request goes on with: its name says so (`shim.protocol.owners`)."""
    return taken_apart(request.conversation_id or "")[1]


def encode_conversation(conversation: Conversation) -> bytes:
    """The body as it goes upstream."""
    return _encode(conversation)


def instructions_for(request: ChatRequest) -> str:
    """What the model is told for this request besides its messages: the tools, and the form of the answer."""
    told = (
        tool_instructions(
            request.tools or (), request.tool_choice or "auto", parallel=request.parallel_tool_calls is not False
        ),
        format_instructions(request.response_format),
    )
    return "\n\n".join(filter(None, told))


def _sent(request: ChatRequest, placed: Placed, now: float, new_id: Callable[[], str]) -> Iterator[SentMessage]:
    """The messages, with the instructions behind the client's own ones that lead."""
    instructions = instructions_for(request)
    for place, message in enumerate(request.messages):
        if instructions and _ROLES[message.role] != "system":
            yield _instructing(instructions, now, new_id)
            instructions = ""
        yield _sent_message(place, message, placed, now, new_id)
    if instructions:
        yield _instructing(instructions, now, new_id)


def _instructing(instructions: str, now: float, new_id: Callable[[], str]) -> SentMessage:
    content, metadata = content_of([instructions])
    return SentMessage(new_id(), SentAuthor("system"), content, now, metadata)


def _sent_message(
    place: int, message: ChatMessage, placed: Placed, now: float, new_id: Callable[[], str]
) -> SentMessage:
    content, metadata = content_of(list(_pieces(place, message, placed)))
    return SentMessage(new_id(), _author(message), content, now, metadata)


def _pieces(place: int, message: ChatMessage, placed: Placed) -> Iterator[str | UploadedFile]:
    """Texts and files in their order; what is written down by the convention for tools is one text."""
    by_convention = message.tool_calls or _ROLES[message.role] == "tool"
    if by_convention or not isinstance(message.content, list):
        yield history_text(message, readable_text(message))
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if (file := placed.get((place, index))) is not None:
                yield file
            elif isinstance(part, TextPart | RefusalPart) and not by_convention:
                yield _text_part(part)


def _author(message: ChatMessage) -> SentAuthor:
    return SentAuthor(_ROLES[message.role], message.name or UNSET)


def _text_part(part: TextPart | RefusalPart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal


def _mode(request: ChatRequest) -> ConversationMode:
    gizmo = gizmo_of(request.model)
    return ConversationMode("gizmo_interaction", gizmo) if gizmo else ConversationMode()


_encode = msgspec.json.Encoder().encode
