"""The upstream of the bench: a raw ASGI app that sends bytes made beforehand (protocol.md 2.1, 5.2, 7.1).

Rule: it checks nothing, so that it is never what is measured; the stand-in is the strict one. Steered by the prompt:
`chunks=N block=B every=S` asks for N text chunks, B in one write, the writes S seconds apart (0: as fast as they are
taken).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

WORD = " word"
"""What every text chunk says; the load counts it."""
CHAT_PATH, TURN_PATH = "/v1/chat/completions", "/backend-anon/conversation"
"""Where a gateway is asked, and where it asks upstream"""
PROOFS = "/proof"
"""The paths below which a proof of work is asked for, as upstream asks for one before every turn"""

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_ORDER = re.compile(rb"chunks=(\d+) block=(\d+) every=([\d.]+)")


def _event(value: object, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: ".encode() + msgspec.json.encode(value) + b"\n\n"


_IDS = {"id": "5f0b2a8e-5b3e-4c6d-9a52-0d9b8a6f1c11", "conversation_id": "3c1c6f5a-7c3f-4f0e-8b59-6c1f2b0c9d22"}
_MESSAGE: dict[str, object] = {
    "id": _IDS["id"],
    "author": {"role": "assistant", "name": None, "metadata": {}},
    "content": {"content_type": "text", "parts": [""]},
    "status": "in_progress",
    "end_turn": None,
    "weight": 1.0,
    "metadata": {"message_type": "next", "model_slug": "gpt-4o"},
    "recipient": "all",
    "channel": "final",
}
_ROOT = {"message": _MESSAGE, "conversation_id": _IDS["conversation_id"], "error": None, "error_code": None}
_HEAD = _event("v1", "delta_encoding") + _event({"p": "", "o": "add", "v": _ROOT, "c": 0}, "delta")
_FIRST = _event({"p": "/message/content/parts/0", "o": "append", "v": WORD}, "delta")
_MORE = _event({"v": WORD}, "delta")
_END = [
    {"p": "/message/status", "o": "replace", "v": "finished_successfully"},
    {"p": "/message/end_turn", "o": "replace", "v": True},
    {"p": "/message/metadata", "o": "append", "v": {"finish_details": {"type": "stop", "stop_tokens": [200002]}}},
]
_TAIL = (
    _event({"p": "", "o": "patch", "v": _END}, "delta")
    + _event({"type": "message_stream_complete", "conversation_id": _IDS["conversation_id"]})
    + b"data: [DONE]\n\n"
)
_LISTING = msgspec.json.encode({"models": [{"slug": "auto"}, {"slug": "gpt-4o"}]})


def _requirements(difficulty: str | None) -> bytes:
    asked = {"required": difficulty is not None, "seed": "0.6180339887", "difficulty": difficulty}
    return msgspec.json.encode({"persona": "chatgpt-noauth", "token": "gAAAAAB.bench", "proofofwork": asked})


_FREE = _requirements(None)
_ASKED = {f"{PROOFS}/backend-anon": _requirements("0fffff"), "/hard/backend-api": _requirements("000032")}
_seen: set[Any] = set()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Below `/proof` a proof of work is asked for, below `/hard` a hard one of who has an account. `/connections` tells
    how many there were and forgets them."""
    path: str = scope["path"]
    if path == "/connections":
        told = msgspec.json.encode(len(_seen))
        _seen.clear()
        await _answer(send, told)
        return
    _seen.add(scope["client"])
    body = await _body(receive)
    if path.endswith("/conversation"):
        await _converse(body, send)
    elif path.endswith("/chat-requirements"):
        await _answer(send, _ASKED.get(path.removesuffix("/sentinel/chat-requirements"), _FREE))
    else:
        await _answer(send, _LISTING)


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def _answer(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _converse(body: bytes, send: Send) -> None:
    order = _ORDER.search(body)
    chunks, block, every = (int(order[1]), int(order[2]), float(order[3])) if order else (1, 1, 0.0)
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if block >= chunks:
        await send({"type": "http.response.body", "body": _HEAD + _FIRST + _MORE * (chunks - 1) + _TAIL})
        return
    more: dict[str, Any] = {"type": "http.response.body", "body": _MORE * block, "more_body": True}
    await send(more | {"body": _HEAD + _FIRST + _MORE * (block - 1)})
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(chunks // block - 1):
        if every:
            due += every
            await asyncio.sleep(due - loop.time())
        await send(more)
    await send({"type": "http.response.body", "body": _MORE * (chunks % block) + _TAIL})
