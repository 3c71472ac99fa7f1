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
from shim.protocol.answer.follow_up import Resume
from shim.protocol.answer.machine import Answer
from shim.protocol.events import (
    Called,
    Citation,
    CodeDelta,
    Event,
    Failed,
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
# A code or a slug, as upstream writes them. Tokens are longer or have capitals, sentences have blanks.
_WORD = re.compile(r"[a-z0-9_.:/-]{1,40}")
# Besides text: what has no text of its own or is shown in a frame of its own.
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
    reader = ChatReader() if _CHAT.search(urlsplit(heard.url).path) else Answer(kept=False)
    # Times are kept since the head, because that is when the body can be read; a person waits from the request on.
    events = [(waited + at, event) for at, event in _events(heard, reader, over=over)]
    said = Transcript()
    # Files have no address here, so they are shown by their names.
    for event in Markdown(lambda file: file.sandbox_path or file.file_id or "").receive([event for _, event in events]):
        said.add(event)
    times = [waited + at for at, _ in heard.chunks]
    slugs = (event.slug for _, event in events if isinstance(event, Started))
    return Timeline(
        events=events,
        said=said,
        ignored=reader.ignored,
        outcome=_outcome(heard, said, reader, over=over),
        slug=reader.model if isinstance(reader, ChatReader) else next(slugs, None),
        conversation_id=reader.conversation_id,
        message_id=reader.message_id,
        chunks=len(heard.chunks),
        size=sum(len(piece) for _, piece in heard.chunks),
        head=waited,
        # When a person first sees something: words that are there, or what is more than words.
        first=next(
            (
                at
                for at, event in events
                if (event.text if isinstance(event, TextDelta | Citation) else isinstance(event, _SEEN))
            ),
            None,
        ),
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
    content_type = next((value for name, value in heard.answer_headers if name.lower() == "content-type"), "")
    if heard.status != 200 or not content_type.lower().startswith(_EVENTS):
        # No stream: a completion of ours, a refusal, or what nobody can read. Half of it says nothing.
        if not over or not heard.status:
            return []
        if isinstance(reader, ChatReader):
            whole = reader.complete(body)
        elif heard.status != 200:
            headers = {name.lower(): value for name, value in heard.answer_headers}
            whole = [Failed(refusal_of(heard.status, headers, body))]
        else:
            whole = reader.receive(b"")
        return [(end, event) for event in whole]
    told = [(at, event) for at, piece in heard.chunks for event in _receive(reader, piece)]
    # The recorder's cut is no cut of the answer's.
    if over and heard.kept == "all":
        told += [(end, event) for event in _receive(reader, b"")]
        if isinstance(reader.follow, Resume) and reader.follow.offset:  # it broke off, and nobody opens it again here
            told += [(end, event) for event in reader.receive(b"")]
    return told


def _receive(reader: Answer | ChatReader, piece: bytes) -> list[Event]:
    """Nobody follows here, and an answer that goes on elsewhere says nothing more here."""
    return reader.receive(piece) if reader.follow is None else []


def _outcome(heard: CapturedCall, said: Transcript, reader: Answer | ChatReader, *, over: bool) -> str:
    if said.error is not None:
        return f"failed {word(said.error.code or said.error.error_type)}"
    if said.finish_reason is not None:
        return word(said.finish_reason)
    if reader.follow is not None:
        return "goes on elsewhere"
    # From here on there is no end, and this says why.
    if heard.status == 0:
        return "no answer" if over else "no answer yet"
    if heard.status != 200 or heard.kept != "all":
        return "not kept whole" if heard.status == 200 else f"status {heard.status}"
    return "unreadable" if over else "still streaming"
