"""Transcripts and speech on the wire: bodies and lines of streams."""

import base64
from typing import Literal

import msgspec
from msgspec import UNSET

from shim.apis.audio import wire
from shim.apis.audio.read import AskedTranscript
from shim.apis.data_lines import data_line

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


def transcript(asked: AskedTranscript, text: str, *, translated: bool = False) -> tuple[str, bytes]:
    """(media type, body) of a transcript in the format that was asked for."""
    if asked.format == "text":
        return TEXT, f"{text}\n".encode()
    usage = wire.RecordedDuration(asked.seconds) if asked.seconds is not None and not translated else UNSET
    if asked.format == "json":
        return JSON, _encode(wire.WrittenDown(text, usage))
    language = "english" if translated else asked.language or "unknown"
    task: Literal["transcribe", "translate"] = "translate" if translated else "transcribe"
    return JSON, _encode(wire.WrittenDownVerbosely(task, language, asked.seconds or 0.0, text, usage))


def transcript_lines(text: str) -> bytes:
    """The same as a stream: upstream has the words all at once."""
    delta = data_line(_encode(wire.TranscriptDelta(text))) if text else b""
    return delta + data_line(_encode(wire.TranscriptDone(text)))


def sound_line(piece: bytes) -> bytes:
    """A piece of sound as a line of a stream."""
    return data_line(_encode(wire.SpeechDelta(base64.b64encode(piece).decode())))


def sound_end(tokens: int) -> bytes:
    """The last line of such a stream; `tokens` are those of the text."""
    return data_line(_encode(wire.SpeechDone(wire.SpeechUsage(tokens, 0, tokens))))


_encode = msgspec.json.Encoder().encode
