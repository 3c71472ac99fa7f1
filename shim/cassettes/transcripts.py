"""A conversation call for the eyes: a page of what was asked and answered, and a line of how it went.

Rule: the page shows message text, for whoever asks to see it. The line never does.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from shim.cassettes.recording import CapturedCall
from shim.cassettes.timeline import Timeline, word
from shim.protocol.events import (
    Called,
    Citation,
    CodeDelta,
    Delta,
    Event,
    Failed,
    FileLink,
    Finished,
    Picture,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolOutput,
)

# Characters of a message sent, and the newest messages sent, that are shown: the page is about the answer.
_SHORT = 400
_MANY = 30
# A line without anything in it has no height in mitmweb.
_EMPTY = " "
_DELTAS: dict[type[Event], str] = {
    TextDelta: "text",
    ReasoningDelta: "reasoning",
    CodeDelta: "code",
    ToolOutput: "output",
}


def headline(heard: CapturedCall, timeline: Timeline) -> str:
    """`gpt-4o  stop  312 characters  first 0.42 s  total 3.10 s  12 chunks`, as far as it is known."""
    asked = _asked(heard.body).get("model")
    parts = [word(timeline.slug or asked), timeline.outcome]
    if timeline.said.text:
        parts.append(_count(len(timeline.said.text), "character"))
    parts += [f"{name} {at:.2f} s" for name, at in _times(timeline) if at is not None]
    if timeline.chunks:
        parts.append(_count(timeline.chunks, "chunk"))
    return "  ".join(filter(None, parts))


def transcript(heard: CapturedCall, timeline: Timeline) -> str:
    """The page: facts, what was sent and what came, each part left out where there is nothing of it."""
    asked = _asked(heard.body)
    facts = {
        "outcome": timeline.outcome,
        "failure": timeline.said.error and timeline.said.error.message,
        "model": asked.get("model"),
        "answered by": timeline.slug,
        "conversation": timeline.conversation_id or asked.get("conversation_id"),
        "message": timeline.message_id,
        "goes on after": asked.get("parent_message_id"),
        "action": asked.get("action"),
        "effort": asked.get("thinking_effort") or asked.get("reasoning_effort"),
        "temporary": "yes" if asked.get("history_and_training_disabled") is True else None,
    }
    timings: list[str] = []
    if timeline.total is not None:
        times = (("head", timeline.head), *_times(timeline), ("longest pause", timeline.pause))
        timings.append("  ".join(f"{name} {at:.3f} s" for name, at in times if at is not None))
        timings.append(f"{_count(timeline.chunks, 'chunk')}, {_count(timeline.size, 'byte')}")
    blocks: tuple[tuple[str, Iterable[str]], ...] = (
        # Whatever the client sent in these places: only what is text is shown.
        ("", [f"{name:<14}{value}" for name, value in facts.items() if isinstance(value, str) and value]),
        ("sent", _sent(asked)),
        ("timings", timings),
        ("events", _events(timeline.events)),
        ("ignored", (f"{kind} ×{times}" for kind, times in timeline.ignored.most_common())),
        ("reasoning", timeline.said.reasoning.splitlines()),
        ("answer so far" if timeline.outcome == "still streaming" else "answer", timeline.said.text.splitlines()),
    )
    shown = []
    for title, lines in blocks:
        block = [f"  {line}" for line in lines] if title else list(lines)
        if block:
            shown.append("\n".join([f"── {title} ──", *block] if title else block))
    return f"\n{_EMPTY}\n".join(shown) + "\n"


def _asked(body: bytes | None) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(body or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return asked if isinstance(asked, dict) else {}


# --- what was sent ----------------------------------------------------------------------------------------------------


def _sent(asked: dict[str, Any]) -> Iterator[str]:
    messages = asked.get("messages")
    if not isinstance(messages, list):
        return
    if len(messages) > _MANY:
        yield f"… {len(messages) - _MANY} messages before"
    for message in messages[-_MANY:]:
        match message:
            # Upstream's form (protocol.md 4.1), and OpenAI's.
            case {"author": {"role": str(role)}} | {"role": str(role)}:
                yield from _short(f"{role}: {_content(message.get('content'))}").splitlines()
            case dict():
                yield from _short(f"?: {_content(message.get('content'))}").splitlines()


def _content(content: Any) -> str:
    """Upstream's content (protocol.md 4.2), or OpenAI's: a text, or a list of parts."""
    match content:
        case {"parts": list(parts)} | [*parts]:
            shown = []
            for part in parts:
                match part:
                    case str(text) | {"text": str(text)}:
                        shown.append(text)
                    case {"content_type": str(kind)} | {"type": str(kind)}:
                        shown.append(f"[{kind}]")
                    case _:
                        shown.append("[?]")
            return "\n".join(shown)
        case str(text) | {"text": str(text)}:
            return text
    return ""


# --- what came --------------------------------------------------------------------------------------------------------


def _times(timeline: Timeline) -> Iterator[tuple[str, float | None]]:
    yield "first", timeline.first
    yield "total", timeline.total


def _events(events: list[tuple[float, Event]]) -> Iterator[str]:
    """A line each; pieces of one text that follow one another share it."""
    for kind, run in groupby(events, lambda told: type(told[1])):
        told = list(run)
        if kind in _DELTAS:
            size = sum(len(event.text) for _, event in told if isinstance(event, Delta))
            until = f" until {told[-1][0]:.3f} s" if len(told) > 1 else ""
            yield _line(told[0][0], _DELTAS[kind], f"{_count(len(told), 'piece')}, {_count(size, 'character')}{until}")
        else:
            yield from (_line(at, kind.__name__.lower(), _told(event)) for at, event in told)


def _line(at: float, name: str, what: str) -> str:
    # Wide enough for answers of an hour and for the longest kinds.
    return f"{at:8.3f} s  {name:<10} {what}".rstrip()


def _told(event: Event) -> str:
    """What an event says beside its kind, on one line."""
    match event:
        case Citation(text=text, links=links):
            return _one_line(" ".join([text, *(link.url for link in links)]))
        case Picture(file=file) | FileLink(file=file):
            return _one_line(" ".join(filter(None, (file.file_id, file.sandbox_path, file.title))))
        case Called(name=name, arguments=arguments):
            return _one_line(f"{name} {arguments}")
        case Started(slug=name) | Finished(reason=name):
            return name or ""
        case Failed(error=error):
            return f"{error.code or error.error_type}"
    return ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _one_line(text: str) -> str:
    return _short(" ".join(text.split()))


def _short(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}… ({len(text)} characters)"
