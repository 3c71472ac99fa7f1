"""A prompt becomes a conversation: the whole history in one turn (protocol.md 4.1, 4.2)."""

from collections.abc import Callable, Mapping

import msgspec
from msgspec import UNSET

from shim.chatgpt.conversation import Conversation, ConversationMode, SentAuthor, SentMessage
from shim.protocol.catalog import KnownModel, Preset, effort_word
from shim.protocol.models import gizmo_of
from shim.protocol.owners import taken_apart
from shim.protocol.prompt import Attached, File, Hint, Image, Prompt, PromptMessage, Text
from shim.protocol.shaping.call_blocks import Marks, without_marks
from shim.protocol.shaping.json_answer import format_instructions
from shim.protocol.turn.tool_prompt import history_text, tool_instructions
from shim.protocol.turn.uploads import UploadedFile, content_of

Placed = Mapping[Attached, UploadedFile]
"""A picture or file of the prompt -> what upstream holds for it"""


class Chosen(msgspec.Struct, frozen=True):
    """The model that goes up, what the account's list says of it, and the preset that its name stands for."""

    slug: str
    known: KnownModel | None = None
    preset: Preset | None = None


def conversation_for(
    prompt: Prompt,
    chosen: Chosen,
    placed: Placed,
    *,
    temporary: bool,
    now: float,
    new_id: Callable[[], str],
) -> Conversation:
    """The conversation body for a prompt.

    `placed` has a file for every part that is one. `now` is in seconds since 1970, `new_id` makes a UUID v4.
    """
    continues = prompt.continues
    project = prompt.wishes.project
    gizmo = taken_apart(project)[0] if project else gizmo_of(prompt.model)
    hints = tuple([_HINTS[hint] for hint in sorted(prompt.wishes.hints)])
    tier = prompt.wishes.tier
    messages = _sent(prompt, placed, now, new_id)
    asking = [place for place, message in enumerate(messages) if message.author.role == "user"] if hints else []
    # The hints are told twice, at the top and in the user's message, because front ends differ in which counts.
    if asking:
        told: dict[str, object] = {"system_hints": list(hints)}
        # What the page sends beside the hint (4.6).
        if "research" in prompt.wishes.hints:
            told |= _RESEARCH
        sent = messages[asking[-1]]
        messages[asking[-1]] = msgspec.structs.replace(sent, metadata=sent.metadata | told)
    return Conversation(
        messages=messages,
        # A new chat needs a parent as well: an id that is nobody's.
        parent_message_id=continues.message_id if continues else new_id(),
        conversation_id=taken_apart(continues.conversation_id)[0] if continues else UNSET,
        model=chosen.slug,
        history_and_training_disabled=temporary,
        websocket_request_id=new_id(),
        conversation_mode=ConversationMode("gizmo_interaction", gizmo) if gizmo else ConversationMode(),
        thinking_effort=effort_for(prompt, chosen) or UNSET,
        system_hints=hints or UNSET,
        force_use_search=True if "search" in prompt.wishes.hints else UNSET,
        # Upstream refuses tiers that a model does not have, and a wish is no reason to fail.
        service_tier=tier if tier and chosen.known and tier in chosen.known.tiers else UNSET,
    )


def effort_for(prompt: Prompt, chosen: Chosen) -> str | None:
    """The thinking effort that goes up, or None: not asked for, or the model takes none. What the request says counts
    before the preset."""
    if prompt.effort:
        return effort_word(prompt.effort, chosen.slug, chosen.known)
    return chosen.preset.effort if chosen.preset else None


def owner_of(prompt: Prompt) -> str | None:
    """The account that owns the conversation a prompt continues, or else the project it is asked in: its name says so
    (`shim.protocol.owners`)."""
    name = prompt.continues.conversation_id if prompt.continues else prompt.wishes.project
    return taken_apart(name)[1] if name else None


def instructions_for(prompt: Prompt) -> str:
    """What the model is told for this prompt besides its messages: the functions, and the form of the answer."""
    # Most prompts ask for neither, and are read for that twice.
    if prompt.answer_form is None and not prompt.functions:
        return ""
    told = (
        tool_instructions(prompt.functions, prompt.choice, parallel=prompt.parallel, marks=Marks(prompt.mark_key)),
        format_instructions(prompt.answer_form),
    )
    return "\n\n".join(filter(None, told))


def _sent(prompt: Prompt, placed: Placed, now: float, new_id: Callable[[], str]) -> list[SentMessage]:
    """The messages, with the instructions behind those of the client's own that lead."""
    sent: list[SentMessage] = []
    instructions = instructions_for(prompt)
    for message in prompt.messages:
        if instructions and message.role != "system":
            sent.append(_sent_message(SentAuthor("system"), [instructions], now, new_id))
            instructions = ""
        author = SentAuthor(message.role, message.name or UNSET)
        sent.append(_sent_message(author, _pieces(message, prompt, placed), now, new_id))
    if instructions:
        sent.append(_sent_message(SentAuthor("system"), [instructions], now, new_id))
    return sent


def _sent_message(
    author: SentAuthor, pieces: list[str | UploadedFile], now: float, new_id: Callable[[], str]
) -> SentMessage:
    content, metadata = content_of(pieces)
    return SentMessage(new_id(), author, content, now, metadata)


def _pieces(message: PromptMessage, prompt: Prompt, placed: Placed) -> list[str | UploadedFile]:
    """Texts and files in their order. Calls and results are written down by the convention for tools as one text."""
    # A user passes on what others wrote; the client's own instructions and the answers stay as they were.
    guarded = message.role == "user" and bool(prompt.callable_functions)
    # Upstream knows no calls of a client's functions, so they are told as text, and files behind it.
    if message.role == "tool" or message.calls:
        return [
            history_text(message, Marks(prompt.mark_key)),
            *(placed[part] for part in message.attached if part in placed),
        ]
    pieces: list[str | UploadedFile] = []
    for part in message.parts:
        if isinstance(part, Text):
            pieces.append(without_marks(part.text) if guarded else part.text)
        elif isinstance(part, Image | File) and part in placed:
            pieces.append(placed[part])
    return pieces


# Ours -> upstream's ids (4.6).
_HINTS: dict[Hint, str] = {
    "search": "search",
    "picture": "picture_v2",
    "research": "plugin:connector_openai_deep_research",
}
_RESEARCH: dict[str, object] = {
    "deep_research_version": "standard",
    "venus_model_variant": "standard",
    "caterpillar_selected_sources": [],
    "selected_mcp_sources": [],
}
encode_conversation: Callable[[Conversation], bytes] = msgspec.json.Encoder().encode
"""The body as it goes upstream"""
