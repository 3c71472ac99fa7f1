"""The replay driver: a cassette in the place of upstream.

Rule: every recorded interaction is played once, in order per (method, path); a call nothing was recorded for is an
error that names the recordings left, never a made-up answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from shim.errors import UpstreamError
from shim.protocol.commands import HttpRequest
from shim.transport.base import Lane
from shim.transport.cassette import Cassette, Interaction, RecordedResponse


class ReplayTransport:
    """`send` from a cassette. `paced` waits as long as was recorded between the chunks."""

    def __init__(self, cassette: Cassette, *, paced: bool = False) -> None:
        self.requests: list[HttpRequest] = []
        self._left: list[Interaction] = list(cassette.interactions)
        self._paced = paced

    @property
    def leftovers(self) -> list[str]:
        """Recordings that nothing has asked for, as `METHOD path`."""
        return [f"{one.request.method} {one.request.path}" for one in self._left]

    async def send(self, request: HttpRequest, lane: Lane) -> "ReplayResponse":
        """See `Transport.send`."""
        self.requests.append(request)
        path = urlsplit(request.url).path
        for place, one in enumerate(self._left):
            if (one.request.method, one.request.path) == (request.method, path):
                del self._left[place]
                return ReplayResponse(one.response, paced=self._paced)
        left = ", ".join(self.leftovers) or "none"
        raise UpstreamError(f"Nothing recorded for {request.method} {path}; left: {left}", code="replay_miss")


class ReplayResponse:
    """A recorded answer; chunks come exactly as they were recorded."""

    def __init__(self, recorded: RecordedResponse, *, paced: bool) -> None:
        self.status = recorded.status
        self.headers = recorded.headers
        self.closed = False
        self._chunks = deque(recorded.chunks)
        self._paced = paced
        self._at = 0.0

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        if self.closed or not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        if self._paced:
            await asyncio.sleep(chunk.at - self._at)
            self._at = chunk.at
        return chunk.content()

    def close(self) -> None:
        """See `Response.close`."""
        self.closed = True

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        self.close()
        then()
