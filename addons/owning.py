"""A response whose `stream` is the bridge's, whatever other addons make of that attribute.

Rule: what upstream sent never reaches the client as it is. Addons that come later may listen, wrap or want to stream
(`stream = True`); they can't take our place.
"""

from collections.abc import Iterable

from mitmproxy import http  # type: ignore[import-not-found,unused-ignore]

from addons.streaming import Stream, joined


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
        said = joined(ours(piece)) if piece else b""
        if not chunk:
            said += joined(ours(b""))
        return said or []

    return stream
