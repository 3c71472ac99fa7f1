"""What an answer said, and when: the events of a body that came in pieces.

Rule: it reads what is there. An answer that still comes, was cut or refused has a timeline, too; reading never fails.
"""

import re
from collections import Counter
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shim.cassettes.chat_chunks import ChatReader
from shim.cassettes.recording import CapturedCall
from shim.protocol.answer.machine import Answer
from shim.protocol.events import (
    Called,
    Citation,
    CodeDelta,
    Event,
    Failed,
    FileRef,
    Picture,
    Started,
    TextDelta,
    ToolOutput,
)
from shim.protocol.refusals import refusal_of
from shim.protocol.shaping.markdown import Markdown
from shim.protocol.transcript import Transcript

_CONVERSATION = re.compile(r"/backend-(?:api|anon)/(?:f/)?conversation(?:/resume)?$")  # protocol.md 4.1, 5.6
_CHAT = re.compile(r"/v1/chat/completions$")
_EVENTS = "text/event-stream"
_WORD = re.compile(r"[a-z0-9_.:/-]{1,40}")
_SEEN = (CodeDelta, ToolOutput, Picture, Called)


class Timeline(msgspec.Struct, frozen=True):
    """An answer over time. Times are in seconds since the request was sent; None is what has not happened.

    `outcome` is a few words, and never message text: how it ended, or why it has not.
    """

    events: list[tuple[float, Event]]
    said: Transcript
    ignored: Counter[str]
    outcome: str
    slug: str | None
    conversation_id: str | None
    message_id: str | None
    chunks: int
    size: int
    head: float
    first: float | None
    total: float | None
    pause: float


def is_conversation_call(method: str, url: str) -> bool:
    """Whether this is a turn, upstream's or ours, and so has a timeline."""
    path = urlsplit(url).path
    return method == "POST" and (_CONVERSATION.search(path) or _CHAT.search(path)) is not None


def timeline_of(heard: CapturedCall, *, over: bool = True, waited: float = 0.0) -> Timeline:
    """The timeline of a call's answer, whose head came after `waited` seconds. `over`: no more of the body will come.

    Status 0 is no answer at all.
    """
    reader = ChatReader() if _CHAT.search(urlsplit(heard.url).path) else Answer()
    events = [(waited + at, event) for at, event in _events(heard, reader, over=over)]
    said = Transcript()
    for event in Markdown(_target).receive([event for _, event in events]):
        said.add(event)
    times = [waited + at for at, _ in heard.chunks]
    return Timeline(
        events=events,
        said=said,
        ignored=reader.ignored,
        outcome=_outcome(heard, said, reader, over=over),
        slug=_slug(events, reader),
        conversation_id=reader.conversation_id,
        message_id=reader.message_id,
        chunks=len(heard.chunks),
        size=sum(len(piece) for _, piece in heard.chunks),
        head=waited,
        first=next((at for at, event in events if _says(event)), None),
        total=times[-1] if times else None,
        pause=max((later - earlier for earlier, later in pairwise(times)), default=0.0),
    )


def word(text: Any) -> str:
    """What somebody else calls a code or a slug, if it looks like one and not like a token or a sentence; nothing for
    nothing."""
    if not text:
        return ""
    return text if isinstance(text, str) and _WORD.fullmatch(text) else "?"


def _events(heard: CapturedCall, reader: Answer | ChatReader, *, over: bool) -> list[tuple[float, Event]]:
    end = heard.chunks[-1][0] if heard.chunks else 0.0
    body = b"".join(piece for _, piece in heard.chunks)
    if heard.status != 200 or not _is_stream(heard):
        return [(end, event) for event in _whole(heard, reader, body)] if over and heard.status else []
    told = [(at, event) for at, piece in heard.chunks for event in _receive(reader, piece)]
    if over and heard.kept == "all":
        told += [(end, event) for event in _receive(reader, b"")]
    return told


def _whole(heard: CapturedCall, reader: Answer | ChatReader, body: bytes) -> list[Event]:
    """An answer that is no stream: a completion of ours, or a refusal."""
    if isinstance(reader, ChatReader):
        return reader.complete(body)
    headers = {name.lower(): value for name, value in heard.answer_headers}
    return [Failed(refusal_of(heard.status, headers, body))] if heard.status != 200 else reader.receive(b"")


def _receive(reader: Answer | ChatReader, piece: bytes) -> list[Event]:
    """Nobody follows here, and an answer that goes on elsewhere says nothing more here."""
    return reader.receive(piece) if reader.follow is None else []


def _outcome(heard: CapturedCall, said: Transcript, reader: Answer | ChatReader, *, over: bool) -> str:
    if said.error is not None:
        return f"failed {word(said.error.code or said.error.error_type)}"
    if said.finish_reason is not None:
        return word(said.finish_reason)
    return "goes on elsewhere" if reader.follow is not None else _why_not(heard, over=over)


def _why_not(heard: CapturedCall, *, over: bool) -> str:
    """Why an answer has no end."""
    if not heard.status:
        return "no answer" if over else "no answer yet"
    if heard.status != 200:
        return f"status {heard.status}"
    if heard.kept != "all":
        return "not kept whole"
    return "unreadable" if over else "still streaming"


def _slug(events: list[tuple[float, Event]], reader: Answer | ChatReader) -> str | None:
    if isinstance(reader, ChatReader):
        return reader.model
    return next((event.slug for _, event in events if isinstance(event, Started)), None)


def _says(event: Event) -> bool:
    """Whether a person sees something by it."""
    return bool(event.text) if isinstance(event, TextDelta | Citation) else isinstance(event, _SEEN)


def _target(file: FileRef) -> str:
    return file.sandbox_path or file.file_id or ""


def _is_stream(heard: CapturedCall) -> bool:
    kinds = [value for name, value in heard.answer_headers if name.lower() == "content-type"]
    return bool(kinds) and kinds[0].lower().startswith(_EVENTS)
