"""An upstream answer on its way to a client of the relay.

Rule: bytes are passed on as they come, and at most what the transport and the namer hold is in memory. Each is closed,
however it ends: that ends the call upstream, and then gives the account back.
"""

from collections.abc import AsyncGenerator, Callable

from shim.accounts.leases import AccountLease
from shim.apis.backend.table import broken_off
from shim.errors import GatewayError
from shim.exchange.live_turn import end_lease
from shim.protocol.answer.machine import Answer
from shim.protocol.events import Event
from shim.protocol.owners import Namer
from shim.transport.base import Response


class Relaying:
    """One answer, at its head. `headers` are those the client gets."""

    def __init__(
        self, response: Response, headers: dict[str, str], namer: Namer | None, watch: "Watch | None" = None
    ) -> None:
        self.status = response.status
        self.headers = headers
        self.failure: GatewayError | None = None
        self._response = response
        self._namer = namer
        self._watch = watch

    @property
    def is_stream(self) -> bool:
        """Whether the body is server-sent events, which can carry an error."""
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body. Where upstream breaks off, a stream ends with an error event, and any other body raises it."""
        begun = False
        try:
            while chunk := await self._response.chunk():
                if self._watch is not None:
                    self._watch.receive(chunk)
                if passed := self._passed(chunk):
                    begun = True
                    yield passed
        except GatewayError as error:
            self.failure = error
            if self._watch is not None:
                self._watch.abort(error)
            # The head of a stream has gone out with its status, and it can still carry the error. Any other body is cut
            # off, or is refused in its place where none of it has gone out.
            if not self.is_stream:
                self.status = self.status if begun else error.http_status
                raise
            yield broken_off(error)
            return
        if self._watch is not None:
            self._watch.receive(b"")
        if rest := self._passed(b""):
            yield rest

    def close(self) -> None:
        """Close the call upstream (at once if the answer is unfinished), then give the account back."""
        if self._watch is None:
            self._response.close()
        elif self._watch.done:
            # Upstream is as good as finished: the connection can be kept, and the account is free when it is.
            self._response.release(self._watch.leave)
        else:
            self._response.close()
            self._watch.leave()

    def _passed(self, chunk: bytes) -> bytes:
        return chunk if self._namer is None else self._namer.receive(chunk)


class Watch:
    """Reads a turn along with the client, so that its outcome can be reported to the account."""

    def __init__(self, lease: AccountLease, now: Callable[[], float]) -> None:
        self._lease = lease
        self._now = now
        self._answer = Answer()
        self._last: Event | None = None

    @property
    def done(self) -> bool:
        """Whether upstream has said `[DONE]`."""
        return self._answer.done

    def receive(self, chunk: bytes) -> None:
        """More of the answer; `b""` is its end."""
        self._note(self._answer.receive(chunk))

    def abort(self, error: GatewayError) -> None:
        """Upstream broke off with `error`."""
        self._note(self._answer.abort(error))

    def leave(self) -> None:
        """Give the lease back, with how the turn ended."""
        end_lease(self._lease, self._last, self._now())

    def _note(self, events: list[Event]) -> None:
        if events:
            self._last = events[-1]
