"""Every operation of our OpenAPI document against the real server, by schemathesis: requests that fit the document and
requests that do not.

Rule: the stand-in is well, so that nothing may be upstream's fault; every answer is as the document says.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shim.apis.openai_errors import ERROR_FORM
from shim.app import OPERATIONS
from shim.http.openapi import describe

CHECKS = [status_code_conformance, content_type_conformance, response_headers_conformance]
# The stand-in talks of what it likes, which is a failure where JSON or a call was asked for.
UNUSABLE = {"no_json_answer", "invalid_json_answer", "invalid_tool_call"}
# What the Messages API calls a failure that is the client's own, or (the last) an unusable answer.
OF_MESSAGES = {"invalid_request_error", "authentication_error", "not_found_error", "request_too_large", "api_error"}
RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
TIMEOUT = 20.0  # seconds for one call
DOCUMENT = describe(OPERATIONS, ERROR_FORM, "", keyed=False)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
LINES = {
    one.path: jsonschema_rs.validator_for(
        {
            "$ref": f"#/components/schemas/{one.event.__name__}",
            "components": DOCUMENT["components"],
            "unevaluatedProperties": False,
        }
    )
    for one in OPERATIONS
    if one.event is not None
}
EXAMPLES = OPERATIONS[0].examples
# Streams whose end is an event of its own: how that begins.
NAMED = {
    "/v1/audio/speech": b'data: {"type":"speech.audio.done"',
    "/v1/audio/transcriptions": b'data: {"type":"transcript.text.done"',
    "/v1/images/generations": b"event: image_generation.completed\n",
    "/v1/images/edits": b"event: image_edit.completed\n",
}
MODES = st.sampled_from((GenerationMode.POSITIVE, GenerationMode.POSITIVE, GenerationMode.NEGATIVE))


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def check_error(body: Any) -> None:
    """The envelope, and that the failure is the client's own."""
    if body.get("type") == "error":
        assert body["error"]["message"]
        assert body["error"]["type"] in OF_MESSAGES
        return
    (error,) = body.values()
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] in {"invalid_request_error", "authentication_error"} or error["code"] in UNUSABLE


def check_stream(content: bytes, path: str) -> None:
    """Lines to `[DONE]`, or to an error. schemathesis takes the schema of a stream for that of each event."""
    *lines, last, rest = content.split(b"\n\n")
    assert rest == b""
    if path in NAMED:
        assert last.startswith((NAMED[path], b"event: error\n", b'data: {"error"'))
        return
    if path == "/v1/messages":  # whose order and blocks have a test of their own
        assert last.startswith((b"event: message_stop\n", b"event: error\n"))
        return
    if path == "/v1/responses":
        assert last.startswith(tuple(f"event: {name}\n".encode() for name in RESPONSE_ENDS))
        return
    for line in lines:
        LINES[path].validate(json.loads(line.removeprefix(b"data: ")))
    if last != b"data: [DONE]":
        check_error(json.loads(last.removeprefix(b"data: ")))


def check(response: requests.Response, path: str) -> None:
    """What holds for every answer, and the document can't say."""
    assert response.headers["x-request-id"].startswith("req_")
    if response.headers["content-type"].startswith("text/event-stream"):
        check_stream(response.content, path)
    elif response.status_code >= 400:
        check_error(response.json())


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
@settings(settings.get_profile("operations"))
@given(data=st.data(), mode=MODES, known=st.integers(0, 3))
def test_every_answer_is_as_described(
    data: st.DataObject,
    mode: GenerationMode,
    known: int,
    operation: Any,
    gateway: Any,
    session: requests.Session,
) -> None:
    case = data.draw(SCHEMA[operation.path][operation.method.upper()].as_strategy(generation_mode=mode))
    if known and isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "auto"  # else most would go no further
    # Not `case.call`: of a stream it reads only some events.
    response = session.request(**case.as_transport_kwargs(base_url=gateway.base_url), timeout=TIMEOUT)
    is_stream = response.headers["content-type"].startswith("text/event-stream")
    case.validate_response(response, checks=CHECKS if is_stream else [*CHECKS, response_schema_conformance])
    check(response, operation.path)


@settings(settings.get_profile("fuzz"))
@given(data=st.data(), example=st.sampled_from(sorted(EXAMPLES)), times=st.integers(1, 2))
def test_spoiled_requests(
    data: st.DataObject,
    example: str,
    times: int,
    gateway: Any,
    session: requests.Session,
    spoil: Callable[..., Any],
    as_json: Callable[..., bytes],
) -> None:
    """Nearer to good requests than what a schema brings forth, and with values that no schema allows."""
    request = EXAMPLES[example] | {"n": 2, "stop": ["a"]}
    for _ in range(times):
        request = spoil(data.draw, request)
    body = as_json(data.draw, request)
    response = session.post(f"{gateway.base_url}/v1/chat/completions", data=body, timeout=TIMEOUT)
    check(response, "/v1/chat/completions")
