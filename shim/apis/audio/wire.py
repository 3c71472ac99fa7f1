"""`/v1/audio/*`: the requests, what is answered, and the lines of streams.

Rule: a request field that is declared here is honoured, or refused by name; one that is not is reported as ignored.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

MAX_INPUT = 4096  # characters, as the real API has it


class CustomVoice(msgspec.Struct, frozen=True):
    """A voice of the client's own, which is refused."""

    id: str


class SpeechRequest(msgspec.Struct, frozen=True):
    """A text to be read aloud."""

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=MAX_INPUT)]
    voice: str | CustomVoice
    response_format: Literal["mp3", "aac", "opus", "wav", "flac", "pcm"] | None = None
    stream_format: Literal["audio", "sse"] | None = None
    # As published. Upstream has one pace: another is told as ignored.
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None


class UnusedSpeechFields(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    instructions: Annotated[str, Meta(max_length=MAX_INPUT)] | None = None


class UnusedRecordingFields(msgspec.Struct, frozen=True):
    """The same of a recording's form."""

    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None


class RecordingRequest(msgspec.Struct, frozen=True):
    """The fields of a form beside its file. Translations have no `language` and no `stream`."""

    model: str
    # A language's code and nothing else: it is written into the form that goes upstream.
    language: Annotated[str, Meta(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})?$")] | None = None
    response_format: Literal["json", "text", "verbose_json", "srt", "vtt", "diarized_json"] | None = None
    stream: bool | None = None


class SpeechUsage(msgspec.Struct, frozen=True):
    """Tokens of the text; the sound counts none, as upstream tells none."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDelta(msgspec.Struct, frozen=True, tag_field="type", tag="speech.audio.delta"):
    """More of the sound, in base64."""

    audio: str


class SpeechDone(msgspec.Struct, frozen=True, tag_field="type", tag="speech.audio.done"):
    """The end."""

    usage: SpeechUsage


class RecordedDuration(msgspec.Struct, frozen=True):
    """What was written down, in seconds, where the recording says how long it is."""

    seconds: float
    type: Literal["duration"] = "duration"


class WrittenDown(msgspec.Struct, frozen=True):
    """The words of a recording."""

    text: str
    usage: RecordedDuration | UnsetType = UNSET


class WrittenDownVerbosely(msgspec.Struct, frozen=True):
    """The same with what is known besides: `language` as the client said it, else "unknown"; `duration` in seconds, 0
    where the recording does not say. Upstream tells no times, so there are no segments."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: RecordedDuration | UnsetType = UNSET


class TranscriptDelta(msgspec.Struct, frozen=True, tag_field="type", tag="transcript.text.delta"):
    """The words: all at once, as upstream has them."""

    delta: str


class TranscriptDone(msgspec.Struct, frozen=True, tag_field="type", tag="transcript.text.done"):
    """The end."""

    text: str
