"""The OpenAPI document: valid, complete, and its examples true."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from shim.apis.audio.read import read_speech
from shim.apis.chat import CHAT
from shim.apis.chat.wire import ChatChunk
from shim.apis.completions import COMPLETIONS
from shim.apis.completions.wire import TextCompletion
from shim.apis.images import ImagesApi
from shim.apis.images.read import read_edit, read_generation
from shim.apis.messages import MESSAGES
from shim.apis.messages.read import read_countable
from shim.apis.openai_errors import ERROR_FORM
from shim.apis.responses import RESPONSES
from shim.apis.responses.conversation_wire import (
    AddItemsRequest,
    CreateConversationRequest,
    UpdateConversationRequest,
)
from shim.apis.responses.conversations import checked_items
from shim.apis.responses.read import read_compaction
from shim.apis.responses.read import read_countable as read_countable_input
from shim.app import OPERATIONS
from shim.errors import GatewayError
from shim.http.openapi import EVENTS, JSON, ErrorForm, OpenApiOperation, describe, document
from shim.protocol.prompt import Prompt

ROOT = Path(__file__).parents[2]
# Who reads the requests of a path, and what each line of its streams is.
READERS = {
    "/v1/audio/speech": read_speech,
    "/v1/chat/completions": CHAT.read,
    "/v1/completions": COMPLETIONS.read,
    "/v1/images/generations": ImagesApi(read_generation).read,
    "/v1/images/edits": ImagesApi(read_edit).read,
    "/v1/messages": MESSAGES.read,
    "/v1/responses": RESPONSES.read,
}
LINES = {"/v1/chat/completions": ChatChunk, "/v1/completions": TextCompletion}
CONVERSATIONS = {
    "/v1/conversations": CreateConversationRequest,
    "/v1/conversations/{conversation_id}": UpdateConversationRequest,
    "/v1/conversations/{conversation_id}/items": AddItemsRequest,
}
_MESSAGES, _MESSAGE = "/v1/messages", "post /v1/messages 200"
METHODS = {"get", "post", "put", "patch", "delete"}
# Pages, and interfaces of their own that are not OpenAI's.
PAGES = {"/", "/docs"}  # for people
OTHERS = ("/tokens", "/admin/usage", "/metrics", "/backend-api", "/backend-anon", "/web", "/offline.js")
_ASK_FOR_ROUTES = """
import json
from litestar.routes import HTTPRoute
from shim.app import create_app
from shim.settings import Settings
app = create_app(Settings())
print(json.dumps([[one.path, sorted(one.methods)] for one in app.routes if isinstance(one, HTTPRoute)]))
"""


@pytest.fixture(scope="module")
def described() -> Any:
    return json.loads(document(OPERATIONS, ERROR_FORM))


@pytest.fixture(scope="module")
def served() -> set[tuple[str, str]]:
    """(method, path with its parameters' names left out) of every public route of the application."""
    asked = [sys.executable, "-c", _ASK_FOR_ROUTES]
    told = subprocess.run(asked, capture_output=True, check=True, timeout=60, cwd=ROOT)
    return {
        (method.lower(), re.sub(r"\{[^}]*\}", "{}", path))
        for path, methods in json.loads(told.stdout)
        for method in methods
        if method != "OPTIONS" and path not in PAGES and not path.startswith(OTHERS)
    }


def operations(described: Any) -> dict[tuple[str, str], Any]:
    return {(method, path): one for path, item in described["paths"].items() for method, one in item.items()}


def resolved(described: Any, node: Any) -> Any:
    """What a reference leads to; what is none stays."""
    while "$ref" in node:
        target = described
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node


def examples(described: Any) -> list[tuple[str, str, Any, Any]]:
    """(where, media type, schema, example) for every example there is."""
    found = []
    for (method, path), one in operations(described).items():
        bodies = [("request", one["requestBody"])] if "requestBody" in one else []
        bodies += [(status, resolved(described, answer)) for status, answer in one["responses"].items()]
        for name, body in bodies:
            for media, content in body["content"].items():
                values = [content["example"]] if "example" in content else []
                values += [example["value"] for example in content.get("examples", {}).values()]
                found += [(f"{method} {path} {name}", media, content["schema"], value) for value in values]
    return found


def test_the_document_is_valid(described: Any) -> None:
    OpenAPIV31SpecValidator(described).validate()
    assert described["openapi"] == "3.1.0"


def test_the_check_for_validity_can_fail(described: Any) -> None:
    broken = described | {"paths": {"/{x}": {"get": {"responses": {}}}}}
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_every_public_route_is_in_it(described: Any, served: set[tuple[str, str]]) -> None:
    assert {(method, re.sub(r"\{[^}]*\}", "{}", path)) for method, path in operations(described)} == served
    assert ("post", "/v1/chat/completions") in served


def test_every_example_fits_its_schema(described: Any) -> None:
    found = examples(described)
    for where, _media, schema, value in found:
        whole = schema | {"components": described["components"]}
        assert jsonschema_rs.validator_for(whole).is_valid(value), where
    assert {"post /v1/chat/completions request", "post /v1/chat/completions 429", "get /v1/models 200"} <= {
        where for where, *_ in found
    }


@pytest.mark.parametrize("path", READERS)
def test_the_examples_of_requests_are_taken(described: Any, path: str) -> None:
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    for name, example in content["examples"].items():
        assert READERS[path](json.dumps(example["value"]).encode(), strict=True).ignored == [], name


@pytest.mark.parametrize("path", LINES)
def test_the_example_of_a_stream_is_one(described: Any, path: str) -> None:
    (stream,) = (
        value for where, media, _, value in examples(described) if (where, media) == (f"post {path} 200", EVENTS)
    )
    *chunks, done, rest = stream.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    for chunk in chunks:
        msgspec.json.decode(chunk.removeprefix("data: "), type=LINES[path])


@pytest.mark.parametrize("path", CONVERSATIONS)
def test_the_examples_of_conversations_are_taken(described: Any, path: str) -> None:
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        asked = msgspec.json.decode(json.dumps(example["value"]), type=CONVERSATIONS[path])
        given = getattr(asked, "items", None) or []
        assert len(checked_items(given, "0" * 32)) == len(given)
        assert set(asked.__struct_fields__) >= set(example["value"])


def test_the_example_of_a_message_stream_is_one(described: Any) -> None:
    (stream,) = (value for where, media, _, value in examples(described) if (where, media) == (_MESSAGE, EVENTS))
    *events, rest = stream.split("\n\n")
    names = [event.split("\n")[0].removeprefix("event: ") for event in events]
    assert (names[0], names[-1], rest) == ("message_start", "message_stop", "")
    assert [json.loads(event.split("data: ")[1])["type"] for event in events] == names


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        (f"{_MESSAGES}/count_tokens", read_countable),
        ("/v1/responses/input_tokens", read_countable_input),
        ("/v1/responses/compact", read_compaction),
    ],
)
def test_the_example_of_what_is_counted_is_taken(described: Any, path: str, reader: Callable[[bytes], Prompt]) -> None:
    content = described["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert reader(json.dumps(example["value"]).encode())


def test_the_example_of_a_response_stream_is_one(described: Any) -> None:
    where = "post /v1/responses 200"
    (stream,) = (value for place, media, _, value in examples(described) if (place, media) == (where, EVENTS))
    *events, rest = stream.split("\n\n")
    told = [json.loads(event.split("data: ")[1]) for event in events]
    assert [event["type"] for event in told] == [event.split("\n")[0].removeprefix("event: ") for event in events]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert (told[0]["type"], told[-1]["type"], rest) == ("response.created", "response.completed", "")


def test_every_request_and_stream_is_looked_at() -> None:
    taking = {one.path for one in OPERATIONS if one.takes is not None}
    counted = {f"{_MESSAGES}/count_tokens", "/v1/responses/input_tokens", "/v1/responses/compact"}
    assert {*READERS, *CONVERSATIONS, *counted} == taking
    assert set(LINES) == {one.path for one in OPERATIONS if one.event is not None}


def test_every_error_has_the_envelope(described: Any) -> None:
    """Every status of the exception tree can be told of, and all are told in the same shape."""
    statuses = {kind.status for kind in tree(GatewayError)} - {499}  # nobody reads that one
    assert statuses <= {int(status) for status in described["components"]["responses"] if status.isdecimal()}
    for name, answer in described["components"]["responses"].items():
        envelope = "MessagesError" if name.startswith("Messages") else "ErrorEnvelope"
        assert answer["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{envelope}"}
    body = described["components"]["schemas"]["ErrorBody"]
    assert set(body["required"]) == {"message", "type", "param", "code"}


def tree(kind: type[GatewayError]) -> set[type[GatewayError]]:
    return {kind}.union(*(tree(below) for below in kind.__subclasses__()))


class Echo(msgspec.Struct):
    text: str = ""


def test_an_api_of_its_own_adds_its_rows_and_its_errors() -> None:
    """Nothing but rows: other methods, other structs, and errors in another envelope."""
    form = ErrorForm("Echo", Echo, Echo("refused"))
    row = OpenApiOperation(
        "put", "/echo/{id}", "echo", "Echo.", gives={JSON: Echo}, takes=Echo, parameters={"id": "Any."}, error_form=form
    )
    described = describe((*OPERATIONS, row), ERROR_FORM, "", keyed=False)
    OpenAPIV31SpecValidator(described).validate()
    refused = described["paths"]["/echo/{id}"]["put"]["responses"]["500"]
    assert resolved(described, refused)["content"][JSON]["schema"] == {"$ref": "#/components/schemas/Echo"}
    assert described["paths"].items() > describe(OPERATIONS, ERROR_FORM, "", keyed=False)["paths"].items()


def test_where_a_key_is_needed_is_said() -> None:
    assert describe(OPERATIONS, ERROR_FORM, "", keyed=True)["security"] == [{"bearer": []}]
    assert describe(OPERATIONS, ERROR_FORM, "", keyed=False)["security"] == [{"bearer": []}, {}]
    assert {one.path for one in OPERATIONS if one.open} == {"/healthz", "/readyz", "/openapi.json", "/files/{link}"}


def test_it_is_served_without_a_key_below_the_prefix(start_gateway: Any, shared_standin: Any) -> None:
    gateway = start_gateway(
        health="/hidden/healthz", CHATGPT_BASE_URL=shared_standin.base_url, API_PREFIX="hidden", AUTHORIZATION="a-key"
    )
    answer = gateway.get("/hidden/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(document(OPERATIONS, ERROR_FORM, "/hidden", keyed=True))
    assert answer.json()["servers"] == [{"url": "/hidden"}]
    assert gateway.get("/hidden/v1/models").status_code == 401
    outside = gateway.get("/openapi.json")
    assert (outside.status_code, outside.text) == (404, "Not Found")
