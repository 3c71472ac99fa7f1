"""An answer's pictures on the wire: events of a stream, or one list.

Rule: what is said of a picture is what its bytes say, or else upstream; what was asked for is never repeated as if it
had been done. A stream has its previews and its pictures, or one error; nothing follows the last picture.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from shim.apis.data_lines import line_safe
from shim.apis.images.read import ImageOptions
from shim.apis.images.wire import FIELDS, ImageEvent, ImageInputDetails, ImageList, ImageUsage, MadeImage
from shim.apis.openai_errors import envelope
from shim.errors import About, GatewayError, RequestError, UpstreamError
from shim.files.kinds import Declared, recognise
from shim.protocol.api import AnswerInfo
from shim.protocol.events import Event, Failed, Finished, Picture, Preview

_DATA = "data:"
# What the real API says of content that is refused, whoever noticed.
_USER_ERROR = "image_generation_user_error"
_BLOCKED = "moderation_blocked"


class Shot(msgspec.Struct, frozen=True):
    """A picture's data, with its size and format as its bytes say ("auto" where they say nothing)."""

    data: str
    size: str
    format: str


class ImageWriter:
    """Writes a streamed answer: `head` first, then `receive` for whatever has happened."""

    def __init__(self, answer: AnswerInfo, options: ImageOptions) -> None:
        self._answer, self._kind = answer, options.kind
        self._failed = False
        self._pictures: dict[int, Shot] = {}  # of each choice the first: one is asked of each

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def receive(self, events: Sequence[Event], choice: int) -> bytes:
        """The events for `events` of one choice, joined. A picture waits for the end of its choice, which tells what it
        has used."""
        written = b""
        # Choices that are still under way would write on behind the error.
        for event in events if not self._failed else ():
            match event:
                case Preview(file=file, number=number):
                    shot = shot_of(self._answer.link(file, choice))
                    if shot is not None:
                        written += self._event("partial_image", shot, partial_image_index=number)
                case Picture(file=file) if choice not in self._pictures:
                    shot = shot_of(self._answer.link(file, choice))
                    if shot is None:
                        self._failed = True
                        return written + error_event(_not_fetched())
                    self._pictures[choice] = shot
                case Finished():
                    usage = usage_on_wire(self._answer)
                    written += self._event("completed", self._pictures[choice], usage=usage)
                case Failed(error=error):
                    written += error_event(error)
        return written

    def _event(self, what: str, shot: Shot, **more: Any) -> bytes:
        kind: Any = f"{self._kind}.{what}"
        event = ImageEvent(kind, shot.data, self._answer.created, shot.size, shot.format, **more)
        return _line(kind, _encode(event))


def images(answer: AnswerInfo, options: ImageOptions) -> bytes:
    """The whole answer. Raises UpstreamError where a picture that is wanted as data can't be had."""
    made: list[MadeImage] = []
    size = kind = None
    placed = [
        (place, choice, picture)
        for choice, transcript in enumerate(answer.transcripts)
        for place, picture in enumerate(transcript.pictures)
    ]
    # The first of each choice stands before any second one: one was asked of each, and what is over is left out.
    for _, choice, picture in sorted(placed, key=lambda one: one[:2])[: options.most]:
        prompt = picture.prompt or UNSET
        link = answer.link(picture.file, choice)
        if not options.data:
            made.append(MadeImage(url=link, revised_prompt=prompt))
            if picture.width and picture.height:
                size = size or f"{picture.width}x{picture.height}"
            continue
        shot = shot_of(link)
        if shot is None:
            raise _not_fetched()
        size, kind = size or shot.size, kind or shot.format
        made.append(MadeImage(b64_json=shot.data, revised_prompt=prompt))
    return _encode(ImageList(answer.created, made, usage_on_wire(answer), size or UNSET, kind or UNSET))


def shot_of(link: str) -> Shot | None:
    """The picture that a data URL holds; None for any other link, which stands where it could not be fetched."""
    if not link.startswith(_DATA):
        return None
    data = link.partition(",")[2]
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error:
        return None
    known = recognise(content, Declared())
    if known is None or known.width is None:
        return Shot(data, "auto", "png")
    return Shot(data, f"{known.width}x{known.height}", known.mime_type.removeprefix("image/"))


def usage_on_wire(answer: AnswerInfo) -> ImageUsage:
    """The tokens so far."""
    usage, pictures = answer.usage, answer.picture_tokens
    details = ImageInputDetails(pictures, max(0, usage.prompt - pictures))
    return ImageUsage(usage.prompt, usage.completion, usage.total, details)


def error_event(error: GatewayError) -> bytes:
    """The last event of a stream that failed."""
    return _line("error", b'{"type":"error",' + envelope(as_image_error(error), FIELDS)[1:])


def as_image_error(error: GatewayError) -> GatewayError:
    """The same in the words of this API: what is refused for its content has a type and a code of its own."""
    if error.about is not About.CONTENT:
        return error
    text = f"Your request was rejected by the safety system. {error.message}"
    return RequestError(text, type=_USER_ERROR, code=_BLOCKED, about=About.CONTENT)


def _line(kind: str, data: bytes) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + line_safe(data) + b"\n\n"


def _not_fetched() -> GatewayError:
    return UpstreamError("The picture was made, and can't be fetched from upstream", code="upstream_file")


_encode = msgspec.json.Encoder().encode
