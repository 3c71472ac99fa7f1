"""Events to what an OpenAI client reads: chat chunks, or one completion, from the same transcript.

Rule: one room decides what the answer's text is (`Transcript`); the two renderers only put it on the wire. Role first,
one finish reason, usage last, then `[DONE]`; or one in-band error and nothing after it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from shim.errors import GatewayError
from shim.openai.chat import (
    AssistantMessage,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    ChunkDelta,
    Usage,
)
from shim.protocol.events import CodeDelta, Event, Failed, Finished, ReasoningDelta, TextDelta, ToolOutput
from shim.protocol.markdown import MarkdownText

DONE = b"data: [DONE]\n\n"
Ids = Callable[[], dict[str, str]]
"""() -> `conversation_id` and `message_id` where chats are kept, else nothing; asked when the answer has ended"""
CountUsage = Callable[[str, str], Usage]
"""(answer text, reasoning text) -> usage"""

# NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR: JSON lets them stand as they are. (The ASCII ones it does not.)
_ESCAPED = {char.encode(): b"\\u%04x" % ord(char) for char in "\x85\u2028\u2029"}
_LINE_ENDS = re.compile(b"|".join(_ESCAPED))
_CONTENT = "content"
_REASONING = "reasoning_content"


class Transcript:
    """What has been said so far: the answer's text, the reasoning, their size in characters, and how it ended."""

    def __init__(self) -> None:
        self.finish_reason: Any = None
        self.error: GatewayError | None = None
        self.size = 0
        self._markdown = MarkdownText()
        self._said: dict[str, list[str]] = {_CONTENT: [], _REASONING: []}

    def add(self, event: Event) -> tuple[str, str] | None:
        """Take one event in; returns (delta field, text) where it says something."""
        match event:
            case TextDelta() | CodeDelta() | ToolOutput():
                return self._say(_CONTENT, self._markdown.add(event))
            case ReasoningDelta():
                opens = event.opens and self._said[_REASONING]
                return self._say(_REASONING, f"\n\n{event.text}" if opens else event.text)
            case Finished(reason=reason):
                self.finish_reason = reason
                return self._say(_CONTENT, self._markdown.close())
            case Failed(error=error):
                self.error = error
        return None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self._said[_CONTENT])

    @property
    def reasoning(self) -> str:
        """The reasoning's text."""
        return "".join(self._said[_REASONING])

    def _say(self, field: str, text: str) -> tuple[str, str] | None:
        if not text:
            return None
        self._said[field].append(text)
        self.size += len(text)
        return field, text


class ChatChunks:
    """Renders a streamed answer: `head` first, then `render` for whatever has happened."""

    def __init__(
        self, *, id: str, created: int, model: str, count: CountUsage, include_usage: bool, ids: Ids = dict
    ) -> None:
        self.transcript = Transcript()
        self._ids = ids
        self._chunk = ChatChunk(id, created, model, [], usage=None if include_usage else UNSET)
        self._include_usage = include_usage
        self._count = count
        self._around = {field: self._template(field) for field in (_CONTENT, _REASONING)}

    def head(self) -> bytes:
        """The first chunk: the role."""
        return self._line(ChunkChoice(ChunkDelta(role="assistant", content="", refusal=None)))

    def render(self, events: Iterable[Event]) -> bytes:
        """The lines for `events`, joined: what has arrived together is sent together."""
        lines: list[bytes] = []
        add, around = self.transcript.add, self._around
        for event in events:
            said = add(event)
            if said is not None:
                before, after = around[said[0]]
                lines += before, _encode_text(said[1]), after
            if isinstance(event, Finished | Failed):
                lines.append(self._end())
        return b"".join(lines)

    def _end(self) -> bytes:
        transcript = self.transcript
        if transcript.error is not None:
            return b"data: " + transcript.error.envelope() + b"\n\n"
        finish = ChunkChoice(ChunkDelta(), transcript.finish_reason)
        last = _data(msgspec.structs.replace(self._chunk, choices=[finish], **self._ids()))
        return last + self._usage_line() + DONE

    def _usage_line(self) -> bytes:
        if not self._include_usage:
            return b""
        usage = self._count(self.transcript.text, self.transcript.reasoning)
        return _data(msgspec.structs.replace(self._chunk, usage=usage))

    def _line(self, choice: ChunkChoice) -> bytes:
        return _data(msgspec.structs.replace(self._chunk, choices=[choice]))

    def _template(self, field: str) -> tuple[bytes, bytes]:
        """The bytes before and after a delta's text: only the text differs from chunk to chunk."""
        hole = b'"%s":' % field.encode()
        delta = ChunkDelta(content="") if field == _CONTENT else ChunkDelta(reasoning_content="")
        before, after = self._line(ChunkChoice(delta)).split(hole + b'""')
        return before + hole, after


class Completion:
    """Collects a whole answer into one chat completion."""

    def __init__(self, *, id: str, created: int, model: str, count: CountUsage, ids: Ids = dict) -> None:
        self.transcript = Transcript()
        self._ids = ids
        self._id, self._created, self._model, self._count = id, created, model, count

    def add(self, events: Iterable[Event]) -> None:
        """Take events in. Raises the GatewayError the answer failed with."""
        for event in events:
            self.transcript.add(event)
        if self.transcript.error is not None:
            raise self.transcript.error

    def body(self) -> bytes:
        """The completion, once the answer has finished."""
        transcript = self.transcript
        message = AssistantMessage(content=transcript.text, reasoning_content=transcript.reasoning or UNSET)
        usage = self._count(transcript.text, transcript.reasoning)
        choice = Choice(message, transcript.finish_reason)
        completion = ChatCompletion(self._id, self._created, self._model, [choice], usage)
        return _encode(msgspec.structs.replace(completion, **self._ids()))


def _encode_text(text: str) -> bytes:
    """`text` as JSON in which no character ends a line for anybody: many clients split as `str.splitlines` does."""
    encoded = _encode(text)
    return encoded if text.isascii() else _LINE_ENDS.sub(lambda match: _ESCAPED[match[0]], encoded)


def _data(chunk: ChatChunk) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


_encode = msgspec.json.Encoder().encode
