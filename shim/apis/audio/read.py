"""Requests for speech and for transcripts, from JSON and from forms.

Rule: what upstream has no word for (a format, a voice, times) is a 400 that names the field; nothing is passed off as
something else.
"""

import io
import wave
from collections.abc import Iterable

import msgspec

from shim.apis.audio import wire
from shim.apis.decoding import allowed, decode, decoders_of, ignored_fields, missing, mistyped
from shim.errors import RequestError
from shim.files.kinds import Declared, safe_name, type_of
from shim.http.multipart import FormPart, read_form
from shim.protocol.turn.audio import Speech

# OpenAI's voices -> upstream's (protocol.md 7.8). It has nine; the last four share.
VOICES = {
    "alloy": "cove",
    "ash": "fathom",
    "coral": "vale",
    "echo": "ember",
    "fable": "breeze",
    "nova": "maple",
    "onyx": "orbit",
    "sage": "glimmer",
    "shimmer": "juniper",
    "ballad": "breeze",
    "cedar": "cove",
    "marin": "vale",
    "verse": "ember",
}
# Clients that know ChatGPT ask for its voices by their own names.
_OWN = frozenset(VOICES.values())
FORMATS = ("mp3", "aac", "opus")
_SPEECH_NEUTRAL: dict[str, tuple[object, ...]] = {"instructions": ("",)}
# Values of forms are text, so that a number has all its spellings here.
_RECORDING_NEUTRAL: dict[str, tuple[object, ...]] = {
    "chunking_strategy": (),
    "include": (),
    "prompt": ("",),
    "temperature": ("0", "0.0"),
    "timestamp_granularities": (),
}
_FORMATS_OF_TEXT = ("json", "text", "verbose_json")
# What can't be a recording; anything else upstream decides on.
_NO_SOUND = ("image/", "text/", "application/pdf", "application/zip", "application/json")


_SPEECH_PUBLISHED = decoders_of(wire.UnusedSpeechFields)


class AskedSpeech(msgspec.Struct, frozen=True):
    """A request for speech; `events` asks for events in the place of bare sound."""

    speech: Speech
    model: str
    events: bool
    ignored: list[str]


class AskedTranscript(msgspec.Struct, frozen=True):
    """A request for a transcript. `seconds` is how long the recording is, where it says so."""

    name: str
    mime_type: str
    content: bytes
    model: str
    format: str
    language: str | None = None
    stream: bool = False
    seconds: float | None = None
    ignored: list[str] = []


def read_speech(body: bytes, *, strict: bool = False) -> AskedSpeech:
    """Raises RequestError (400)."""
    request = decode(_speech, body)
    known = frozenset(wire.SpeechRequest.__struct_fields__)
    ignored = ignored_fields(body, known, _SPEECH_NEUTRAL, strict=strict, published=_SPEECH_PUBLISHED)
    # Upstream speaks at its own pace. Sound is still sound, so that it is told as ignored and not refused.
    if request.speed not in {None, 1.0}:
        ignored = sorted([*ignored, *allowed(["speed"], strict=strict)])
    voice = VOICES.get(request.voice, request.voice) if isinstance(request.voice, str) else ""
    if voice not in _OWN:
        names = ", ".join((*VOICES, *sorted(_OWN)))
        raise RequestError(f"There is no such voice: there are {names}.", param="voice", code="invalid_value")
    kind = request.response_format or "mp3"
    if kind not in FORMATS:
        raise _other_format(f"Upstream has no '{kind}'", FORMATS)
    return AskedSpeech(Speech(request.input, voice, kind), request.model, request.stream_format == "sse", ignored)


def _other_format(why: str, formats: Iterable[str]) -> RequestError:
    text = f"{why}: ask for one of {', '.join(formats)}."
    return RequestError(text, param="response_format", code="unsupported_value")


def read_recording(
    body: bytes, content_type: str, *, translates: bool = False, strict: bool = False
) -> AskedTranscript:
    """Raises RequestError (400)."""
    parts = read_form(body, content_type)
    # Without a file name it is a field of text, and no recording.
    file = next((part for part in parts if part.name == "file" and part.filename is not None), None)
    if file is None:
        raise missing("file")
    fields = {part.name.removesuffix("[]"): part.text for part in parts if part is not file and part.name != "file"}
    known = frozenset(wire.RecordingRequest.__struct_fields__) - ({"language", "stream"} if translates else set())
    ignored = ignored_fields(msgspec.json.encode(fields), known, _RECORDING_NEUTRAL, strict=strict)
    unused = frozenset(wire.UnusedRecordingFields.__struct_fields__)
    try:
        msgspec.convert(
            {name: fields[name] for name in unused & fields.keys()}, wire.UnusedRecordingFields, strict=False
        )
        request = msgspec.convert(
            {name: fields[name] for name in known & fields.keys()}, wire.RecordingRequest, strict=False
        )
    except msgspec.ValidationError as error:
        raise mistyped(str(error)) from None
    form = request.response_format or "json"
    # srt and vtt are nothing but times; made-up ones would be believed.
    if form not in _FORMATS_OF_TEXT:
        raise _other_format(f"'{form}' needs times, and upstream tells none", _FORMATS_OF_TEXT)
    return AskedTranscript(
        *_recording(file), request.model, form, request.language, bool(request.stream), _seconds(file.content), ignored
    )


def _recording(file: FormPart) -> tuple[str, str, bytes]:
    if not file.content:
        raise RequestError("The file is empty.", param="file", code="unsupported_file_type")
    kind = type_of(file.content, Declared(file.filename, file.content_type))
    if kind.startswith(_NO_SOUND):
        raise RequestError(
            "The file is no recording: send wav, mp3, m4a, flac, ogg or webm.",
            param="file",
            code="unsupported_file_type",
        )
    return safe_name(file.filename, kind), kind, file.content


def _seconds(content: bytes) -> float | None:
    """How long a WAV file is; other formats do not say so in their head."""
    try:
        with wave.open(io.BytesIO(content)) as sound:
            return round(float(sound.getnframes() / sound.getframerate()), 3)
    except (wave.Error, EOFError, ZeroDivisionError, RuntimeError):
        return None  # RuntimeError: it is damaged, and its parts are longer than it is


_speech = msgspec.json.Decoder(wire.SpeechRequest)
