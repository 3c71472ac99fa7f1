"""Schemas and values: what fits, what is refused, and that nothing is fetched and nothing hangs."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shim import schemas
from shim.errors import RequestError
from shim.schemas import check_parameters, check_schema, validate

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"children": {"type": "array", "items": {"$ref": "#"}}, "next": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
    "additionalProperties": False,
}
Nested = dict[str, Any]


def nested(depth: int, leaf: object = None) -> Nested:
    value: Any = leaf
    for _ in range(depth):
        value = {"a": value}
    return {"a": value}


@pytest.mark.parametrize(
    ("schema", "value", "complaint"),
    [
        ({}, 1, None),
        (PERSON, {"name": "Ann", "age": 3}, None),
        (PERSON, {"name": "Ann", "age": "secret"}, 'at /age: the value is not of type "integer"'),
        (PERSON, {}, 'at the top: "name" is a required property'),
        (PERSON, {"name": "Ann", "x": 1}, "at the top: Additional properties are not allowed ('x' was unexpected)"),
        (PERSON, {"name": "secret"}, 'at /name: the value does not match "^[A-Z]"'),
        ({"items": {"enum": ["a", "b"]}}, ["a", "secret"], 'at /1: the value is not one of "a" or "b"'),
        ({"type": "integer"}, 10**400, None),
        ({"type": "string"}, "\ud800", "it can't be read"),
        (TREE, {"children": [{"children": []}], "next": {"next": None}}, None),
        (TREE, {"children": [{"children": 5}]}, "it does not fit the schema"),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}, 2, None),
    ],
)
def test_values(schema: dict[str, Any], value: object, complaint: str | None) -> None:
    check_schema(schema, "schema")
    assert validate(schema, value) == complaint


def test_a_complaint_is_short() -> None:
    complaint = validate({"enum": [f"value {number}" * 10 for number in range(1000)]}, 1)
    assert complaint is not None
    assert len(complaint) <= 500


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "objekt"}, "at /type"),
        ({"properties": {"a": {"minimum": "1"}}}, "at /properties/a/minimum"),
        ({"pattern": "("}, "at /pattern"),
        ({"pattern": "((a{0,1000}){0,1000}){0,1000}"}, "at /pattern"),
        ({"$ref": "#/$defs/none"}, "leads nowhere"),
        ({"allOf": [{"$ref": "#/allOf/7"}]}, "leads nowhere"),
        ({"$ref": "other.json"}, "may only be '#'"),
        ({"$ref": "#anchor"}, "may only be '#'"),
        ({"properties": {"a": {"$id": "urn:x", "type": "string"}}}, "only its root"),
        ({"$schema": "https://schemas.example/mine"}, "meta-schema"),
        ({"description": "x" * 300_000}, "larger than 262144 bytes"),
        ({"description": "\ud800"}, "not Unicode"),
        ({"not": nested(200, {})}, "nested"),
        ({"not": nested(5000, {})}, "nested"),
    ],
)
def test_schemas_that_are_refused(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_schema(schema, "tools[0].function.parameters")
    error = caught.value
    assert (error.http_status, error.param, error.code) == (400, "tools[0].function.parameters", "invalid_schema")
    assert error.message.startswith("Invalid schema for 'tools[0].function.parameters': ")
    assert why in error.message
    assert len(error.message) < 700
    assert "can't be used" in (validate(schema, {}) or "")


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"type": ["object", "null"]}, PERSON])
def test_parameters_are_objects(schema: dict[str, Any]) -> None:
    check_parameters(schema, "p")


@pytest.mark.parametrize("schema", [{"type": "array"}, {"type": None}, {"type": ["string"]}, {"type": "objekt"}])
def test_parameters_of_another_type_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="'object'") as caught:
        check_parameters(schema, "p")
    assert (caught.value.param, caught.value.code) == ("p", "invalid_schema")


def test_names_of_properties_are_no_keywords() -> None:
    schema = {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}, "enum": [{"$ref": "x"}]}
    check_schema(schema, "p")
    assert validate(schema, {"$ref": "x"}) is None


# --- nothing is fetched -----------------------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        yield server


@pytest.mark.parametrize("keyword", ["$ref", "$schema", "$dynamicRef", "$recursiveRef", "$id"])
def test_no_reference_is_fetched(listener: socket.socket, keyword: str) -> None:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
    for schema in ({keyword: url}, {"allOf": [{keyword: url}]}, {"x": {"y": [{keyword: url}]}, "$ref": "#/x/y/0"}):
        validate(schema, {"a": 1})
    with pytest.raises(TimeoutError):
        listener.accept()


def test_the_library_itself_is_told_not_to_fetch(listener: socket.socket) -> None:
    """Even what the survey would let through."""
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
    with pytest.raises(schemas._BadSchemaError, match="Retrieval is disabled"):
        schemas._compile({"$ref": url}, 0)
    with pytest.raises(TimeoutError):
        listener.accept()


def test_no_file_is_read() -> None:
    for url in ("file:///etc/hostname", "/etc/hostname"):
        with pytest.raises(RequestError, match="may only be '#'"):
            check_schema({"$ref": url}, "p")


# --- nothing hangs ----------------------------------------------------------------------------------------------------


def doubling(levels: int) -> dict[str, Any]:
    """Each definition leads to the next one twice."""
    defs: dict[str, Any] = {
        f"d{level}": {"anyOf": [{"$ref": f"#/$defs/d{level + 1}"}, {"$ref": f"#/$defs/d{level + 1}"}]}
        for level in range(levels)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{levels}": {"type": "string"}}}


@pytest.fixture
def soon() -> Iterator[None]:
    """Fails a test whose body takes ten seconds: what it guards against never ends."""
    began = time.perf_counter()
    yield
    assert time.perf_counter() - began < 10


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^(a+)+\1$", r"^(?=a)(a|a?)+$", r"^(?:(a*)*\1)*b$"])
def test_patterns_that_make_others_hang(pattern: str) -> None:
    schema = {"items": {"pattern": pattern}}
    check_schema(schema, "p")
    assert validate(schema, ["a" * 5000 + "!"] * 5) is not None


@pytest.mark.usefixtures("soon")
def test_a_usual_pattern_with_look_ahead_works() -> None:
    schema = {"pattern": r"^(?=.*\d)(?=.*[a-z])\w{8,64}$"}
    assert validate(schema, "abcdefg1") is None
    assert validate(schema, "abcdefgh") is not None


@pytest.mark.usefixtures("soon")
def test_references_that_unfold() -> None:
    assert validate(doubling(9), 1) is not None
    assert validate(doubling(12), 1) == "it does not fit the schema"
    with pytest.raises(RequestError, match="unfold to too many"):
        check_schema(doubling(60), "p")


@pytest.mark.usefixtures("soon")
def test_circles_with_alternatives() -> None:
    one, other = ({"properties": {"a": {"$ref": "#"}}, limit: 1} for limit in ("minProperties", "maxProperties"))
    for word in ("anyOf", "oneOf", "allOf"):
        assert validate({"type": "object", word: [one, other]}, nested(60, 1)) is not None
    assert validate({"$ref": "#"}, 1) is None


@pytest.mark.usefixtures("soon")
def test_many_references_to_large_parts() -> None:
    inner: dict[str, Any] = {f"p{number}": {} for number in range(8000)}
    chain: dict[str, Any] = {"properties": inner}
    for _ in range(100):
        chain = {"not": chain}
    references = [{"$ref": "#/x" + "/not" * level} for level in range(100)]
    with pytest.raises(RequestError, match="too many references"):
        check_schema({"x": chain, "allOf": references}, "p")


@pytest.mark.parametrize("depth", [129, 100_000])
def test_values_that_are_too_deep(depth: int) -> None:
    """The library goes down without a limit, and a thread's stack is small."""
    found: list[str | None] = []
    value = nested(depth)
    thread = threading.Thread(target=lambda: found.append(validate({"properties": {"a": {"$ref": "#"}}}, value)))
    thread.start()
    thread.join()
    assert found == ["it is nested more than 128 levels deep"]
    while isinstance(value, dict):  # taken apart, since freeing it at once would go as deep
        value = value.pop("a")


def test_values_as_deep_as_allowed() -> None:
    assert validate({"properties": {"a": {"$ref": "#"}}}, nested(126)) is None


def test_what_is_compiled_is_kept_and_bounded() -> None:
    schemas._light.cache_clear()  # type: ignore[attr-defined]
    for _ in range(3):
        validate({"type": "string", "title": "kept"}, "x")
    assert schemas._light.cache_info()[:4] == (2, 1, 1024, 1)  # type: ignore[attr-defined]
    for number in range(20):
        validate({"pattern": f"a{number}"}, "x")
    assert schemas._heavy.cache_info().currsize == 16  # type: ignore[attr-defined]
