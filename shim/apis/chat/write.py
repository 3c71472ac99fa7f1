"""An answer's events as what an OpenAI client reads: chat chunks, or one completion.

Rule: what the answer's text is has been decided before (the filters); here it is put on the wire. Each choice has its
role first and one finish reason; usage comes last, then `[DONE]`; or one in-band error and nothing after it.
"""

from collections.abc import Sequence

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
from shim.apis.data_lines import DONE, data_line, line_safe
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
        # Only the text differs from chunk to chunk, so the bytes around it are made once.
        places = range(len(answer.transcripts))
        self._content = [self._around(ChunkDelta(content=""), b'"content":', place) for place in places]
        self._reasoning: dict[int, tuple[bytes, bytes]] = {}  # the same of each choice that has thought
        self._calls = [0 for _ in places]
        self._unfinished = len(places)  # a transcript may have ended before its end is written here

    def head(self) -> bytes:
        """The first chunks: the role of each choice."""
        delta = ChunkDelta(role="assistant", content="", refusal=None)
        return b"".join(self._line(delta, choice) for choice in range(len(self._content)))

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
                        lines += self._thought(text, choice, opens=opens)
                case Called():
                    lines += self._call(event, choice)
                case Finished():
                    lines.append(self._end(choice))
                case Failed(error=error):
                    lines.append(error_line(error, FIELDS))
        return line_safe(b"".join(lines))

    def _thought(self, text: str, choice: int, *, opens: bool) -> tuple[bytes, bytes, bytes]:
        """A piece of reasoning, apart from the thought before."""
        if choice not in self._reasoning:
            delta = ChunkDelta(reasoning_content="")
            self._reasoning[choice] = self._around(delta, b'"reasoning_content":', choice)
        elif opens:
            text = THOUGHT_BREAK + text
        before, after = self._reasoning[choice]
        return before, _encode(text), after

    def _call(self, called: Called, choice: int) -> list[bytes]:
        """A call as the real API streams it: id, type and name first, then the arguments."""
        place, self._calls[choice] = self._calls[choice], self._calls[choice] + 1
        if self._legacy:
            named = FunctionDelta("", called.name), FunctionDelta(called.arguments)
            return [self._line(ChunkDelta(function_call=delta), choice) for delta in named]
        first = ToolCallDelta(place, FunctionDelta("", called.name), called.id, "function")
        then = ToolCallDelta(place, FunctionDelta(called.arguments))
        return [self._line(ChunkDelta(tool_calls=[delta]), choice) for delta in (first, then)]

    def _end(self, choice: int) -> bytes:
        transcript = self._answer.transcripts[choice]
        lines = b""
        if transcript.cited:
            lines = self._line(ChunkDelta(annotations=_annotations(transcript)), choice)
        finish = ChunkChoice(ChunkDelta(), _reason(transcript, legacy=self._legacy), choice)
        beside = {**_ids(self._answer.place(choice)), "chatgpt": answered_by(self._answer, choice)}
        lines += _data(msgspec.structs.replace(self._chunk, choices=[finish], **beside))
        # `[DONE]` comes once, behind the last choice.
        self._unfinished -= 1
        if not self._unfinished:
            if self._include_usage:
                lines += _data(msgspec.structs.replace(self._chunk, usage=usage_on_wire(self._answer.usage)))
            lines += DONE
        return lines

    def _line(self, delta: ChunkDelta, choice: int) -> bytes:
        return _data(msgspec.structs.replace(self._chunk, choices=[ChunkChoice(delta, index=choice)]))

    def _around(self, delta: ChunkDelta, hole: bytes, choice: int) -> tuple[bytes, bytes]:
        """The bytes before and after a delta's text."""
        before, after = self._line(delta, choice).split(hole + b'""')
        return before + hole, after


def completion(answer: AnswerInfo, options: ChatOptions) -> bytes:
    """The whole answer as one chat completion. Ids are given where there is one choice to continue."""
    transcripts = answer.transcripts
    choices = [
        CompletionChoice(
            _message(transcript, legacy=options.legacy), _reason(transcript, legacy=options.legacy) or "stop", place
        )
        for place, transcript in enumerate(transcripts)
    ]
    ids = _ids(answer.place(0)) if len(choices) == 1 else {}
    body = ChatCompletion(f"chatcmpl-{answer.id}", answer.created, answer.model, choices, usage_on_wire(answer.usage))
    return _encode(msgspec.structs.replace(body, **ids, chatgpt=answered_by(answer, 0)))


def _reason(transcript: Transcript, *, legacy: bool) -> FinishReason | None:
    reason = transcript.finish_reason
    return "function_call" if legacy and reason == "tool_calls" else reason


def _message(transcript: Transcript, *, legacy: bool) -> AssistantMessage:
    """A message that only calls has no content, as in the real API."""
    text = transcript.text
    calls = [ToolCall(one.id, CalledFunction(one.name, one.arguments)) for one in transcript.calls]
    return AssistantMessage(
        content=text if text or not calls else None,
        annotations=_annotations(transcript),
        reasoning_content=transcript.reasoning or UNSET,
        tool_calls=calls if calls and not legacy else UNSET,
        function_call=calls[0].function if calls and legacy else UNSET,
    )


def _annotations(transcript: Transcript) -> list[Annotation]:
    return [Annotation(UrlCitation(one.start, one.end, one.link.title, one.link.url)) for one in transcript.cited]


def _ids(place: AnswerPlace | None) -> dict[str, str]:
    return msgspec.structs.asdict(place) if place is not None else {}


def _data(chunk: ChatChunk) -> bytes:
    return data_line(_encode(chunk))


_encode = msgspec.json.Encoder().encode
