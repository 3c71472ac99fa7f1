"""Speech and transcripts in the OpenAPI document, with examples that tests decode."""

from shim.apis.audio.read import FORMATS
from shim.apis.audio.wire import SpeechRequest, WrittenDown
from shim.apis.audio.write import sound_end, sound_line, transcript_lines
from shim.http.openapi import EVENTS, FILE, JSON, OPTIONAL, Json, OpenApiOperation

_STATUSES = (400, 401, 403, 404, 413, 429, 502, 503, 504)
_ASK = {"model": "gpt-4o-mini-tts", "input": "Good morning.", "voice": "alloy"}
_SOUND = {"audio/mpeg": bytes, "audio/aac": bytes, "audio/ogg": bytes}
_FORM: dict[str, Json] = {
    "file": FILE,
    "model": {"type": "string"},
    "response_format": {"type": "string", "enum": ["json", "text", "verbose_json"], OPTIONAL: True},
}

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/audio/speech",
        "createSpeech",
        f"Read a text aloud ({', '.join(FORMATS)}), in a kept chat that is deleted afterwards.",
        takes=SpeechRequest,
        examples={"sound": _ASK, "events": _ASK | {"response_format": "aac", "stream_format": "sse"}},
        gives={**_SOUND, EVENTS: str},
        example={EVENTS: (sound_line(b"ID3") + sound_end(5)).decode()},
        about_events="`speech.audio.delta` with sound in base64, then `speech.audio.done`; or an ErrorEnvelope.",
        errors=_STATUSES,
    ),
    OpenApiOperation(
        "post",
        "/v1/audio/transcriptions",
        "createTranscription",
        "Write a recording down.",
        form={
            **_FORM,
            "language": {"type": "string", "pattern": "^[a-z]{2}$", OPTIONAL: True},
            "stream": {"type": "boolean", OPTIONAL: True},
        },
        gives={JSON: WrittenDown, EVENTS: str, "text/plain": str},
        example={JSON: WrittenDown("Good morning."), EVENTS: transcript_lines("Good morning.").decode()},
        about_events="`transcript.text.delta`, once with all the words, then `transcript.text.done`.",
        errors=_STATUSES,
    ),
    OpenApiOperation(
        "post",
        "/v1/audio/translations",
        "createTranslation",
        "Write a recording down in English: transcribed, then translated by a model.",
        form=_FORM,
        gives={JSON: WrittenDown, "text/plain": str},
        example={JSON: WrittenDown("Good morning.")},
        errors=_STATUSES,
    ),
)
