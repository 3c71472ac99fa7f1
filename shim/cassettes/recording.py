"""Turns calls captured on the wire into the interactions of a cassette.

Rule: everything that gets into a cassette comes through `Recording.interaction`, and it scrubs. Bodies are bounded:
of one that is larger than the limit the head is kept, and the recording says so.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from shim.cassettes import rules
from shim.cassettes.edits import decoded
from shim.cassettes.format import (
    Cassette,
    Interaction,
    Kept,
    RecordedRequest,
    RecordedResponse,
    chunk_of,
    dump_cassette,
)
from shim.cassettes.scrub import Scrubber
from shim.transport.codings import CodingError, decoder_of

# Of each body, because all of it stays in memory until its call ends; what is longer is mostly a file.
MAX_BODY_BYTES = 4 * 1024 * 1024
_EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
Pairs = Sequence[tuple[str, str]]


class BodyCapture:
    """A body as it passes: its chunks without their content coding, each with the seconds since the head. It holds at
    most `limit` bytes, so that recording a long answer costs a bounded amount of memory."""

    def __init__(self, coding: str = "", limit: int = MAX_BODY_BYTES) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.kept: Kept = "all"
        self._size = 0
        self._limit = limit
        try:
            self._decode = decoder_of(coding)
        except CodingError:
            self.kept = "none"  # encoded in a way that we can't read, so it can't be scrubbed either

    def receive(self, at: float, piece: bytes) -> None:
        """One more piece as it came off the wire."""
        if self.kept != "all":
            return
        try:
            piece = self._decode(piece)
        except CodingError:
            self.kept = "head"
            return
        self._size += len(piece)
        if self._size > self._limit:
            self.kept = "head"
        elif piece:
            self.chunks.append((at, piece))

    def whole_events(self) -> "list[tuple[float, bytes]]":
        """The chunks; of a body that was cut at the limit, those up to the end of its last whole event."""
        if self.kept == "all":
            return self.chunks
        body = b"".join(piece for _, piece in self.chunks)
        # Half an event would be scrubbed as text that is not JSON, and replayed it would end in an error.
        left = max(body.rfind(end) + len(end) if end in body else 0 for end in _EVENT_ENDS)
        kept = []
        for at, piece in self.chunks:
            if left > 0:
                kept.append((at, piece[:left]))
            left -= len(piece)
        return kept


class CapturedCall(msgspec.Struct, frozen=True):
    """A call and its answer as they were on the wire, without content codings. `body` is None where it was not kept."""

    method: str
    url: str
    headers: Pairs
    body: bytes | None
    status: int
    answer_headers: Pairs
    chunks: Sequence[tuple[float, bytes]]
    kept: Kept = "all"
    cut: bool = False


class Recording:
    """Makes the interactions of one file; the same ids get the same pseudonyms in all of them."""

    def __init__(self, *, redact: bool = False) -> None:
        self._scrubber = Scrubber(redact=redact)

    def reserve(self, cassette: bytes) -> None:
        """Keep the pseudonyms of a cassette that is scrubbed again apart from new ones."""
        self._scrubber.names.reserve(cassette.decode())

    def interaction(self, call: CapturedCall) -> Interaction:
        """The call and its answer, scrubbed."""
        # The request first, because pseudonyms are numbered in the order in which they appear in the file.
        request = self.request(call)
        content_type = _content_type(call.answer_headers)
        pieces = self._scrubber.chunks([piece for _, piece in call.chunks], content_type, call.status)
        # Milliseconds are enough for a pace, and keep the file readable.
        times = [round(at, 3) for at, _ in call.chunks]
        chunks = [chunk_of(piece, at) for at, piece in zip(times, pieces or [], strict=False) if piece]
        kept: Kept = "none" if pieces is None else call.kept
        headers = self._scrubber.headers(call.answer_headers, rules.RESPONSE_HEADERS)
        return Interaction(request, RecordedResponse(call.status, headers, chunks, kept, call.cut))

    def request(self, call: CapturedCall) -> RecordedRequest:
        """The request alone, scrubbed."""
        parts = urlsplit(call.url)
        path, query = self._scrubber.url(parts.path, parts.query)
        chunks = None
        if call.body is not None:
            chunks = self._scrubber.chunks([call.body], _content_type(call.headers))
        body = b"".join(chunks or ())
        # What is not UTF-8 becomes question marks here: JSON has no way to hold it.
        shown: Any = decoded(body).encode(errors="replace").decode()
        if body.lstrip()[:1] in {b"{", b"["}:
            with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                shown = msgspec.json.decode(body)
        return RecordedRequest(
            call.method,
            path,
            self._scrubber.headers(call.headers, rules.REQUEST_HEADERS),
            # Nothing was sent, or nothing of it was kept; `kept` tells one from the other.
            shown or None,
            query,
            "none" if chunks is None else "all",
        )


def cassette_of(calls: Iterable[CapturedCall], *, redact: bool = False) -> Cassette:
    """A cassette of calls that have all been captured already."""
    recording = Recording(redact=redact)
    return Cassette([recording.interaction(one) for one in calls], redacted=redact)


def scrubbed_again(cassette: Cassette, *, redact: bool = False) -> Cassette:
    """The cassette scrubbed by the current rules. Scrubbing what has been scrubbed changes nothing."""
    # What is redacted once can't be brought back, so the mark stays.
    redact = redact or cassette.redacted
    recording = Recording(redact=redact)
    recording.reserve(dump_cassette(cassette))
    return Cassette([recording.interaction(call_of(one)) for one in cassette.interactions], redacted=redact)


def call_of(interaction: Interaction) -> CapturedCall:
    """The captured call that an interaction was made from, as far as it was kept."""
    request, response = interaction.request, interaction.response
    return CapturedCall(
        method=request.method,
        url=f"{request.path}?{request.query}" if request.query else request.path,
        headers=list(request.headers.items()),
        body=None if request.kept == "none" else body_bytes(request.body),
        status=response.status,
        answer_headers=list(response.headers.items()),
        chunks=[(chunk.at, chunk.content()) for chunk in response.chunks],
        kept=response.kept,
        cut=response.cut,
    )


def body_bytes(body: Any) -> bytes:
    """A recorded body as bytes: nothing, a text, or JSON."""
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)


def _content_type(headers: Pairs) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")
