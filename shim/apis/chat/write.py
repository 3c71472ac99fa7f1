"""An answer's events as what an OpenAI client reads: chat chunks, or one completion.

Rule: what the answer's text is has been decided before (the filters); here it is put on the wire. Each choice has its
role first and one finish reason; usage comes last, then `[DONE]`; or one in-band error and nothing after it.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from shim.apis.answered_by import answered_by
from shim.apis.chat.read import ChatOptions
from shim.apis.chat.wire import (
    FIELDS,
    Annotation,
    AssistantMessage,
    CalledFunction,
    ChatChunk,
    ChatCompletion,
    ChunkChoice,
    ChunkDelta,
    CompletionChoice,
    FinishReason,
    FunctionDelta,
    ToolCall,
    ToolCallDelta,
    UrlCitation,
)
from shim.apis.data_lines import DONE, line_safe
from shim.apis.openai_errors import error_line
from shim.apis.openai_usage import usage_on_wire
from shim.protocol.api import AnswerInfo, AnswerPlace
from shim.protocol.events import Called, Citation, Event, Failed, Finished, ReasoningDelta, TextDelta
from shim.protocol.transcript import THOUGHT_BREAK, Transcript


class ChunkWriter:
    """Writes a streamed answer: `head` first, then `receive` for whatever has happened."""

    def __init__(self, answer: AnswerInfo, options: ChatOptions) -> None:
        self._answer = answer
        self._include_usage, self._legacy = options.include_usage, options.legacy
        usage = None if options.include_usage else UNSET
        self._chunk = ChatChunk(f"chatcmpl-{answer.id}", answer.created, answer.model, [], usage=usage)
        # Only the delta differs from chunk to chunk, so the bytes around it are made once. The hole is found for sure:
        # in a model's name its quotes would be escaped.
        empty = [ChunkChoice(ChunkDelta(), index=place) for place in range(len(answer.transcripts))]
        self._around = [self._data([choice]).split(b'"delta":{}') for choice in empty]
        self._content = [(before + b'"delta":{"content":', b"}" + after) for before, after in self._around]
        self._has_thought: set[int] = set()
        self._calls = [0] * len(self._around)
        self._unfinished = len(self._around)  # a transcript may have ended before its end is written here

    def head(self) -> bytes:
        """The first chunks: the role of each choice."""
        return line_safe(b"".join([before + _ROLE + after for before, after in self._around]))

    def receive(self, events: Sequence[Event], choice: int) -> bytes:
        """The lines for `events` of one choice, joined: what has arrived together is sent together."""
        lines: list[bytes] = []
        before, after = self._content[choice]
        for event in events:
            match event:
                case TextDelta(text=text) | Citation(text=text):
                    if text:
                        lines += before, _encode(text), after
                case ReasoningDelta(text=text, opens=opens):
                    if text:
                        # Thoughts are one text here: each is set apart from the one before.
                        if opens and choice in self._has_thought:
                            text = THOUGHT_BREAK + text
                        self._has_thought.add(choice)
                        lines.append(self._line(ChunkDelta(reasoning_content=text), choice))
                case Called():
                    lines += self._call(event, choice)
                case Finished():
                    lines.append(self._end(choice))
                case Failed(error=error):
                    lines.append(error_line(error, FIELDS))
        return line_safe(b"".join(lines))

    def _call(self, called: Called, choice: int) -> list[bytes]:
        """A call as the real API streams it: id, type and name first, then the arguments."""
        named, given = FunctionDelta("", called.name), FunctionDelta(called.arguments)
        if self._legacy:
            deltas = ChunkDelta(function_call=named), ChunkDelta(function_call=given)
        else:
            place, self._calls[choice] = self._calls[choice], self._calls[choice] + 1
            first = ToolCallDelta(place, named, called.id, "function")
            deltas = ChunkDelta(tool_calls=[first]), ChunkDelta(tool_calls=[ToolCallDelta(place, given)])
        return [self._line(delta, choice) for delta in deltas]

    def _end(self, choice: int) -> bytes:
        transcript = self._answer.transcripts[choice]
        lines = b""
        if transcript.cited:
            # Where a page is cited is known in the whole text alone, so that all of them come behind it.
            lines = self._line(ChunkDelta(annotations=_annotations(transcript)), choice)
        finish = ChunkChoice(ChunkDelta(), _reason(transcript, legacy=self._legacy), choice)
        lines += self._data([finish], **_ids(self._answer.place(choice)), chatgpt=answered_by(self._answer, choice))
        # `[DONE]` comes once, behind the last choice.
        self._unfinished -= 1
        if not self._unfinished:
            # In a chunk of its own without choices, as the real API sends it.
            if self._include_usage:
                lines += self._data([], usage=usage_on_wire(self._answer.usage))
            lines += DONE
        return lines

    def _line(self, delta: ChunkDelta, choice: int) -> bytes:
        before, after = self._around[choice]
        return before + b'"delta":' + _encode(delta) + after

    def _data(self, choices: list[ChunkChoice], **beside: Any) -> bytes:
        """A chunk, which `line_safe` has still to look at."""
        return b"data: " + _encode(msgspec.structs.replace(self._chunk, choices=choices, **beside)) + b"\n\n"


def completion(answer: AnswerInfo, options: ChatOptions) -> bytes:
    """The whole answer as one chat completion. Ids are given where there is one choice to continue."""
    choices: list[CompletionChoice] = []
    for place, transcript in enumerate(answer.transcripts):
        text = transcript.text
        calls = [ToolCall(one.id, CalledFunction(one.name, one.arguments)) for one in transcript.calls]
        message = AssistantMessage(
            content=text if text or not calls else None,  # a message that only calls has none, as in the real API
            annotations=_annotations(transcript),
            reasoning_content=transcript.reasoning or UNSET,
            tool_calls=calls if calls and not options.legacy else UNSET,
            function_call=calls[0].function if calls and options.legacy else UNSET,
        )
        choices.append(CompletionChoice(message, _reason(transcript, legacy=options.legacy) or "stop", place))
    ids = _ids(answer.place(0)) if len(choices) == 1 else {}
    body = ChatCompletion(f"chatcmpl-{answer.id}", answer.created, answer.model, choices, usage_on_wire(answer.usage))
    return _encode(msgspec.structs.replace(body, **ids, chatgpt=answered_by(answer, 0)))


def _reason(transcript: Transcript, *, legacy: bool) -> FinishReason | None:
    reason = transcript.finish_reason
    return "function_call" if legacy and reason == "tool_calls" else reason


def _annotations(transcript: Transcript) -> list[Annotation]:
    return [Annotation(UrlCitation(one.start, one.end, one.link.title, one.link.url)) for one in transcript.cited]


def _ids(place: AnswerPlace | None) -> dict[str, str]:
    return msgspec.structs.asdict(place) if place is not None else {}


_encode = msgspec.json.Encoder().encode
_ROLE = b'"delta":' + _encode(ChunkDelta(role="assistant", content="", refusal=None))
