"""Which messages a person sees, and as what (protocol.md 5.1).

Rule: one table from (role, content type) to a reading; whatever is not in it is not shown. New upstream content types
therefore never leak into an answer and never break it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shim.chatgpt.stream import Content, Message
from shim.protocol.answer.canvas import CREATES
from shim.protocol.events import CodeDelta, Delta, ReasoningDelta, TextDelta, ToolOutput

_CODE_PATH = "/message/content/text"


class Reading(msgspec.Struct, frozen=True):
    """How a message is shown: as which delta, its whole raw text so far, and the JSON Pointer under which plain appends
    go to the end of that text (None where appends need a fresh look at the message). `canvas` tells that the text is
    the call that makes a document; `held` what stands behind the text but may be replaced yet; `rewrites` that parts of
    the text are replaced as a whole, so that what is new of it begins a paragraph."""

    kind: type[Delta]
    text: str
    grows_at: str | None = None
    language: str = ""
    canvas: bool = False
    held: str = ""
    rewrites: bool = False


def read_message(message: Message) -> Reading | None:
    """How `message` is shown, or None where it is not."""
    # Neither is for people (5.1): context, and what the page hides.
    if message.weight == 0 or message.metadata.is_visually_hidden_from_conversation is True:
        return None
    role, content_type = message.author.role, message.content.content_type
    # Nothing of a message is sure to have its type; a list could not even be looked up.
    if not isinstance(role, str) or not isinstance(content_type, str):
        return None
    read = _READINGS.get((role, content_type))
    return read(message) if read else None


def is_progress(message: Message) -> bool:
    """Whether `message` shows that the assistant is at work, be it with something that is not shown."""
    return (
        message.author.role == "assistant"
        and message.content.content_type not in _CONTEXT  # a tuple: what is compared may not be text
        and message.metadata.is_visually_hidden_from_conversation is not True
    )


def is_answer(message: Message) -> bool:
    """Whether `message` is an answer, or some of it: only such a one ends a turn. Preambles, recaps and notices of the
    picture tool have said that they do, too (5.1)."""
    content = message.content
    return (
        message.author.role == "assistant"
        and message.recipient in (None, "all")
        and message.channel in (None, "final")
        and content.content_type in ("text", "multimodal_text")
        and isinstance(content.parts, list)
        and any(content.parts)
        and message.weight != 0
        and message.metadata.is_visually_hidden_from_conversation is not True
        and message.metadata.is_thinking_preamble_message is not True
    )


def final_answer(messages: list[Message]) -> Message | None:
    """The message that ends a turn which was read as a whole: of the answers that say so the newest, unless the turn
    thought on after it (5.8)."""
    ends = [
        (_age(message, place), message)
        for place, message in enumerate(messages)
        if message.end_turn is True and is_answer(message)
    ]
    # Still under way, or cut off.
    if not ends:
        return None
    age, newest = max(ends, key=lambda end: end[0])
    return newest if age >= _thought_until(messages) else None


def before_recap(messages: list[Message]) -> list[Message]:
    """Answers of a turn that were said before it had done thinking: preambles that don't call themselves so."""
    until = _thought_until(messages)
    return [one for place, one in enumerate(messages) if is_answer(one) and _age(one, place) < until]


def asks_user(message: Message) -> bool:
    """Whether the model asks its user for input, by a widget of the page."""
    metadata = message.metadata
    named = isinstance(message.recipient, str) and message.recipient.startswith(_ASKING)
    return message.author.role == "assistant" and (
        named or metadata.ask_user_input is not None or metadata.codex_request_user_input is not None
    )


def _age(message: Message, place: int) -> tuple[float, int]:
    """When it was made, then where it stands: messages have come without a time."""
    made = message.create_time
    return (float(made) if isinstance(made, int | float) else 0.0, place)


def _thought_until(messages: list[Message]) -> tuple[float, int]:
    recaps = [
        _age(message, place)
        for place, message in enumerate(messages)
        if message.content.content_type == "reasoning_recap"
        or (message.metadata.reasoning_status == "reasoning_ended" and not is_answer(message))
    ]
    return max(recaps, default=(0.0, -1))


def _answer(message: Message) -> Reading | None:
    if message.recipient == CREATES:
        return _canvas(message)
    if message.recipient not in (None, "all"):
        return None
    if message.metadata.is_thinking_preamble_message is True or message.channel == "commentary":
        return _text_as(ReasoningDelta, message.content)
    if message.channel not in (None, "final"):
        return None
    return _text_as(TextDelta, message.content)


def _text_as(kind: type[Delta], content: Content) -> Reading:
    """All text parts joined; it grows where the last of them does. Parts that are objects (pictures, audio) are not
    text."""
    parts = content.parts if isinstance(content.parts, list) else []
    texts = [(place, part) for place, part in enumerate(parts) if isinstance(part, str)]
    grows_at = f"/message/content/parts/{texts[-1][0]}" if texts else None
    return Reading(kind, "".join([part for _, part in texts]), grows_at)


def _code(message: Message) -> Reading | None:
    """Code for the interpreter. Code for other tools (search, pictures) is their JSON, not an answer."""
    if message.recipient == CREATES:
        return _canvas(message)
    if message.recipient == _SHELL:
        return Reading(CodeDelta, _command(message), None, "bash")
    if message.recipient != "python":
        return None
    language = message.content.language
    known = isinstance(language, str) and language not in {"", "unknown"}
    return Reading(CodeDelta, _string(message.content.text), _CODE_PATH, language if known else "python")


def _canvas(message: Message) -> Reading:
    """The JSON of a new document is in the one place or the other."""
    if message.content.content_type == "code":
        return Reading(TextDelta, _string(message.content.text), _CODE_PATH, canvas=True)
    return msgspec.structs.replace(_text_as(TextDelta, message.content), canvas=True)


def _command(message: Message) -> str:
    """The command that the container is told to run, without the shell around it: `bash -lc ...`, or its JSON."""
    text = _string(message.content.text)
    if text.startswith("{"):
        try:
            command = msgspec.json.decode(text)["cmd"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""  # it is still being written
        words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
        return words[-1] if words[:2] == ["bash", "-lc"] and len(words) == 3 else " ".join(words)
    return "" if _SHELL_CALL.startswith(text) else text.removeprefix(_SHELL_CALL)


def _output(message: Message) -> Reading | None:
    """What the interpreter and the container print. The results of other tools are for the model."""
    if message.author.name not in (None, "python", _SHELL):
        return None
    return Reading(ToolOutput, _string(message.content.text), _CODE_PATH)


def _error(message: Message) -> Reading | None:
    """What went wrong with the interpreter is its output; what went wrong with other tools is for the model."""
    return _output(message) if message.author.name == "python" else None


def _old_thoughts(message: Message) -> Reading | None:
    """The o1 era: a tool's text is reasoning where its metadata has the two captions; the container's is what it
    printed; else it is for the model."""
    if message.author.name == _SHELL:
        return _text_as(ToolOutput, message.content)
    if message.metadata.initial_text is None and message.metadata.finished_text is None:
        return None
    return _text_as(ReasoningDelta, message.content)


def _thoughts(message: Message) -> Reading:
    thoughts = message.content.thoughts
    known = [thought for thought in thoughts if isinstance(thought, dict)] if isinstance(thoughts, list) else []
    held = ""
    newest = known[-1] if known and message.status == "in_progress" else {}
    # A lone "Thinking" stands where a summary will.
    if newest.get("summary") == "Thinking" and not newest.get("content") and newest.get("finished") is not True:
        held = _thought(known.pop())
    text = "\n\n".join(_thought(thought) for thought in known)
    grows_at = f"/message/content/thoughts/{len(known) - 1}/content" if known and known[-1].get("content") else None
    return Reading(ReasoningDelta, text, None if held else grows_at, held=held, rewrites=True)


def _thought(thought: dict[str, Any]) -> str:
    """Summary, then content (protocol.md 5.2), a blank line between where both are there."""
    return "\n\n".join(text for key in ("summary", "content") if (text := _string(thought.get(key))))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


_SHELL = "container.exec"
_SHELL_CALL = "bash -lc "
_ASKING = ("ask_user_input", "request_user_input")
_CONTEXT = ("model_editable_context", "user_editable_context", "developer_content")

_READINGS: dict[tuple[str, str], Callable[[Message], Reading | None]] = {
    ("assistant", "text"): _answer,
    ("assistant", "multimodal_text"): _answer,
    ("assistant", "code"): _code,
    ("assistant", "thoughts"): _thoughts,
    ("tool", "thoughts"): _thoughts,
    ("tool", "text"): _old_thoughts,
    ("tool", "execution_output"): _output,
    ("tool", "system_error"): _error,
}
