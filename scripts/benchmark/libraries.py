"""What the libraries cost with next to nothing of ours: Litestar on Granian, msgspec types, curl_cffi's own session.

It makes the two calls of a turn, reads upstream's events and writes a client's, and that is all: no account, no proof,
no limit, no count, no log, no time-out, no error. It is no gateway, but what one costs that is written straight on
these libraries and does nothing.

Rule: nothing of `shim` is imported. Started as `granian scripts.benchmark.libraries:app`; `LIBRARIES_UPSTREAM` is the
base URL of upstream.
"""

import os
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
from curl_cffi.requests import AsyncSession
from litestar import Litestar, Request, Response, get, post
from litestar.response import Stream

from scripts.benchmark.upstream import CHAT_PATH, TURN_PATH

_BASE = os.environ.get("LIBRARIES_UPSTREAM", "")
_REQUIREMENTS = TURN_PATH.replace("/conversation", "/sentinel/chat-requirements")
_HEADERS = {"content-type": "application/json"}
_PREFIX, _DONE = b"data: ", b"[DONE]"


class Message(msgspec.Struct):
    """A message of the client's."""

    role: str
    content: str


class ChatRequest(msgspec.Struct):
    """What a client asks."""

    model: str
    messages: list[Message]
    stream: bool = False


class Requirements(msgspec.Struct):
    """What upstream wants before a turn; only its token is used."""

    token: str


class Delta(msgspec.Struct):
    """An event of upstream's, as far as it appends text."""

    v: Any = None
    p: str = "/message/content/parts/0"


_read = msgspec.json.Decoder(ChatRequest).decode
_required = msgspec.json.Decoder(Requirements).decode
_delta = msgspec.json.Decoder(Delta).decode
_write = msgspec.json.Encoder().encode


class _Upstream:
    """One session for all calls; it is made in the loop that serves."""

    session: AsyncSession[Any] | None = None


def _session() -> AsyncSession[Any]:
    if _Upstream.session is None:
        _Upstream.session = AsyncSession(max_clients=4096)
    return _Upstream.session


async def _said(asked: ChatRequest) -> AsyncGenerator[list[str]]:
    """The pieces of the answer's text, those together that one read brought."""
    session = _session()
    wanted = await session.post(_BASE + _REQUIREMENTS, data=b"{}", headers=_HEADERS)
    headers = _HEADERS | {"openai-sentinel-chat-requirements-token": _required(wanted.content).token}
    parts = [{"author": {"role": one.role}, "content": {"parts": [one.content]}} for one in asked.messages]
    body = _write({"action": "next", "model": asked.model, "messages": parts})
    answer = await session.post(_BASE + TURN_PATH, data=body, headers=headers, stream=True)
    try:
        rest = b""
        async for piece in answer.aiter_content():
            *lines, rest = (rest + piece).split(b"\n")
            texts = []
            for line in lines:
                if line.startswith(_PREFIX + b"{"):
                    delta = _delta(line[len(_PREFIX) :])
                    if isinstance(delta.v, str) and delta.p == "/message/content/parts/0":
                        texts.append(delta.v)
            if texts:
                yield texts
    finally:
        await answer.aclose()


def _line(text: str, model: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}
    return _PREFIX + _write(chunk) + b"\n\n"


async def _events(asked: ChatRequest) -> AsyncGenerator[bytes]:
    async for texts in _said(asked):
        yield b"".join([_line(text, asked.model) for text in texts])
    yield _PREFIX + _DONE + b"\n\n"


@post(CHAT_PATH, status_code=200)
async def complete(request: Request[Any, Any, Any]) -> Stream | Response[bytes]:
    """A chat completion, streamed or whole."""
    asked = _read(await request.body())
    if asked.stream:
        return Stream(_events(asked), media_type="text/event-stream")
    text = "".join([text async for texts in _said(asked) for text in texts])
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    told = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": asked.model, "choices": choices}
    return Response(_write(told), media_type="application/json")


@get("/healthz")
async def healthy() -> bytes:
    """Whether it is up."""
    return b""


app = Litestar([complete, healthy], openapi_config=None)
