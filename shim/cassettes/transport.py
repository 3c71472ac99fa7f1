"""The replay driver: cassettes in the place of upstream.

Rule: every recorded interaction is played once, in order among equals (`cassettes.matching`); a call nothing was
recorded for is an error that names the nearest recording and what differs, never a made-up answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from urllib.parse import urlsplit

from shim.cassettes.format import Cassette, Interaction, RecordedResponse
from shim.cassettes.matching import Miss, Player, may_be_missing
from shim.errors import About, UpstreamError
from shim.protocol.commands import HttpRequest
from shim.transport.base import ConnectionKey, gather_body


class ReplayTransport:
    """`send` from cassettes. `paced` waits as long as was recorded between the chunks."""

    def __init__(self, *cassettes: Cassette, paced: bool = False) -> None:
        self.requests: list[HttpRequest] = []
        self._player = Player(cassettes)
        self._paced = paced

    @property
    def leftovers(self) -> list[str]:
        """Recordings that nothing has asked for, as `METHOD path`."""
        return [one.title for one in self._player.left]

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> "ReplayResponse":
        """See `Transport.send`."""
        self.requests.append(request)
        # Cassettes know paths alone, so that they hold for any origin.
        path = urlsplit(request.url)._replace(scheme="", netloc="").geturl()
        body = await gather_body(request.body)
        match self._player.play(request.method, path, request.headers.items(), body):
            case Miss() if may_be_missing(path):
                return ReplayResponse(RecordedResponse(404, {}, []), paced=False)
            case Miss() as miss:
                raise UpstreamError(str(miss), code="replay_miss")
            case Interaction(response=response):
                return ReplayResponse(response, paced=self._paced)


class ReplayResponse:
    """A recorded answer; chunks come exactly as they were recorded."""

    def __init__(self, recorded: RecordedResponse, *, paced: bool) -> None:
        self.status = recorded.status
        self.headers = recorded.headers
        self.closed = False
        self._cut = recorded.cut
        self._chunks = deque(recorded.chunks)
        self._paced = paced
        self._at = 0.0

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        if self.closed:
            return b""
        if not self._chunks:
            if self._cut:
                # What a broken connection is to the transports that have one, so that the exchange judges it alike.
                raise UpstreamError(
                    "The recorded connection broke off here", code="upstream_connection", about=About.ORIGIN
                )
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
