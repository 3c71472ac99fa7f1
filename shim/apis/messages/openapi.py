"""The Messages API in the OpenAPI document, with examples that tests decode."""

from typing import Any

import msgspec

from shim.apis.messages.errors import ERROR_FORM
from shim.apis.messages.wire import (
    AnswerMessage,
    CountTokensRequest,
    MessagesRequest,
    MessageUsage,
    TextBlock,
    TokenCount,
)
from shim.http.openapi import EVENTS, JSON, OpenApiOperation

_COUNTED: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
_ASK = _COUNTED | {"max_tokens": 1024}
_WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_MESSAGE = AnswerMessage("msg_1", "auto", [TextBlock("Hello!")], MessageUsage(8, 2), stop_reason="end_turn")
_START = msgspec.structs.replace(_MESSAGE, content=[], stop_reason=None)
_STREAM = "".join(
    f"event: {event['type']}\ndata: {msgspec.json.encode(event).decode()}\n\n"
    for event in (
        {"type": "message_start", "message": _START},
        {"type": "content_block_start", "index": 0, "content_block": TextBlock("")},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello!"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": MessageUsage(8, 2)},
        {"type": "message_stop"},
    )
)

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/messages",
        "createMessage",
        "Answer a conversation in the Anthropic API: whole, or with `stream` as events.",
        takes=MessagesRequest,
        examples={
            "whole": _ASK,
            "streamed": _ASK | {"stream": True, "system": "Be brief."},
            "tools": _ASK | {"tools": [{"name": "get_weather", "input_schema": _WEATHER}]},
        },
        gives={JSON: AnswerMessage, EVENTS: str},
        example={JSON: _MESSAGE, EVENTS: _STREAM},
        about_events=(
            "The events of a message by name, from `message_start` to `message_stop`, or to `error` where the answer "
            "broke off. Comments (lines that begin with `:`) keep the connection alive."
        ),
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
        error_form=ERROR_FORM,
    ),
    OpenApiOperation(
        "post",
        "/v1/messages/count_tokens",
        "countMessageTokens",
        "Count the tokens of such a request.",
        takes=CountTokensRequest,
        examples={"text": _COUNTED},
        gives={JSON: TokenCount},
        example={JSON: TokenCount(8)},
        errors=(400, 401, 404, 413, 502, 503, 504),
        error_form=ERROR_FORM,
    ),
)
