"""multipart/form-data, read as it arrives or at once.

    chunks ──FormStream──> parts, each with its pieces (nothing is held but what has just arrived)
    a whole body ──read_form──> its parts, each with its content

Rule: a body that is not what its head says is the client's mistake, and is told as one (400). What is read is bounded:
the number of parts, their headers, and of a part read as a value its size. That of the whole body is the reader's.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterable, Iterator

import msgspec
from multipart import (  # type: ignore[import-untyped]  # it has no types
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from shim.errors import RequestError

MEDIA_TYPE = "multipart/form-data"
# Far more than any API here has fields; each costs a parser's turn, however small it is.
MAX_PARTS = 256
MAX_VALUE = 1024 * 1024  # bytes of a part that is a value and no file
_BOUNDARY = re.compile(r"[ -~]{1,70}")  # RFC 2046 5.1.1 allows 70 characters, and fewer of them than this


class FormPart(msgspec.Struct, frozen=True):
    """One part of a whole body. `filename` is None for a plain value; `content_type` is in lower case, without
    parameters."""

    name: str
    content: bytes
    filename: str | None = None
    content_type: str | None = None

    @property
    def text(self) -> str:
        """A plain value. Raises RequestError where it is none."""
        return _text_of(self.name, self.content)


def is_form(content_type: str) -> bool:
    """Whether this Content-Type is that of a form with files."""
    return content_type.partition(";")[0].strip().lower() == MEDIA_TYPE


def read_form(body: bytes, content_type: str) -> list[FormPart]:
    """The parts of a body, in their order. Raises RequestError (400)."""
    parts: list[FormPart] = []
    head: MultipartSegment | None = None
    pieces: list[bytes] = []
    reader = _Reader(content_type)
    for event in (*reader.receive(body), *reader.receive(b"")):
        if isinstance(event, MultipartSegment):
            head, pieces = event, []
        elif event is not None:
            pieces.append(event)
        elif head is not None:
            parts.append(FormPart(head.name or "", b"".join(pieces), head.filename, head.content_type))
    return parts


class StreamedPart:
    """One part of a body that is arriving: read it before the next one is asked for, else it is passed over."""

    def __init__(self, head: MultipartSegment, events: AsyncGenerator[MultipartSegment | bytes | None]) -> None:
        self.name: str = head.name or ""
        self.filename: str | None = head.filename
        self.content_type: str | None = head.content_type
        self._events = events
        self._over = False

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The content, as it arrives. Raises RequestError (400) where the body breaks off."""
        while not self._over:
            event = await anext(self._events, None)
            if isinstance(event, bytes):
                yield event
            else:
                self._over = True

    async def text(self) -> str:
        """A plain value. Raises RequestError (400) where it is none, or is too long."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > MAX_VALUE:
                break  # which is refused below, without the rest of it
        return _text_of(self.name, bytes(content))


class FormStream:
    """The parts of a body that is arriving as `chunks`, which end where the body does."""

    def __init__(self, chunks: AsyncIterable[bytes], content_type: str) -> None:
        """Raises RequestError (400) where `content_type` is not that of a form."""
        self._reader = _Reader(content_type)
        self._chunks = chunks

    async def parts(self) -> AsyncGenerator[StreamedPart]:
        """Each part, at its head. Raises RequestError (400)."""
        events = self._events()
        while (event := await anext(events, ...)) is not ...:
            if isinstance(event, MultipartSegment):
                part = StreamedPart(event, events)
                yield part
                async for _ in part.pieces():
                    pass  # what nobody has read of it

    async def _events(self) -> AsyncGenerator[MultipartSegment | bytes | None]:
        async for chunk in self._chunks:
            if chunk:
                for event in self._reader.receive(chunk):
                    yield event
        for event in self._reader.receive(b""):
            yield event


class _Reader:
    """The parser, with its errors as the client's."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get("boundary", "") if is_form(content_type) else ""
        if not _BOUNDARY.fullmatch(boundary):
            raise RequestError(
                "The body has to be multipart/form-data, with its boundary in the Content-Type.",
                code="invalid_content_type",
            )
        self._parser = PushMultipartParser(boundary, max_segment_count=MAX_PARTS)

    def receive(self, chunk: bytes) -> Iterator[MultipartSegment | bytes | None]:
        """The events of a chunk: a part's head, pieces of it, and None at its end. `b""` ends the body. Raises
        RequestError."""
        try:
            yield from self._parser.parse(chunk)
        except ParserLimitReached:
            raise RequestError(
                f"The form has more than {MAX_PARTS} fields, or too many headers in one.", code="invalid_multipart"
            ) from None
        except MultipartError as error:
            raise RequestError(f"The form can't be read: {error}.", code="invalid_multipart") from None


def _text_of(name: str, content: bytes) -> str:
    if len(content) > MAX_VALUE:
        raise RequestError(f"The form's field '{name[:64]}' is too long.", param=name[:64], code="invalid_value")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RequestError(
            f"The form's field '{name[:64]}' is not text.", param=name[:64], code="invalid_type"
        ) from None
