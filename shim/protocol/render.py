"""Events to what an OpenAI client reads: chat chunks, or one completion, from the same transcripts.

Rule: what the answer's text is has been decided before (`markdown`, and the stages after it); the two renderers only
put it on the wire. Each choice has its role first and one finish reason; usage comes last, then `[DONE]`; or one
in-band error and nothing after it.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from shim.apis.chat.wire import (
    Annotation,
    AssistantMessage,
    CalledFunction,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChunkChoice,
    ChunkDelta,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
    UrlCitation,
    Usage,
)
from shim.errors import GatewayError
from shim.protocol.events import Called, Citation, Event, Failed, Finished, ReasoningDelta, TextDelta

DONE = b"data: [DONE]\n\n"
# No proxy on the way may keep a stream, or parts of it, back.
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}

# NEL, LINE SEPARATOR, PARAGRAPH SEPARATOR: JSON lets them stand as they are. (The ASCII ones it does not.)
_ESCAPED = {char.encode(): b"\\u%04x" % ord(char) for char in "\x85\u2028\u2029"}
_LINE_ENDS = re.compile(b"|".join(_ESCAPED))
_CONTENT = "content"
_REASONING = "reasoning_content"


class Transcript:
    """What one choice has said so far: text, reasoning, calls and citations, its size in characters, how it ended."""

    def __init__(self) -> None:
        self.finish_reason: Any = None
        self.error: GatewayError | None = None
        self.size = 0
        self.calls: list[ToolCall] = []
        self.annotations: list[Annotation] = []
        self._length = 0  # of the content alone
        self._said: dict[str, list[str]] = {_CONTENT: [], _REASONING: []}

    def add(self, event: Event) -> tuple[str, str] | None:
        """Take one event in; returns (delta field, text) where it says something."""
        match event:
            case TextDelta(text=text):
                return self._say(_CONTENT, text)
            case ReasoningDelta(text=text, opens=opens):
                return self._say(_REASONING, f"\n\n{text}" if opens and self._said[_REASONING] else text)
            case Citation(text=text, links=links):
                start = self._length
                said = self._say(_CONTENT, text)
                self.annotations += [
                    Annotation(UrlCitation(start, self._length, link.title, link.url)) for link in links
                ]
                return said
            case Called(id=id, name=name, arguments=arguments):
                self.calls.append(ToolCall(id, CalledFunction(name, arguments)))
                self.size += len(name) + len(arguments)
            case Finished(reason=reason):
                self.finish_reason = reason
            case Failed(error=error):
                self.error = error
        return None

    @property
    def ended(self) -> bool:
        """Whether its last event has been taken in."""
        return self.finish_reason is not None or self.error is not None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self._said[_CONTENT])

    @property
    def reasoning(self) -> str:
        """The reasoning's text."""
        return "".join(self._said[_REASONING])

    def message(self) -> AssistantMessage:
        """All of it as the message of a completion. A message that only calls has no content, as in the real API."""
        text = self.text
        return AssistantMessage(
            content=text if text or not self.calls else None,
            annotations=self.annotations,
            reasoning_content=self.reasoning or UNSET,
            tool_calls=self.calls or UNSET,
        )

    def _say(self, field: str, text: str) -> tuple[str, str] | None:
        if not text:
            return None
        self._said[field].append(text)
        self.size += len(text)
        if field is _CONTENT:
            self._length += len(text)
        return field, text


CountUsage = Callable[[Sequence[Transcript]], Usage]
"""(one transcript for each choice) -> the usage of all of them"""
Ids = Callable[[int], dict[str, str]]
"""(choice) -> `conversation_id` and `message_id` where chats are kept, else nothing; asked when the answer has ended"""


def no_ids(_choice: int) -> dict[str, str]:
    """Chats are not kept."""
    return {}


class ChatChunks:
    """Renders a streamed answer: `head` first, then `render` for whatever has happened."""

    def __init__(
        self,
        *,
        id: str,
        created: int,
        model: str,
        count: CountUsage,
        include_usage: bool,
        choices: int = 1,
        ids: Ids = no_ids,
    ) -> None:
        self.transcripts = [Transcript() for _ in range(choices)]
        self._ids = ids
        self._chunk = ChatChunk(id, created, model, [], usage=None if include_usage else UNSET)
        self._include_usage = include_usage
        self._count = count
        self._around = [
            {field: self._template(field, choice) for field in (_CONTENT, _REASONING)} for choice in range(choices)
        ]

    def head(self) -> bytes:
        """The first chunks: the role of each choice."""
        delta = ChunkDelta(role="assistant", content="", refusal=None)
        return b"".join(self._line(delta, choice) for choice in range(len(self.transcripts)))

    def render(self, events: Iterable[Event], choice: int = 0) -> bytes:
        """The lines for `events` of one choice, joined: what has arrived together is sent together."""
        lines: list[bytes] = []
        transcript, around = self.transcripts[choice], self._around[choice]
        add = transcript.add
        for event in events:
            said = add(event)
            if said is not None:
                before, after = around[said[0]]
                lines += before, _encode_text(said[1]), after
            elif isinstance(event, Called):
                lines += self._call(transcript, choice)
            elif isinstance(event, Finished | Failed):
                lines.append(self._end(transcript, choice))
        return b"".join(lines)

    def _call(self, transcript: Transcript, choice: int) -> list[bytes]:
        """A call as the real API streams it: id, type and name first, then the arguments."""
        place, call = len(transcript.calls) - 1, transcript.calls[-1]
        first = ToolCallDelta(place, FunctionDelta("", call.function.name), call.id, call.type)
        then = ToolCallDelta(place, FunctionDelta(call.function.arguments))
        return [self._line(ChunkDelta(tool_calls=[delta]), choice) for delta in (first, then)]

    def _end(self, transcript: Transcript, choice: int) -> bytes:
        if transcript.error is not None:
            return b"data: " + transcript.error.envelope() + b"\n\n"
        cited = ChunkDelta(annotations=transcript.annotations)
        lines = self._line(cited, choice) if transcript.annotations else b""
        finish = ChunkChoice(ChunkDelta(), transcript.finish_reason, choice)
        lines += _data(msgspec.structs.replace(self._chunk, choices=[finish], **self._ids(choice)))
        if all(one.ended for one in self.transcripts):
            lines += self._usage_line() + DONE
        return lines

    def _usage_line(self) -> bytes:
        if not self._include_usage:
            return b""
        return _data(msgspec.structs.replace(self._chunk, usage=self._count(self.transcripts)))

    def _line(self, delta: ChunkDelta, choice: int) -> bytes:
        return _data(msgspec.structs.replace(self._chunk, choices=[ChunkChoice(delta, index=choice)]))

    def _template(self, field: str, choice: int) -> tuple[bytes, bytes]:
        """The bytes before and after a delta's text: only the text differs from chunk to chunk."""
        hole = b'"%s":' % field.encode()
        delta = ChunkDelta(content="") if field == _CONTENT else ChunkDelta(reasoning_content="")
        before, after = self._line(delta, choice).split(hole + b'""')
        return before + hole, after


class Completion:
    """Collects a whole answer into one chat completion."""

    def __init__(
        self, *, id: str, created: int, model: str, count: CountUsage, choices: int = 1, ids: Ids = no_ids
    ) -> None:
        self.transcripts = [Transcript() for _ in range(choices)]
        self._ids = ids
        self._id, self._created, self._model, self._count = id, created, model, count

    def add(self, events: Iterable[Event], choice: int = 0) -> None:
        """Take events of one choice in. Raises the GatewayError the answer failed with."""
        transcript = self.transcripts[choice]
        for event in events:
            transcript.add(event)
        if transcript.error is not None:
            raise transcript.error

    def body(self) -> bytes:
        """The completion, once every choice has finished. Ids are given where there is one choice to go on with."""
        choices = [
            Choice(transcript.message(), transcript.finish_reason, place)
            for place, transcript in enumerate(self.transcripts)
        ]
        usage = self._count(self.transcripts)
        completion = ChatCompletion(self._id, self._created, self._model, choices, usage)
        ids = self._ids(0) if len(choices) == 1 else {}
        return _encode(msgspec.structs.replace(completion, **ids))


def _line_safe(encoded: bytes) -> bytes:
    """JSON in which no character ends a line for anybody: many clients split as `str.splitlines` does."""
    return encoded if encoded.isascii() else _LINE_ENDS.sub(lambda match: _ESCAPED[match[0]], encoded)


def _encode_text(text: str) -> bytes:
    return _line_safe(_encode(text))


def _data(chunk: ChatChunk) -> bytes:
    return b"data: " + _line_safe(_encode(chunk)) + b"\n\n"


_encode = msgspec.json.Encoder().encode
