"""Streaming through mitmproxy: a crossing as the callable that a response's `stream` takes."""

import logging
from collections.abc import Callable, Iterable

from addons.crossing import Crossing
from shim.apis.openai_errors import error_line
from shim.http.errors import unforeseen

log = logging.getLogger("chat2api")

Stream = Callable[[bytes], bytes | Iterable[bytes]]
"""What mitmproxy streams through: chunk in, chunks out. `b""` is the end of input; given out it would end the answer,
so that nothing to say is an empty list."""


def stream_of(crossing: Crossing, heard: Stream | None) -> Stream:
    """The stream of a crossing, behind another one that was there first (a recorder)."""
    broken = False

    def stream(chunk: bytes) -> bytes | Iterable[bytes]:
        nonlocal broken
        if broken:
            return []
        try:
            piece = joined(heard(chunk)) if heard else chunk
            said = crossing.receive(piece) if piece else b""
            if not chunk:
                said += crossing.receive(b"")
        except Exception:  # the outermost edge: nothing above it could still tell the client
            log.exception("unexpected failure within an answer")
            broken = True
            return error_line(unforeseen(502))
        return said or []

    return stream


def joined(said: bytes | Iterable[bytes]) -> bytes:
    """What a stream callable said, in one piece."""
    return said if isinstance(said, bytes) else b"".join(said)
