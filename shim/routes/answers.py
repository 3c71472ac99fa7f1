"""Responses: bytes that are ready or still to come, with the headers every answer carries."""

import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any

from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from shim.routes.presence import ClientGoneError, present

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


class EventStream(ASGIStreamingResponse):
    """Server-sent events. However it ends (also when the client is gone before the first line), `lines` is closed and
    then `finish` is called, once. Litestar's own stream leaves a generator alone that stands at a `yield`, or never
    began."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        lines: AsyncGenerator[bytes],
        finish: Callable[[], None],
        *,
        headers: dict[str, str],
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"} | headers
        super().__init__(
            iterator=lines, media_type="text/event-stream", headers=answer_headers(request, headers), status_code=200
        )
        self._lines = lines
        self._finish = finish

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Stream until the end or until the client leaves."""
        try:
            with suppress(ClientGoneError), present(receive):
                async with aclosing(self._lines):
                    async for lines in self._lines:
                        await send({"type": "http.response.body", "body": lines, "more_body": True})
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._finish()
