"""Responses: bytes that are ready or still to come, with the headers every answer carries."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from shim.http.presence import ClientGoneError, Presence

_CHARSET = "; charset=utf-8"  # which Litestar adds to text by itself
# No proxy on the way may keep a stream, or parts of it, back.
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_SECONDS = 15.0
_ID = "chat2api_request_id"


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id of this request, the same whenever it is asked."""
    state: dict[str, Any] = request.scope["state"]
    if _ID not in state:
        state[_ID] = f"req_{uuid.uuid4().hex}"
    identifier: str = state[_ID]
    return identifier


async def read_body(request: Request[Any, Any, Any], limit: int, announced: str | None) -> bytes:
    """The whole body; `announced` is its length as the client says. Raises what Litestar does where it is longer than
    `limit`, or breaks off. Litestar's own `body` makes a dictionary of all headers to find that one."""
    if announced is not None and announced.isdecimal() and int(announced) > limit:
        raise RequestEntityTooLarge
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise InternalServerException("client disconnected prematurely")
        pieces.append(message["body"])
        size += len(pieces[-1])
        if size > limit:
            raise RequestEntityTooLarge
        more = message["more_body"]
    return b"".join(pieces)


def answer_headers(request: Request[Any, Any, Any], extra: dict[str, str] | None = None) -> dict[str, str]:
    """`x-request-id`, and `extra`."""
    return {"x-request-id": request_id(request), **(extra or {})}


def json_answer(request: Request[Any, Any, Any], body: bytes, *, headers: dict[str, str] | None = None) -> ASGIResponse:
    """A body that is JSON already, with status 200."""
    return ASGIResponse(body=body, media_type="application/json", headers=answer_headers(request, headers))


class ByteStream(ASGIStreamingResponse):
    """A body that is still to come. However it ends (also when the client is gone before its first piece), `pieces` is
    closed and then `finish` is called, once. Litestar's own stream leaves a generator alone that stands at a `yield`,
    or never began."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        pieces: AsyncGenerator[bytes],
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            iterator=pieces,
            media_type=headers.pop("content-type", "").removesuffix(_CHARSET) or None,
            headers=answer_headers(request, headers),
            status_code=200,
        )
        self._pieces = pieces
        self._finish = finish

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Stream until the end or until the client leaves."""
        try:
            with suppress(ClientGoneError), Presence(receive):
                async with aclosing(self._pieces):
                    async for piece in self._pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()


class EventStream(ASGIResponse):
    """Server-sent events, with a comment where nothing happens for a while, so that no proxy on the way takes the
    stream for dead. `run` goes through the answer, gives its bytes to the function it is handed, and returns the last
    of them, which go out together with the end. However it ends, also when the client is gone before the first byte,
    `finish` is called, once. `presence` watches over the client already."""

    _should_set_content_length = False

    def __init__(
        self,
        request: Request[Any, Any, Any],
        run: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[bytes]],
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
        presence: Presence | None = None,
    ) -> None:
        headers = STREAM_HEADERS | headers
        super().__init__(
            media_type=headers.pop("content-type").removesuffix(_CHARSET), headers=answer_headers(request, headers)
        )
        self._run = run
        self._finish = finish
        self._presence = presence
        self._last = 0.0
        self._comment: asyncio.Task[None] | None = None

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Stream until the end or until the client leaves."""
        self._send, self._loop = send, asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_at(self._last + KEEP_ALIVE_SECONDS, self._look)
        try:
            with suppress(ClientGoneError), self._presence or Presence(receive):
                try:
                    rest = await self._run(self._send_piece)
                finally:
                    if self._comment is not None:
                        self._comment.cancel()
                await send({"type": "http.response.body", "body": rest, "more_body": False})
        finally:
            self._timer.cancel()
            self._finish()

    async def _send_piece(self, data: bytes) -> None:
        self._last = self._loop.time()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    def _look(self) -> None:
        # A timer that sets itself again, and a task only where there is something to say: a task that sleeps costs a
        # small request 15 microseconds, and waiting for each piece with a time-out a task a piece.
        if self._loop.time() >= self._last + KEEP_ALIVE_SECONDS:
            self._last = self._loop.time()
            if self._comment is None or self._comment.done():  # else the client does not read, and has the last one yet
                self._comment = self._loop.create_task(self._send_piece(KEEP_ALIVE))
        self._timer = self._loop.call_at(self._last + KEEP_ALIVE_SECONDS, self._look)
