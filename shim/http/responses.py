"""Responses: bytes that are ready or still to come, with the headers every answer carries."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from shim.http.presence import ClientGoneError, present
from shim.protocol.render import STREAM_HEADERS

_CHARSET = "; charset=utf-8"  # which Litestar adds to text by itself
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
                    await self._send_pieces(send)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()

    async def _send_pieces(self, send: Send) -> None:
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})


class EventStream(ByteStream):
    """Server-sent events, with a comment now and then where nothing happens, so that no proxy on the way takes the
    stream for dead."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        lines: AsyncGenerator[bytes],
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
    ) -> None:
        super().__init__(request, lines, finish, headers=STREAM_HEADERS | headers)

    async def _send_pieces(self, send: Send) -> None:
        """A ticker of its own sends the comments: waiting for each piece with a time-out would cost a task a piece."""
        self._sent = 0
        ticker = asyncio.ensure_future(self._tick(send))
        try:
            async for lines in self._pieces:
                self._sent += 1
                await send({"type": "http.response.body", "body": lines, "more_body": True})
        finally:
            ticker.cancel()

    async def _tick(self, send: Send) -> None:
        """A comment after each stretch of KEEP_ALIVE_SECONDS in which nothing was sent."""
        while True:
            before = self._sent
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if self._sent == before:
                await send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
