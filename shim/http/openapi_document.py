"""This gateway's own OpenAPI 3.1 document, made of the structs that are on the wire.

Rule: the operations are a table, and every schema comes from a struct: what is described here can't differ from what
is decoded and encoded.
"""

import re
from functools import cache
from typing import Any, Literal

import msgspec

from shim import __version__
from shim.apis.chat.wire import (
    AssistantMessage,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    ChunkChoice,
    ChunkDelta,
    CompletionChoice,
    CompletionUsage,
)
from shim.apis.models.wire import Model, ModelList
from shim.apis.openai_errors import ErrorBody, ErrorEnvelope

Json = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"
_PICTURES = "image/*"
_BYTES = "application/octet-stream"


class Health(msgspec.Struct, frozen=True):
    """What `GET /healthz` says. `unsaved` counts accounts whose new tokens the store does not have yet (0 is well);
    `background` tells of the tasks that keep the accounts, whose failures are in the log."""

    status: Literal["ok"]
    version: str
    store: Literal["ok", "away"]
    unsaved: int
    background: Literal["ok", "failing"]


class Operation(msgspec.Struct, frozen=True):
    """One row. `gives` is the body of a 200 by media type: a struct, text (str) or bytes; `errors` are the statuses it
    may fail with besides 500; `examples` are of the request, `example` is of the answer."""

    method: Literal["get", "post"]
    path: str
    id: str
    summary: str
    gives: dict[str, type]
    example: dict[str, Any] = {}
    takes: type | None = None
    examples: dict[str, Json] = {}
    errors: tuple[int, ...] = ()
    open: bool = False


# --- examples ---------------------------------------------------------------------------------------------------------

_ASK = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
_DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB5Sfe/AAAAABJRU5ErkJggg=="
_PICTURE = {"url": f"data:image/png;base64,{_DOT}"}
_PARTS = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": _PICTURE}]
_WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_REQUESTS: dict[str, Json] = {
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

# --- the tables -------------------------------------------------------------------------------------------------------

OPERATIONS = (
    Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "Answer a conversation: whole, or with `stream` as events.",
        takes=ChatRequest,
        examples=_REQUESTS,
        gives={JSON: ChatCompletion, EVENTS: str},
        example={JSON: _COMPLETION, EVENTS: _STREAM},
        errors=(400, 401, 403, 404, 413, 429, 502, 503, 504),
    ),
    Operation(
        "get",
        "/v1/models",
        "listModels",
        "List the models that the account can use.",
        gives={JSON: ModelList},
        example={JSON: ModelList([Model("auto", _MADE)])},
        errors=(401, 403, 429, 502, 503, 504),
    ),
    Operation(
        "get",
        "/v1/models/{id}",
        "retrieveModel",
        "Look one model up, by any name it answers to.",
        gives={JSON: Model},
        example={JSON: Model("auto", _MADE)},
        errors=(400, 401, 403, 404, 429, 502, 503, 504),
    ),
    Operation(
        "get",
        "/files/{link}",
        "getFile",
        "Fetch a file that an answer linked to. The link is the key.",
        gives={_PICTURES: bytes, _BYTES: bytes},
        errors=(400, 401, 403, 404, 429, 502, 503, 504),
        open=True,
    ),
    Operation(
        "get",
        "/healthz",
        "health",
        "Whether this process serves.",
        gives={JSON: Health},
        example={JSON: Health("ok", __version__, "ok", 0, "ok")},
        open=True,
    ),
    Operation("get", "/openapi.json", "openapi", "This document.", gives={JSON: dict}, open=True),
)
_FAILURES = {
    400: "The request can't be served as it stands; `param` names the field.",
    401: "No key, a wrong key, or a token that is over.",
    403: "Upstream refused, or asked for a check that is not done here.",
    404: "There is no such model, conversation or file.",
    413: "The request, or a file in it, is too large.",
    429: "A limit that upstream set; `Retry-After` says when it ends, where that is known.",
    500: "A mistake of this gateway or of its settings; its log says more.",
    502: "Upstream broke, or broke the protocol.",
    503: "A part of the gateway is away for now.",
    504: "Upstream did not answer in time.",
}
_ALL = 500  # may happen to every operation
_HEADERS = {
    "x-request-id": "Names this request in the gateway's log.",
    "x-chat2api-ignored": "Fields of the request that have no effect here, by comma.",
    "retry-after": "Seconds to wait.",
    "x-should-retry": "Whether the official SDKs try again.",
}
_OF_SUCCESS, _OF_FAILURE = ("x-request-id", "x-chat2api-ignored"), ("x-request-id", "retry-after", "x-should-retry")
_PARAMETERS = {"id": "A model's name.", "link": "The last part of a link in an answer."}
_ABOUT_EVENTS = (
    "Each `data:` line is a ChatChunk. The last is `[DONE]`, or an ErrorEnvelope where the answer broke off. Comments "
    "(lines that begin with `:`) keep the connection alive."
)
_ABOUT = "The OpenAI API, as far as the ChatGPT web backend can answer it."
_ABOUT_KEYS = "A key of this gateway, or a token of an account of yours."

_ASKED = (ChatRequest,)
_ANSWERED = (ChatCompletion, ChatChunk, ModelList, Model, Health, ErrorEnvelope)
_PLAIN: dict[type, Json] = {str: {"type": "string", "description": _ABOUT_EVENTS}, bytes: {}, dict: {"type": "object"}}
_REF = "#/components/schemas/{name}"


# --- the document -----------------------------------------------------------------------------------------------------


@cache
def document(root_path: str = "", *, keyed: bool = False) -> bytes:
    """The document as JSON. `root_path` ("" or "/prefix") is where the paths begin; `keyed` says that a call without a
    key is refused."""
    return msgspec.json.encode(describe(root_path, keyed=keyed))


def describe(root_path: str, *, keyed: bool) -> Json:
    """The document (OpenAPI 3.1.0)."""
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    bearer: list[Json] = [{"bearer": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "chat2api", "version": __version__, "description": _ABOUT},
        "servers": [{"url": root_path or "/"}],
        "security": bearer if keyed else [*bearer, {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
            "responses": {str(status): _failure(status) for status in _FAILURES},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _ABOUT_KEYS}},
        },
    }


def _operation(operation: Operation) -> Json:
    names = re.findall(r"\{(\w+)\}", operation.path)
    answers: Json = {"200": _success(operation)}
    answers |= {str(status): {"$ref": f"#/components/responses/{status}"} for status in (*operation.errors, _ALL)}
    described: Json = {"operationId": operation.id, "summary": operation.summary, "responses": answers}
    if names:
        described["parameters"] = [_parameter(name) for name in names]
    if operation.takes is not None:
        examples = {name: {"value": value} for name, value in operation.examples.items()}
        content = {JSON: {"schema": _schema(operation.takes), "examples": examples}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.open:
        described["security"] = []
    return described


def _parameter(name: str) -> Json:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "description": _PARAMETERS[name], "schema": schema}


def _success(operation: Operation) -> Json:
    content: Json = {media: {"schema": _schema(kind)} for media, kind in operation.gives.items()}
    for media, example in operation.example.items():
        content[media]["example"] = msgspec.to_builtins(example)
    return {"description": operation.summary, "headers": _headers(_OF_SUCCESS), "content": content}


def _failure(status: int) -> Json:
    example = ErrorEnvelope(ErrorBody("What happened, and what to do.", "upstream_error", code="upstream_error"))
    content = {JSON: {"schema": _schema(ErrorEnvelope), "example": msgspec.to_builtins(example)}}
    return {"description": _FAILURES[status], "headers": _headers(_OF_FAILURE), "content": content}


def _headers(names: tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schema(kind: type) -> Json:
    return _PLAIN[kind] if kind in _PLAIN else {"$ref": _REF.format(name=kind.__name__)}


def _schemas() -> Json:
    """The structs as schemas. What an answer has a default for is in every answer all the same: only what may be
    unset is not. A struct that goes both ways is described as it may be sent."""
    _, answered = msgspec.json.schema_components(_ANSWERED, ref_template=_REF)
    for schema in answered.values():
        always = (name for name, field in schema["properties"].items() if "default" in field)
        schema["required"] = [*schema["required"], *always]
    _, asked = msgspec.json.schema_components(_ASKED, ref_template=_REF)
    return answered | asked
