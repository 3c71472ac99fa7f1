"""An answer's events as text completions: lines of a stream, or one body.

Rule: each choice has its text (behind the prompt, where that is echoed) and one finish reason; usage comes last, then
`[DONE]`; or one in-band error and nothing after it. Reasoning has no place in this API and is left out.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from shim.apis.answered_by import answered_by
from shim.apis.completions.read import CompletionOptions
from shim.apis.completions.wire import FIELDS, TextChoice, TextCompletion
from shim.apis.data_lines import DONE, line_safe
from shim.apis.openai_errors import error_line
from shim.apis.openai_usage import usage_on_wire
from shim.protocol.api import AnswerInfo
from shim.protocol.events import Citation, Event, Failed, Finished, TextDelta
from shim.protocol.transcript import Transcript

_HOLE = b'"text":""'


class TextWriter:
    """Writes a streamed answer: `head` first, then `receive` for whatever has happened."""

    def __init__(self, answer: AnswerInfo, options: CompletionOptions) -> None:
        self._answer, self._options = answer, options
        usage = None if options.include_usage else UNSET
        self._line = TextCompletion(f"cmpl-{answer.id}", answer.created, answer.model, [], usage=usage)
        # Only the text differs from line to line, so the bytes around it are made once.
        self._around = [self._data([TextChoice("", place)]).split(_HOLE) for place in range(len(answer.transcripts))]
        self._unfinished = len(answer.transcripts)  # a transcript may have ended before its end is written here

    def head(self) -> bytes:
        """The prompt, for each choice, where it is echoed."""
        return line_safe(b"".join([self._text(text, place) for place, text in enumerate(self._options.echo)]))

    def receive(self, events: Sequence[Event], choice: int) -> bytes:
        """The lines for `events` of one choice, joined: what has arrived together is sent together."""
        lines: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(text=text) | Citation(text=text):
                    if text:
                        lines.append(self._text(text, choice))
                case Finished():
                    ended = TextChoice("", choice, _reason(self._answer.transcripts[choice]))
                    lines.append(self._data([ended], chatgpt=answered_by(self._answer, choice)))
                    # Usage and `[DONE]` come once, behind the last choice.
                    self._unfinished -= 1
                    if not self._unfinished:
                        if self._options.include_usage:
                            lines.append(self._data([], usage=usage_on_wire(self._answer.usage)))
                        lines.append(DONE)
                case Failed(error=error):
                    lines.append(error_line(error, FIELDS))
        return line_safe(b"".join(lines))

    def _text(self, text: str, choice: int) -> bytes:
        before, after = self._around[choice]
        return before + b'"text":' + _encode(text) + after

    def _data(self, choices: list[TextChoice], **beside: Any) -> bytes:
        """A line, which `line_safe` has still to look at."""
        return b"data: " + _encode(msgspec.structs.replace(self._line, choices=choices, **beside)) + b"\n\n"


def completion(answer: AnswerInfo, options: CompletionOptions) -> bytes:
    """The whole answer as one text completion."""
    choices = [
        TextChoice((options.echo[place] if options.echo else "") + transcript.text, place, _reason(transcript))
        for place, transcript in enumerate(answer.transcripts)
    ]
    usage = usage_on_wire(answer.usage)
    line = TextCompletion(f"cmpl-{answer.id}", answer.created, answer.model, choices, usage=usage)
    return _encode(msgspec.structs.replace(line, chatgpt=answered_by(answer)))


def _reason(transcript: Transcript) -> Literal["stop", "length", "content_filter"]:
    reason = transcript.finish_reason or "stop"
    # A text has no calls that could end it.
    return "stop" if reason == "tool_calls" else reason


_encode = msgspec.json.Encoder().encode
