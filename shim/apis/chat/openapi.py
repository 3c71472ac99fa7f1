"""Chat completions in the OpenAPI document, with examples that tests decode."""

from typing import Any

import msgspec

from shim.apis.chat.wire import (
    AssistantMessage,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    ChunkDelta,
    CompletionChoice,
)
from shim.apis.openai_usage import CompletionUsage
from shim.http.openapi import EVENTS, JSON, OpenApiOperation

_ASK = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
_PICTURE = {"url": f"data:image/png;base64,{_DOT}"}
_PARTS = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": _PICTURE}]
_WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_REQUESTS: dict[str, dict[str, Any]] = {
    "whole": _ASK,
    "streamed": _ASK | {"stream": True, "stream_options": {"include_usage": True}},
    "picture": {"model": "auto", "messages": [{"role": "user", "content": _PARTS}]},
    "tools": _ASK | {"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": _WEATHER}}]},
    "json": _ASK
    | {"response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": _WEATHER}}, "n": 2},
}
_MADE = 1741288944
_COMPLETION = ChatCompletion(
    "chatcmpl-1",
    _MADE,
    "auto",
    [CompletionChoice(AssistantMessage("Hello!"), "stop")],
    CompletionUsage(8, 2, 10),
    conversation_id="c-1",
)
_CHUNKS = [
    ChatChunk("chatcmpl-1", _MADE, "auto", [choice])
    for choice in (
        ChunkChoice(ChunkDelta(role="assistant", content="", refusal=None)),
        ChunkChoice(ChunkDelta(content="Hello!")),
        ChunkChoice(ChunkDelta(), "stop"),
    )
]
_STREAM = "".join(f"data: {msgspec.json.encode(chunk).decode()}\n\n" for chunk in _CHUNKS) + "data: [DONE]\n\n"

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "Answer a conversation: whole, or with `stream` as events.",
        takes=ChatRequest,
        examples=_REQUESTS,
        gives={JSON: ChatCompletion, EVENTS: str},
        example={JSON: _COMPLETION, EVENTS: _STREAM},
        event=ChatChunk,
        about_events=(
            "Each `data:` line is a ChatChunk. The last is `[DONE]`, or an ErrorEnvelope where the answer broke off. "
            "Comments (lines that begin with `:`) keep the connection alive."
        ),
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
    ),
)
