"""Streaming through mitmproxy: a crossing as the callable that a response's `stream` takes, whatever other addons make
of that attribute afterwards.

Rule: what upstream sent never reaches the client as it is. Addons that come later may listen, wrap or want to stream
(`stream = True`); they can't take our place.
"""

import logging
from collections.abc import Callable, Iterable

from mitmproxy import http  # type: ignore[import-not-found,unused-ignore]

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
            piece = _joined(heard(chunk)) if heard else chunk
            said = crossing.receive(piece) if piece else b""
            if not chunk:
                said += crossing.receive(b"")
        except Exception:
            log.exception("unexpected failure within an answer")
            broken = True
            return error_line(unforeseen(502))
        return said or []

    return stream


def own(response: http.Response, ours: Stream | None) -> None:
    """From here on `response` streams through `ours`, or (None) is whole before anything is sent. mitmproxy reads the
    attribute only after every addon's hook, and any addon may set it; so the attribute itself has to remember."""
    response.stream = False
    response.__class__ = OwnedResponse
    response.ours, response.listener = _Counted(ours) if ours is not None else None, None


class _Counted:
    """Our callable, and how often it was called."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.calls = 0

    def __call__(self, chunk: bytes) -> bytes | Iterable[bytes]:
        self.calls += 1
        return self._stream(chunk)


class OwnedResponse(http.Response):  # type: ignore[misc,unused-ignore]  # mitmproxy is not there when types are checked
    """A response whose `stream` belongs to the bridge."""

    ours: _Counted | None
    listener: Stream | None

    @property
    def stream(self) -> Stream | bool:
        """What mitmproxy streams through; False: nothing."""
        return self.listener or self.ours or False

    @stream.setter
    def stream(self, value: Stream | bool) -> None:
        # A whole answer stays whole: who wanted to listen finds the body in the `response` hook, as of any such answer.
        if self.ours is not None and callable(value):
            self.listener = _through(value, self.ours)


def _through(theirs: Stream, ours: _Counted) -> Stream:
    """Another addon's callable. Most wrap the one they found, which is ours; what one that does not gives out goes
    through ours behind it."""

    def stream(chunk: bytes) -> bytes | Iterable[bytes]:
        before = ours.calls
        passed = theirs(chunk)
        if ours.calls > before:
            return passed
        piece = passed if isinstance(passed, bytes) else b"".join(passed)
        said = _joined(ours(piece)) if piece else b""
        if not chunk:
            said += _joined(ours(b""))
        return said or []

    return stream


def _joined(said: bytes | Iterable[bytes]) -> bytes:
    return said if isinstance(said, bytes) else b"".join(said)
