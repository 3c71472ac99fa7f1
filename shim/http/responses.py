"""Responses: bytes that are ready or still to come, with the headers every answer carries."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from shim.http.presence import ClientGoneError, present

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
            with suppress(ClientGoneError), present(receive):
                async with aclosing(self._pieces):
                    async for piece in self._pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()


class EventStream(ASGIStreamingResponse):
    """Server-sent events, with a comment where nothing happens for a while, so that no proxy on the way takes the
    stream for dead. `run` goes through the answer and gives its bytes to the function it is handed. However it ends,
    also when the client is gone before the first byte, `finish` is called, once."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        run: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]],
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
    ) -> None:
        headers = STREAM_HEADERS | headers
        super().__init__(
            iterator=(),
            media_type=headers.pop("content-type").removesuffix(_CHARSET),
            headers=answer_headers(request, headers),
            status_code=200,
        )
        self._run = run
        self._finish = finish

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Stream until the end or until the client leaves."""
        clock = asyncio.get_running_loop().time
        last = clock()

        async def send_piece(data: bytes) -> None:
            nonlocal last
            last = clock()
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def tick() -> None:
            # One ticker for the whole stream: waiting for each piece with a time-out would cost a task a piece.
            while True:
                await asyncio.sleep(max(0.0, last + KEEP_ALIVE_SECONDS - clock()))
                if clock() >= last + KEEP_ALIVE_SECONDS:
                    await send_piece(KEEP_ALIVE)

        try:
            with suppress(ClientGoneError), present(receive):
                ticker = asyncio.ensure_future(tick())
                try:
                    await self._run(send_piece)
                finally:
                    ticker.cancel()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()
