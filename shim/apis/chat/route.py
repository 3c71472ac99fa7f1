"""`POST /v1/chat/completions`, streamed and whole."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

from litestar import Request, post
from litestar.response.base import ASGIResponse

from shim.apis.chat.read import chat_request
from shim.exchange import Exchange, Gateway
from shim.exchange.told import Told, body_of, chunks_of, completion_of
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import EventStream, json_answer, request_id
from shim.protocol.events import Finished
from shim.protocol.render import ChatChunks


@post("/v1/chat/completions", status_code=200)
async def create_chat_completion(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """One chat completion."""
    began = time.perf_counter()
    caller = gateway.caller(request.headers.get("authorization"))
    wanted, ignored = chat_request(await request.body(), strict=gateway.settings.strict_params)
    exchange = await while_present(request, gateway.open(wanted, caller, _address(request, gateway)))
    told = Told(request_id(request), exchange, began)
    ignored = [*ignored, *exchange.ignored]
    headers = {"x-chat2api-ignored": ", ".join(ignored)} if ignored else {}
    if wanted.stream:
        chunks = chunks_of(exchange)
        return EventStream(request, _lines(exchange, chunks), lambda: told.end(chunks.transcripts), headers=headers)
    completion = completion_of(exchange)
    try:
        body = await while_present(request, body_of(exchange, completion))
    finally:
        told.end(completion.transcripts)
    return json_answer(request, body, headers=headers)


def _address(request: Request[Any, Any, Any], gateway: Gateway) -> str:
    """Where this client reaches the gateway, as it says itself."""
    return f"{request.url.scheme}://{request.url.netloc}{gateway.settings.root_path}"


async def _lines(exchange: Exchange, chunks: ChatChunks) -> AsyncGenerator[bytes]:
    """The body of a streamed answer. Its end is in the last bytes, good or bad."""
    lines = chunks.head()
    async for choice, events in exchange.events():
        if isinstance(events[-1], Finished) and exchange.is_large(chunks.transcripts):
            lines += await asyncio.to_thread(chunks.render, events, choice)
        else:
            lines += chunks.render(events, choice)
        if lines:
            yield lines
        lines = b""
