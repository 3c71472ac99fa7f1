"""Which messages a person sees, and as what (protocol.md 5.1).

Rule: one table from (role, content type) to a reading; whatever is not in it is not shown. New upstream content types
therefore never leak into an answer and never break it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shim.chatgpt.stream import Content, Message
from shim.protocol.events import CodeDelta, Delta, ReasoningDelta, TextDelta, ToolOutput

_TEXT_PATH = "/message/content/parts/0"
_CODE_PATH = "/message/content/text"


class Reading(msgspec.Struct, frozen=True):
    """How a message is shown: as which delta, its whole text so far, and the JSON Pointer under which plain appends
    go to the end of that text (None where appends need a fresh look at the message)."""

    kind: type[Delta]
    text: str
    grows_at: str | None = None
    language: str = ""


def read_message(message: Message) -> Reading | None:
    """How `message` is shown, or None where it is not."""
    if message.weight == 0 or message.metadata.is_visually_hidden_from_conversation is True:
        return None
    read = _READINGS.get((message.author.role, message.content.content_type))
    return read(message) if read else None


def is_progress(message: Message) -> bool:
    """Whether `message` shows that the assistant is at work, be it with something that is not shown."""
    return (
        message.author.role == "assistant"
        and message.content.content_type not in _CONTEXT
        and message.metadata.is_visually_hidden_from_conversation is not True
    )


def _answer(message: Message) -> Reading | None:
    if message.recipient not in {None, "all"}:
        return None
    if message.metadata.is_thinking_preamble_message is True or message.channel == "commentary":
        return Reading(ReasoningDelta, _text_of(message.content), _TEXT_PATH)
    if message.channel not in {None, "final"}:
        return None
    parts = message.content.parts
    grows_at = _TEXT_PATH if isinstance(parts, list) and len(parts) == 1 else None
    return Reading(TextDelta, _text_of(message.content), grows_at)


def _text_of(content: Content) -> str:
    """All text parts joined. Parts that are objects (pictures, audio) are not text."""
    if not isinstance(content.parts, list):
        return ""
    return "".join(part for part in content.parts if isinstance(part, str))


def _code(message: Message) -> Reading | None:
    """Code for the interpreter. Code for other tools (search, pictures, canvas) is their JSON, not an answer."""
    if message.recipient != "python":
        return None
    language = message.content.language
    known = isinstance(language, str) and language not in {"", "unknown"}
    return Reading(CodeDelta, _string(message.content.text), _CODE_PATH, language if known else "python")


def _output(message: Message) -> Reading:
    return Reading(ToolOutput, _string(message.content.text), _CODE_PATH)


def _old_thoughts(message: Message) -> Reading | None:
    """The o1 era: a tool's text is reasoning where its metadata has the two captions, else it is for the model."""
    if message.metadata.initial_text is None and message.metadata.finished_text is None:
        return None
    return Reading(ReasoningDelta, _text_of(message.content), _TEXT_PATH)


def _thoughts(message: Message) -> Reading:
    thoughts = message.content.thoughts
    known = [thought for thought in thoughts if isinstance(thought, dict)] if isinstance(thoughts, list) else []
    text = "\n\n".join(_thought(thought) for thought in known)
    grows_at = f"/message/content/thoughts/{len(known) - 1}/content" if known and known[-1].get("content") else None
    return Reading(ReasoningDelta, text, grows_at)


def _thought(thought: dict[str, Any]) -> str:
    """Summary, then content (protocol.md 5.2), a blank line between where both are there."""
    return "\n\n".join(text for key in ("summary", "content") if (text := _string(thought.get(key))))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


_CONTEXT = frozenset({"model_editable_context", "user_editable_context", "developer_content"})

_READINGS: dict[tuple[Any, Any], Callable[[Message], Reading | None]] = {
    ("assistant", "text"): _answer,
    ("assistant", "multimodal_text"): _answer,
    ("assistant", "code"): _code,
    ("assistant", "thoughts"): _thoughts,
    ("tool", "thoughts"): _thoughts,
    ("tool", "text"): _old_thoughts,
    ("tool", "execution_output"): _output,
}
