"""The OpenAPI 3.1 document of this gateway, and `GET /openapi.json`, which serves it.

Rule: the document is ours and not Litestar's, because handlers decode bodies themselves, so that errors are the API's
own. Each API says what it takes and gives in a table of its own; this module only puts the tables together, so that a
new API needs no edit here. Schemas come from the structs that are decoded and encoded, and can't differ from them.
Nothing in the document is secret, so no key is asked for.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from shim import __version__
from shim.http.responses import json_answer

Json = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"
OPTIONAL = "x-optional"  # in the schema of a form's field
FILE: Json = {"type": "string", "format": "binary"}


class ErrorForm(msgspec.Struct, frozen=True):
    """How the errors of an API look. `prefix` tells its responses from another API's in the document."""

    prefix: str
    envelope: type
    example: Any


class OpenApiOperation(msgspec.Struct, frozen=True):
    """One operation. `gives` is the body of a 200 by media type: a struct, text (str), bytes or any object (dict);
    `event` is the struct on each line of a stream of events. `errors` are the statuses it may fail with besides 500.
    `form` are the fields that multipart/form-data has, by name: all but those with `x-optional` have to be there.
    `examples` are of the request, `example` is of the answer. Without an `error_form` its errors look like those of the
    document. `open` operations need no key."""

    method: Literal["get", "post", "put", "patch", "delete"]
    path: str
    id: str
    summary: str
    gives: dict[str, type]
    example: dict[str, Any] = {}
    event: type | None = None
    about_events: str = ""
    takes: type | None = None
    form: dict[str, Json] = {}
    examples: dict[str, Json] = {}
    parameters: dict[str, str] = {}
    errors: tuple[int, ...] = ()
    error_form: ErrorForm | None = None
    open: bool = False


OPERATION = OpenApiOperation("get", "/openapi.json", "openapi", "This document.", gives={JSON: dict}, open=True)

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
_ABOUT = "The OpenAI API, as far as the ChatGPT web backend can answer it."
_ABOUT_KEYS = "A key of this gateway, or a token of an account of yours."
_REF = "#/components/schemas/{name}"


def openapi_route(
    operations: Iterable[OpenApiOperation], errors: ErrorForm, root_path: str, *, keyed: bool
) -> HTTPRouteHandler:
    """The route of the document, with the paths as this installation has them."""

    @cache
    def encoded() -> bytes:
        return document(operations, errors, root_path, keyed=keyed)

    @get("/openapi.json")
    async def get_openapi(request: Request[Any, Any, Any]) -> ASGIApp:
        """The document. It is made when it is first asked for."""
        return json_answer(request, encoded())

    return get_openapi


def document(
    operations: Iterable[OpenApiOperation], errors: ErrorForm, root_path: str = "", *, keyed: bool = False
) -> bytes:
    """The document as JSON. `errors` is how errors look where an operation says nothing else, `root_path` ("" or
    "/prefix") is where the paths begin, and `keyed` says that a call without a key is refused."""
    return msgspec.json.encode(describe(operations, errors, root_path, keyed=keyed))


def describe(operations: Iterable[OpenApiOperation], errors: ErrorForm, root_path: str, *, keyed: bool) -> Json:
    """The document (OpenAPI 3.1.0)."""
    operations = tuple(operations)
    forms = tuple({form.prefix: form for form in (one.error_form or errors for one in operations)}.values())
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, operation.error_form or errors)
    failures: dict[str, Json] = {}
    for form in forms:
        content = {JSON: {"schema": _schema(form.envelope), "example": msgspec.to_builtins(form.example)}}
        for status, text in _FAILURES.items():
            failure: Json = {"description": text, "headers": _headers(_OF_FAILURE), "content": content}
            failures[f"{form.prefix}{status}"] = failure
    bearer: list[Json] = [{"bearer": []}]
    return {
        "openapi": "3.1.0",
        "info": {"title": "chat2api", "version": __version__, "description": _ABOUT},
        "servers": [{"url": root_path or "/"}],
        "security": bearer if keyed else [*bearer, {}],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations, forms),
            "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()},
            "responses": failures,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _ABOUT_KEYS}},
        },
    }


def _operation(operation: OpenApiOperation, form: ErrorForm) -> Json:
    given: Json = {media: {"schema": _schema(kind)} for media, kind in operation.gives.items()}
    if EVENTS in given:
        given[EVENTS]["schema"]["description"] = operation.about_events
    for media, example in operation.example.items():
        given[media]["example"] = msgspec.json.decode(msgspec.json.encode(example))
    answers: Json = {"200": {"description": operation.summary, "headers": _headers(_OF_SUCCESS), "content": given}}
    for status in (*operation.errors, _ALL):
        answers[str(status)] = {"$ref": f"#/components/responses/{form.prefix}{status}"}
    described: Json = {"operationId": operation.id, "summary": operation.summary, "responses": answers}
    if names := re.findall(r"\{(\w+)\}", operation.path):
        common = {"in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        described["parameters"] = [
            {"name": name, "description": operation.parameters[name], **common} for name in names
        ]
    if operation.takes is not None:
        examples = {name: {"value": value} for name, value in operation.examples.items()}
        content = {JSON: {"schema": _schema(operation.takes), "examples": examples}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.form:
        body = described.setdefault("requestBody", {"required": True, "content": {}})
        required = [name for name, schema in operation.form.items() if OPTIONAL not in schema]
        fields = {"type": "object", "properties": operation.form, "required": required, "additionalProperties": False}
        body["content"][FORM] = {"schema": fields}
    if operation.open:
        described["security"] = []
    return described


def _headers(names: tuple[str, ...]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _schema(kind: type) -> Json:
    if kind is bytes:
        return {}
    if kind in {str, dict}:
        return {"type": "string" if kind is str else "object"}
    return {"$ref": _REF.format(name=kind.__name__)}


def _schemas(operations: tuple[OpenApiOperation, ...], forms: tuple[ErrorForm, ...]) -> Json:
    """The structs as schemas. A field with a default is in every answer all the same, so it counts as required there;
    only a field that may be unset does not. A struct that goes both ways is described as it may be sent."""
    given = [kind for one in operations for kind in (*one.gives.values(), one.event)]
    given += [form.envelope for form in forms]
    answers = dict.fromkeys(kind for kind in given if kind is not None and kind not in {str, bytes, dict})
    _, answered = msgspec.json.schema_components(answers, ref_template=_REF)
    for schema in answered.values():
        always = (name for name, field in schema["properties"].items() if "default" in field)
        schema["required"] = [*schema["required"], *always]
    requests = [one.takes for one in operations if one.takes is not None]
    _, asked = msgspec.json.schema_components(requests, ref_template=_REF)
    return answered | asked
