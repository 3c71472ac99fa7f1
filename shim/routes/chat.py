"""`POST /v1/chat/completions`, streamed and whole."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from litestar import Request, post
from litestar.response.base import ASGIResponse

from shim.accounts.credentials import account_hash
from shim.exchange import Exchange, Gateway
from shim.openai.decode import chat_request
from shim.protocol.events import Finished
from shim.protocol.render import ChatChunks, Completion, Transcript
from shim.routes.answers import EventStream, json_answer, request_id
from shim.routes.presence import while_present

log = logging.getLogger("chat2api.exchange")


@post("/v1/chat/completions", status_code=200)
async def create_chat_completion(request: Request[Any, Any, Any], gateway: Gateway) -> ASGIResponse:
    """One chat completion."""
    began = time.perf_counter()
    caller = gateway.caller(request.headers.get("authorization"))
    wanted, ignored = chat_request(await request.body(), strict=gateway.settings.strict_params)
    exchange = await while_present(request, gateway.open(wanted, caller, _address(request, gateway)))
    told = _Told(request_id(request), exchange, began)
    ignored = [*ignored, *exchange.ignored]
    headers = {"x-chat2api-ignored": ", ".join(ignored)} if ignored else {}
    if wanted.stream:
        chunks = _chunks(exchange)
        return EventStream(request, _lines(exchange, chunks), lambda: told.end(chunks.transcripts), headers=headers)
    completion = _completion(exchange)
    try:
        body = await while_present(request, _whole(exchange, completion))
    finally:
        told.end(completion.transcripts)
    return json_answer(request, body, headers=headers)


def _address(request: Request[Any, Any, Any], gateway: Gateway) -> str:
    """Where this client reaches the gateway, as it says itself."""
    return f"{request.url.scheme}://{request.url.netloc}{gateway.settings.root_path}"


def _chunks(exchange: Exchange) -> ChatChunks:
    options = exchange.request.stream_options
    return ChatChunks(
        id=exchange.id,
        created=exchange.created,
        model=exchange.model,
        count=exchange.usage,
        ids=exchange.ids,
        choices=len(exchange.choices),
        include_usage=bool(options and options.include_usage),
    )


def _completion(exchange: Exchange) -> Completion:
    return Completion(
        id=exchange.id,
        created=exchange.created,
        model=exchange.model,
        count=exchange.usage,
        ids=exchange.ids,
        choices=len(exchange.choices),
    )


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


async def _whole(exchange: Exchange, completion: Completion) -> bytes:
    """The body of an answer in one piece."""
    async for choice, events in exchange.events():
        completion.add(events, choice)
    if exchange.is_large(completion.transcripts):
        return await asyncio.to_thread(completion.body)
    return completion.body()


class _Told:
    """The end of an exchange: upstream is let go, and its one log line is written."""

    def __init__(self, identifier: str, exchange: Exchange, began: float) -> None:
        self._identifier = identifier
        self._account = account_hash(exchange.seat.identity)
        self._exchange = exchange
        self._began = began

    def end(self, transcripts: Sequence[Transcript]) -> None:
        """`status` is what became of the answer, `ms` from the request to the last byte."""
        self._exchange.close()
        if not log.isEnabledFor(logging.INFO):
            return
        log.info(
            "%s model=%.100r slug=%s account=%s stream=%s status=%s ms=%d tokens=%s",
            self._identifier,
            self._exchange.model,
            self._exchange.seat.slug,
            self._account,
            bool(self._exchange.request.stream),
            ",".join(dict.fromkeys(_status(transcript) for transcript in transcripts)),
            (time.perf_counter() - self._began) * 1000,
            self._tokens(transcripts),
        )

    def _tokens(self, transcripts: Sequence[Transcript]) -> str:
        """Prompt and completion; not for what takes long to count."""
        if self._exchange.is_large(transcripts):
            return "many"
        usage = self._exchange.usage(transcripts)
        return f"{usage.prompt_tokens}+{usage.completion_tokens}"


def _status(transcript: Transcript) -> str:
    if transcript.error is not None:
        return transcript.error.code or "error"
    return transcript.finish_reason or "client_gone"
