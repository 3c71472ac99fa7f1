"""Taping the calls upstream that one client call makes: a transport that listens where somebody has begun a tape.

Rule: a tape belongs to the context in which it was begun, and to what is started from there, so the calls of others
never get onto it. It holds a bounded number of bytes, and nothing leaves it but through `Recording`, which scrubs.
"""

import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

from shim.cassettes.format import Cassette, dump_cassette
from shim.cassettes.recording import MAX_BODY_BYTES, BodyCapture, CapturedCall, Recording
from shim.errors import GatewayError
from shim.protocol.commands import HttpRequest
from shim.transport.base import ConnectionKey, Response, Transport

MAX_TAPE_BYTES = 2 * MAX_BODY_BYTES  # of all bodies
# An answer that goes on elsewhere is polled for up to hours (protocol.md 5.8): each look is a call.
MAX_TAPE_CALLS = 200
_running: ContextVar["Tape | None"] = ContextVar("tape", default=None)


class Tape:
    """The calls of one client call, in the order in which they ended. `left_out` counts those that were too many."""

    def __init__(self) -> None:
        self._calls: list[CapturedCall] = []
        self._size = 0
        self.is_over = False
        self.left_out = 0

    def begin(self) -> None:
        """Whatever is sent in this context from now on is taped."""
        _running.set(self)

    def end(self) -> None:
        """Nothing gets onto it any more."""
        self.is_over = True

    def add(self, call: CapturedCall) -> None:
        """A call that has ended."""
        if self.is_over:
            return
        size = len(call.body or b"") + sum(len(piece) for _, piece in call.chunks)
        if len(self._calls) >= MAX_TAPE_CALLS or self._size + size > MAX_TAPE_BYTES:
            self.left_out += 1
            return
        self._size += size
        self._calls.append(call)

    def __len__(self) -> int:
        return len(self._calls)

    def cassette(self) -> bytes:
        """The calls, scrubbed, every text of a message one of the same shape. Takes a while: not for the event loop."""
        recording = Recording(redact=True)
        return dump_cassette(Cassette([recording.interaction(call) for call in self._calls], redacted=True))


def is_taping() -> bool:
    """Whether this call is taped: then it has to make all its calls itself, so that the tape can be replayed."""
    tape = _running.get()
    return tape is not None and not tape.is_over


class TapedTransport:
    """A transport whose calls get onto the tape of their context, if there is one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, request: HttpRequest, connection: ConnectionKey) -> Coroutine[Any, Any, Response]:
        """See Transport."""
        tape, sending = _running.get(), self._transport.send(request, connection)
        return sending if tape is None or tape.is_over else self._taped(tape, request, sending)

    async def _taped(self, tape: Tape, request: HttpRequest, sending: Coroutine[Any, Any, Response]) -> Response:
        response = await sending
        return response if tape.is_over else _TapedResponse(tape.add, request, response)


class _TapedResponse:
    """An answer of which a copy is kept until it ends."""

    def __init__(self, add: Callable[[CapturedCall], None], request: HttpRequest, response: Response) -> None:
        self.status, self.headers = response.status, response.headers
        self._add, self._request, self._response = add, request, response
        self._body = BodyCapture()  # the transport has undone any coding
        self._began = time.monotonic()
        self._ended = False

    async def chunk(self) -> bytes:
        """See Response."""
        try:
            piece = await self._response.chunk()
        except GatewayError:
            self._end(cut=True)
            raise
        if piece:
            self._body.receive(time.monotonic() - self._began, piece)
        else:
            self._end(cut=False)
        return piece

    def close(self) -> None:
        """See Response."""
        self._end(cut=True)
        self._response.close()

    def release(self, then: Callable[[], None]) -> None:
        """See Response."""
        self._end(cut=False)
        self._response.release(then)

    def _end(self, *, cut: bool) -> None:
        if self._ended:
            return
        self._ended = True
        request, body = self._request, self._request.body
        kept = body if isinstance(body, bytes) and len(body) <= MAX_BODY_BYTES else None
        self._add(
            CapturedCall(
                request.method,
                request.url,
                list(request.headers.items()),
                kept,
                self.status,
                list(self.headers.items()),
                self._body.whole_events(),
                self._body.kept,
                cut,
            )
        )
