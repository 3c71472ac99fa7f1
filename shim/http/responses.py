"""Responses: bytes that are ready or still to come, with the headers every answer carries."""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, ClassVar

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from shim.errors import GatewayError, RequestError
from shim.http.presence import ClientGoneError, Presence
from shim.random_ids import random_hex

Run = Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[bytes]]
"""Goes through an answer: gives its bytes to the function it is handed, and returns the last of them"""

# No proxy on the way may keep a stream, or parts of it, back.
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
JSON = {"content-type": "application/json"}
KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS = 15.0
BLANK = b" "  # before JSON, where it means nothing
_UNREAD_SECONDS = 10.0  # a client that reads slowly but does read may take longer than an answer has
# The client may have stopped reading, which may be why the answer ends; the worker has others to serve.
_LAST_SECONDS = 0.5
_ID = "chat2api_request_id"
STREAMED = "chat2api_streamed"
"""In a request's state where whoever serves it lets go of each piece of the body, so that it does not count as held."""
PIECES = "chat2api_pieces"
"""In a request's state: what sends the pieces of a body past all who look at its head alone; not where somebody on the
way looks at pieces too. Two coroutines fewer for each piece of a stream."""
LOGGED = "chat2api_logged"
"""In a request's state where whoever serves it writes its line in the log."""


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id of this request, the same whenever it is asked."""
    state: dict[str, Any] = request.scope["state"]
    if _ID not in state:
        state[_ID] = f"req_{random_hex()}"
    identifier: str = state[_ID]
    return identifier


async def read_body(
    request: Request[Any, Any, Any], limit: int, announced: str | None, *, too_large: str = "request_too_large"
) -> bytes:
    """The whole body; `announced` is its length as the client says. Raises RequestError where it is longer than
    `limit` (413, with the code `too_large`), and where it breaks off (400). Litestar's own `body` makes a dictionary of
    all headers to find that one, and knows no limit for what is mounted."""
    # Refused by what it says of itself, before any of it is read.
    if announced is not None and announced.isdecimal() and int(announced) > limit:
        raise _too_large(too_large)
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise incomplete()
        pieces.append(message["body"])
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(too_large)
        more = message["more_body"]
    return b"".join(pieces)


async def arriving(request: Request[Any, Any, Any]) -> AsyncGenerator[bytes]:
    """The body piece by piece, each let go of before the next one. Raises RequestError (400) where it breaks off."""
    request.scope["state"][STREAMED] = True
    more = True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise incomplete()
        if message["body"]:
            yield message["body"]
        more = message["more_body"]


def incomplete() -> RequestError:
    """Of a body that breaks off, or whose chunks can't be read."""
    return RequestError("The request body is not whole", code="incomplete_body")


def _too_large(code: str) -> RequestError:
    return RequestError("The request body is larger than this gateway accepts", status=413, code=code)


def answer_headers(request: Request[Any, Any, Any], extra: dict[str, str] | None = None) -> dict[str, str]:
    """`x-request-id`, and `extra`."""
    return {"x-request-id": request_id(request), **(extra or {})}


def json_answer(
    request: Request[Any, Any, Any], body: bytes, *, headers: dict[str, str] | None = None, status: int = 200
) -> "BytesResponse":
    """A body that is JSON already."""
    return BytesResponse(body, answer_headers(request, headers) | JSON, status=status)


class BytesResponse:
    """A body that is ready, with its headers. Litestar's own makes each header by six calls of functions."""

    def __init__(self, body: bytes, headers: Mapping[str, str], *, status: int = 200) -> None:
        self._body, self._status = body, status
        self.headers = {**headers, "content-length": str(len(body))}

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send(_head(self._status, self.headers))
        await send(_body(self._body, more=False))


class Opening(msgspec.Struct, frozen=True):
    """How a stream comes to what it runs: `open` gives it, or all of the answer at once, and `headers` are asked for
    once it is there. Where that takes longer than `early` seconds (0: never), the head goes out before; where it fails
    before its head, `refuse` is the answer."""

    open: "Callable[[ByteStream], Awaitable[Run | bytes]]"
    refuse: Callable[[GatewayError], ASGIApp]
    headers: Callable[[], dict[str, str]]
    early: float


class ByteStream:
    """A body that is still to come. `run` goes through it, gives its bytes to the function it is handed, and returns
    the last of them, which go out together with the end. However it ends, also when the client is gone before the first
    byte, `finish` is called, once, and before it `begun`, when the first bytes go out. `break_off` writes what can
    still be said where the gateway itself ends: without it the answer just breaks off, or is refused where nothing has
    gone out. `longest` is in seconds, for a client that stops reading; `presence` watches over the client from before.
    A comment (`filler`, if any) goes out where nothing happens for a while. An `Opening` in the place of `run` comes
    before the head, so that it can still fail with a status of its own, or change `headers`."""

    always: ClassVar[Mapping[str, str]] = {}
    """Headers that others may stand in the place of"""
    filler = b""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        run: Run | Opening,
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
        longest: float,
        break_off: Callable[[GatewayError], bytes] | None = None,
        begun: Callable[[], None] | None = None,
        presence: Presence | None = None,
        filler: bytes | None = None,
    ) -> None:
        self.status = 200
        self.headers = {"x-request-id": request_id(request), **self.always, **headers}
        self._start, self._finish, self._break_off = run, finish, break_off
        self._longest, self._presence, self._filler = longest, presence, filler or self.filler
        self.has_begun = False  # whether its head is out, or on its way
        self._begun = begun  # until it has been called
        self._comment: asyncio.Task[None] | None = None
        self._is_over = False  # whether the answer is; the client may not have read all of it
        self._waiting_since: float | None = None  # for the client to take a piece
        self._passed = False  # whether that was too long

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end or until the client leaves."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._send, self._send_head = scope["state"].get(PIECES, send), send
        self._last = self._loop.time()  # when something was last sent
        self._until = self._last + self._longest
        start = self._start
        opening = start if isinstance(start, Opening) else None
        self._early = self._last + opening.early if opening is not None and opening.early else math.inf
        self._look_later()
        try:
            # First: a gateway that ends lets nothing begin, and says so in band. What has no such words waits for its
            # first bytes, as the server would: what fails before them is refused as anything else.
            if opening is None and self._break_off is not None:
                await self._begin()
            with self._presence or Presence(receive):
                if isinstance(start, Opening):
                    answer = await start.open(self)
                    # It may be on its way since `early`.
                    await (self._comment if self._comment is not None and self.has_begun else self._begin())
                else:
                    answer = start
                rest = answer if isinstance(answer, bytes) else await answer(self._send_piece)
                self._stop_comments()
                await self._send_piece(rest, more=False)
        except GatewayError as error:
            self._stop_comments()
            if opening is not None and not self.has_begun:
                await opening.refuse(error)(scope, receive, send)
            elif not isinstance(error, ClientGoneError):
                if self._break_off is None:
                    raise
                await _last_words(send, self._break_off(error))
        except asyncio.CancelledError:
            if not self._passed or self._task is None or self._task.uncancel() > 0:
                raise
        finally:
            self._stop_comments()
            self._timer.cancel()
            self._finish()

    async def _begin(self) -> None:
        self.has_begun, self._early = True, math.inf
        if isinstance(self._start, Opening):
            self.headers |= self._start.headers()
        await self._send_head(_head(self.status, self.headers))

    async def _begin_early(self) -> None:
        if not self.has_begun:  # as it has where it was opened just now
            await self._begin()
            await self._send_piece(self._filler)

    async def _send_piece(self, data: bytes, *, more: bool = True) -> None:
        if self._begun is not None and (more or data):
            begun, self._begun = self._begun, None
            begun()
        if not self.has_begun:
            await self._begin()
        self._last = self._waiting_since = self._loop.time()
        try:
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            self._waiting_since = None

    def _look_later(self) -> None:
        self._timer = self._loop.call_at(min(self._last + KEEP_ALIVE_SECONDS, self._until, self._early), self._look)

    def _look(self) -> None:
        # One timer that sets itself again, and a task only where there is something to say: a task that sleeps costs a
        # small request 15 microseconds, and waiting for each piece with a time-out a task a piece.
        now = self._loop.time()
        if now >= self._early:
            self._early = math.inf
            self._comment = self._loop.create_task(self._begin_early())
        if now >= self._last + KEEP_ALIVE_SECONDS:
            self._last = now
            # Else the client does not read, and has the last one yet.
            is_silent = self.has_begun and not self._is_over and (self._comment is None or self._comment.done())
            if is_silent and self._filler:
                self._comment = self._loop.create_task(self._send_comment())
        if now >= self._until:
            waiting = now if self._waiting_since is None else self._waiting_since
            self._until = waiting + _UNREAD_SECONDS
            if now >= self._until:  # a client that reads slowly but does read takes a piece now and then
                self._passed = True
                if self._task is not None:
                    self._task.cancel()
                return
        self._look_later()

    async def _send_comment(self) -> None:
        await self._send(_body(self._filler, more=True))

    def _stop_comments(self) -> None:
        self._is_over, self._early = True, math.inf  # what refuses has a head of its own
        if self._comment is not None:
            self._comment.cancel()


class EventStream(ByteStream):
    """Server-sent events, with comments, so that no proxy on the way takes the stream for dead."""

    always = STREAM_HEADERS
    filler = KEEP_ALIVE


def each_of(pieces: AsyncGenerator[bytes]) -> Run:
    """Goes through pieces, and closes what gives them, wherever it stands."""
    return partial(_send_each, pieces)


async def _send_each(pieces: AsyncGenerator[bytes], send: Callable[[bytes], Awaitable[None]]) -> bytes:
    async with aclosing(pieces):
        async for piece in pieces:
            await send(piece)
    return b""


async def _last_words(send: Send, data: bytes) -> None:
    """The end of a stream that the gateway itself ends: not waited for long, as the client may not read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_SECONDS):
            await send(_body(data, more=True))
            await send(_body(b"", more=False))


def _head(status: int, headers: Mapping[str, str]) -> Any:
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": lines}


def _body(data: bytes, *, more: bool) -> Any:
    return {"type": "http.response.body", "body": data, "more_body": more}
