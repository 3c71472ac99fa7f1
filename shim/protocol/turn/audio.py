"""Reading aloud and writing down (protocol.md 7.8, 7.9).

Rule: calls as data and generators of commands, like the handshake. Upstream reads a message that it has kept, and
nothing else.
"""

import re
from typing import Any
from urllib.parse import urlencode

import msgspec

from shim.errors import RequestError, UpstreamError
from shim.protocol.commands import Handshake, HttpRequest, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream

_UNQUOTABLE = re.compile(r'[\x00-\x1f\x7f"\\]')


class Speech(msgspec.Struct, frozen=True):
    """A text to be read aloud, by one of upstream's voices, in one of its formats."""

    text: str
    voice: str
    format: str


class SoundFile(msgspec.Struct, frozen=True):
    """Sound to be written down. `boundary` is text that does not occur in it; `language` is a code such as "en"."""

    name: str
    mime_type: str
    content: bytes
    boundary: str
    language: str | None = None


def speech_of(upstream: Upstream, conversation_id: str, message_id: str, speech: Speech) -> HttpRequest:
    """The call that has a message of a kept chat read aloud; it answers sound, or JSON that names its address."""
    place = {"conversation_id": conversation_id, "message_id": message_id}
    query = place | {"voice": speech.voice, "format": speech.format}
    call = upstream.get(f"synthesize?{urlencode(query)}")
    return msgspec.structs.replace(call, headers=call.headers | {"accept": "*/*"})


def write_down(upstream: Upstream, recording: SoundFile) -> Handshake[str]:
    """What is said in a recording. Raises RequestError (400) where upstream can't read it, and every GatewayError."""
    content_type = f"multipart/form-data; boundary={recording.boundary}"
    reply = yield from ask(upstream.post("transcribe", _form(recording), {"content-type": content_type}))
    if reply.status == 413:
        raise RequestError(
            "Upstream does not take this recording, it is too large.", param="file", code="file_too_large"
        )
    if reply.status in {400, 415, 422}:
        raise RequestError(
            "Upstream can't read this recording: it takes wav, mp3, m4a, flac, ogg and webm.",
            param="file",
            code="unsupported_file_type",
        )
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    # JSON with a text, or the text itself.
    if not reply.headers.get("content-type", "").lower().startswith("application/json"):
        return reply.body.decode(errors="replace")
    try:
        answer: Any = msgspec.json.decode(reply.body)
    except (ValueError, RecursionError):
        answer = None
    text = answer.get("text") if isinstance(answer, dict) else None
    if not isinstance(text, str):
        raise UpstreamError("Upstream's answer about a recording can't be read", code="upstream_transcript")
    return text


def _form(recording: SoundFile) -> bytes:
    name = _UNQUOTABLE.sub("_", recording.name)
    head = (
        f"--{recording.boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {recording.mime_type}\r\n\r\n"
    )
    tail = f"\r\n--{recording.boundary}--\r\n"
    if recording.language:
        field = f'\r\n--{recording.boundary}\r\nContent-Disposition: form-data; name="language"\r\n\r\n'
        tail = f"{field}{recording.language}{tail}"
    return head.encode() + recording.content + tail.encode()
