"""The Responses API in the OpenAPI document, with examples that tests decode."""

from typing import Any

import msgspec

from shim.apis.responses.items import sealed_summary
from shim.apis.responses.wire import (
    CompactedResponse,
    CompactionItem,
    CountInputRequest,
    DeletedResponse,
    Echoed,
    InputCount,
    ItemList,
    MessageItem,
    OutputText,
    ResponseBody,
    ResponsesRequest,
    TokenUsage,
)
from shim.apis.responses.write import body_of
from shim.http.openapi import EVENTS, JSON, OpenApiOperation

_ASK: dict[str, Any] = {"model": "auto", "input": "Hi"}
_WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
)
_PARTS = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": _DOT}]
_REQUESTS: dict[str, dict[str, Any]] = {
    "whole": _ASK,
    "streamed": _ASK | {"stream": True, "instructions": "Be brief."},
    "picture": {"model": "auto", "input": [{"role": "user", "content": _PARTS}]},
    "tools": _ASK | {"tools": [{"type": "function", "name": "get_weather", "parameters": _WEATHER}]},
    "json": _ASK | {"text": {"format": {"type": "json_schema", "name": "place", "schema": _WEATHER}}},
}
_ID = {"response_id": "The id that the response came with."}
_GIVEN = msgspec.Raw(
    b'{"id":"msg_0","type":"message","role":"user","status":"completed","content":[{"type":"input_text","text":"Hi"}]}'
)
_NOW = 1741288944
_ITEM = MessageItem("msg_1", [OutputText("Hello!")])
_RESPONSE: ResponseBody = msgspec.structs.replace(
    body_of("resp_1", _NOW, "auto", Echoed(), status="completed", output=[_ITEM]), usage=TokenUsage(8, 2, 10)
)
_START = msgspec.structs.replace(_RESPONSE, output=[], usage=None, status="in_progress")
_EMPTY = msgspec.structs.replace(_ITEM, content=[], status="in_progress")
_PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
_STREAM = "".join(
    f"event: {event['type']}\ndata: {msgspec.json.encode(event | {'sequence_number': number}).decode()}\n\n"
    for number, event in enumerate(
        (
            {"type": "response.created", "response": _START},
            {"type": "response.in_progress", "response": _START},
            {"type": "response.output_item.added", "output_index": 0, "item": _EMPTY},
            {"type": "response.content_part.added", **_PLACE, "part": OutputText("")},
            {"type": "response.output_text.delta", **_PLACE, "logprobs": [], "delta": "Hello!"},
            {"type": "response.output_text.done", **_PLACE, "logprobs": [], "text": "Hello!"},
            {"type": "response.content_part.done", **_PLACE, "part": OutputText("Hello!")},
            {"type": "response.output_item.done", "output_index": 0, "item": _ITEM},
            {"type": "response.completed", "response": _RESPONSE},
        )
    )
)

_SUMMED_UP = CompactionItem("cmp_1", sealed_summary("Somebody said hi."))
_COMPACTED = CompactedResponse("resp_1", _NOW, [_SUMMED_UP], TokenUsage(60, 6, 66))

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/responses",
        "createResponse",
        "Answer in the Responses API: whole, or with `stream` as events.",
        takes=ResponsesRequest,
        examples=_REQUESTS,
        gives={JSON: ResponseBody, EVENTS: str},
        example={JSON: _RESPONSE, EVENTS: _STREAM},
        about_events=(
            "The events of a response by name, from `response.created` to `response.completed`, `.incomplete` or "
            "`.failed`; or one `error` where there never was one. Comments (lines that begin with `:`) keep the "
            "connection alive."
        ),
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
    ),
    OpenApiOperation(
        "get",
        "/v1/responses/{response_id}",
        "getResponse",
        "A kept response.",
        parameters=_ID,
        gives={JSON: ResponseBody},
        example={JSON: _RESPONSE},
        errors=(400, 401, 404, 503),
    ),
    OpenApiOperation(
        "delete",
        "/v1/responses/{response_id}",
        "deleteResponse",
        "Forget a kept response.",
        parameters=_ID,
        gives={JSON: DeletedResponse},
        example={JSON: DeletedResponse("resp_1")},
        errors=(401, 404, 503),
    ),
    OpenApiOperation(
        "post",
        "/v1/responses/{response_id}/cancel",
        "cancelResponse",
        "End a response that goes on without its client.",
        parameters=_ID,
        gives={JSON: ResponseBody},
        example={JSON: _RESPONSE},
        errors=(400, 401, 404, 503),
    ),
    OpenApiOperation(
        "get",
        "/v1/responses/{response_id}/input_items",
        "listInputItems",
        "The items that a kept response was asked with.",
        parameters=_ID,
        gives={JSON: ItemList},
        example={JSON: ItemList([_GIVEN], "msg_0", "msg_0", has_more=False)},
        errors=(400, 401, 404, 503),
    ),
    OpenApiOperation(
        "post",
        "/v1/responses/compact",
        "compactResponse",
        "Sum a history up into one item that stands for it.",
        takes=CountInputRequest,
        examples={"text": _ASK},
        gives={JSON: CompactedResponse},
        example={JSON: _COMPACTED},
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
    ),
    OpenApiOperation(
        "post",
        "/v1/responses/input_tokens",
        "countInputTokens",
        "Count the tokens of such a request.",
        takes=CountInputRequest,
        examples={"text": _ASK},
        gives={JSON: InputCount},
        example={JSON: InputCount(8)},
        errors=(400, 401, 404, 413, 502, 503, 504),
    ),
)
