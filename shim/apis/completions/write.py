"""An answer's events as text completions: lines of a stream, or one body.

Rule: each choice has its text (behind the prompt, where that is echoed) and one finish reason; usage comes last, then
`[DONE]`; or one in-band error and nothing after it. Reasoning has no place in this API and is left out.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET

from shim.apis.answered_by import answered_by
from shim.apis.completions.read import CompletionOptions
from shim.apis.completions.wire import FIELDS, TextChoice, TextCompletion
from shim.apis.data_lines import DONE, data_line, line_safe
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
        empty = (TextChoice("", place) for place in range(len(answer.transcripts)))
        lines = (_encode(msgspec.structs.replace(self._line, choices=[choice])) for choice in empty)
        self._around = [data_line(line).split(_HOLE) for line in lines]
        self._unfinished = len(answer.transcripts)  # a transcript may have ended before its end is written here

    def head(self) -> bytes:
        """The prompt, for each choice, where it is echoed."""
        return b"".join(self._text(text, place) for place, text in enumerate(self._options.echo))

    def receive(self, events: Sequence[Event], choice: int) -> bytes:
        """The lines for `events` of one choice, joined: what has arrived together is sent together."""
        lines = b""
        for event in events:
            match event:
                case TextDelta(text=text) | Citation(text=text):
                    lines += self._text(text, choice) if text else b""
                case Finished():
                    ended = [TextChoice("", choice, _reason(self._answer.transcripts[choice]))]
                    told = answered_by(self._answer, choice)
                    lines += data_line(_encode(msgspec.structs.replace(self._line, choices=ended, chatgpt=told)))
                    lines += self._last_lines()
                case Failed(error=error):
                    lines += error_line(error, FIELDS)
        return lines

    def _text(self, text: str, choice: int) -> bytes:
        before, after = self._around[choice]
        return before + b'"text":' + line_safe(_encode(text)) + after

    def _last_lines(self) -> bytes:
        """What comes behind the end of the last choice."""
        self._unfinished -= 1
        if self._unfinished:
            return b""
        if not self._options.include_usage:
            return DONE
        usage = usage_on_wire(self._answer.usage)
        return data_line(_encode(msgspec.structs.replace(self._line, usage=usage))) + DONE


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
    return "stop" if reason == "tool_calls" else reason


_encode = msgspec.json.Encoder().encode
