"""Chat requests as clients send them, good and bad: what is taken, what is ignored, and which `param` is named."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.apis.chat.read import chat_request
from shim.apis.chat.wire import ChatRequest, TextPart
from shim.apis.openai_errors import envelope
from shim.errors import RequestError

HI = {"role": "user", "content": "Hi"}


def decoded(**fields: Any) -> ChatRequest:
    return chat_request(json.dumps({"model": "gpt-4o", "messages": [HI], **fields}).encode())[0]


def ignored(**fields: Any) -> list[str]:
    return chat_request(json.dumps({"model": "gpt-4o", "messages": [HI], **fields}).encode())[1]


def refused(body: bytes | dict[str, Any]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        chat_request(body if isinstance(body, bytes) else json.dumps(body).encode())
    error = caught.value
    assert error.http_status == 400
    assert error.error_type == "invalid_request_error"
    assert json.loads(envelope(error))["error"]["param"] == error.param
    return error


# --- what is taken ----------------------------------------------------------------------------------------------------


def test_the_least_a_request_needs() -> None:
    request, unused = chat_request(b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}')
    assert (request.model, request.messages[0].content, request.stream) == ("gpt-4o", "Hi", None)
    assert unused == []


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "function"])
def test_roles(role: str) -> None:
    assert decoded(messages=[{"role": role, "content": "x"}]).messages[0].role == role


def test_content_may_be_text_parts_null_or_missing() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}]
    messages = [HI, {"role": "user", "content": parts}, {"role": "assistant", "content": None}, {"role": "assistant"}]
    contents = [message.content for message in decoded(messages=messages).messages]
    assert contents == ["Hi", [TextPart("a"), TextPart("b")], None, None]


@pytest.mark.parametrize("value", [True, False, None])
def test_switches_may_be_null(value: bool | None) -> None:
    request = decoded(stream=value, stream_options={"include_usage": value})
    assert request.stream is value
    assert request.stream_options is not None
    assert request.stream_options.include_usage is value


def test_null_is_as_good_as_missing() -> None:
    request = decoded(stream_options=None, user=None, metadata=None, store=None)
    assert request == decoded()


def test_history_with_tool_calls_is_taken() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        HI,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1"},
    ]
    assert len(decoded(messages=messages).messages) == 3


# --- what is ignored is said ------------------------------------------------------------------------------------------


def test_ignored_fields_are_reported_in_order() -> None:
    asked = {"temperature": 0.5, "top_p": 0.1, "seed": 7, "logprobs": True, "stop": ["x"], "n": 1}
    assert ignored(**asked) == ["logprobs", "seed", "temperature", "top_p"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 1),
        ("temperature", 1.0),
        ("top_p", 1),
        ("presence_penalty", 0),
        ("frequency_penalty", 0.0),
        ("logprobs", False),
        ("logit_bias", {}),
        ("service_tier", "auto"),
        ("seed", None),
        ("anything", None),
    ],
)
def test_a_field_that_asks_for_what_happens_anyway_is_not_reported(field: str, value: object) -> None:
    assert ignored(**{field: value}) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 0),
        ("logprobs", True),
        ("logit_bias", {"1": 1}),
        ("x", 0),
    ],
)
def test_the_neutral_value_is_meant_exactly(field: str, value: object) -> None:
    assert ignored(**{field: value}) == [field]


def test_strict_params_are_refused_by_name() -> None:
    body = msgspec.json.encode({"model": "m", "messages": [HI], "seed": 1, "temperature": 0})
    with pytest.raises(RequestError) as refused:
        chat_request(body, strict=True)
    assert (refused.value.status, refused.value.code, refused.value.param) == (400, "unsupported_parameter", "seed")
    assert "seed, temperature" in str(refused.value)


def test_strict_params_accept_what_has_no_effect_to_lose() -> None:
    body = msgspec.json.encode({"model": "m", "messages": [HI], "temperature": 1, "seed": None, "user": "me"})
    assert chat_request(body, strict=True)[1] == []


@pytest.mark.parametrize("field", ["user", "metadata", "store", "stream", "stream_options"])
def test_accepted_fields_are_not_reported(field: str) -> None:
    assert ignored(**{field: None}) == []


@pytest.mark.parametrize("name", ["a\r\nset-cookie: x", "näme", "a b", "", "x" * 65, "\x00", 'a"b', "a,b"])
def test_a_name_that_cannot_stand_in_a_header_is_a_question_mark(name: str) -> None:
    assert ignored(**{name: 1, "seed": 1}) == ["?", "seed"]


def test_the_report_is_bounded() -> None:
    names = ignored(**{f"field_{number}": 1 for number in range(1000)})
    assert len(names) == 32
    assert len(", ".join(names)) < 32 * 66


# --- what is missing or mistyped --------------------------------------------------------------------------------------

MISSING = [
    ({"messages": [HI]}, "model"),
    ({"model": "m"}, "messages"),
    ({"model": "m", "messages": [{"content": "x"}]}, "messages[0].role"),
    ({"model": "m", "messages": [HI, {"role": "user", "content": [{"type": "text"}]}]}, "messages[1].content[0].text"),
    ({"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0].image_url",
    ),
]
MISTYPED = [
    ({"model": 5, "messages": [HI]}, "model"),
    ({"model": None, "messages": [HI]}, "model"),
    ({"model": "m", "messages": None}, "messages"),
    ({"model": "m", "messages": "Hi"}, "messages"),
    ({"model": "m", "messages": {"role": "user"}}, "messages"),
    ({"model": "m", "messages": ["Hi"]}, "messages[0]"),
    ({"model": "m", "messages": [{"role": None, "content": "x"}]}, "messages[0].role"),
    ({"model": "m", "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"model": "m", "messages": [{"role": "user", "content": {"text": "x"}}]}, "messages[0].content"),
    ({"model": "m", "messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    (
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
        "messages[0].content[0].text",
    ),
    ({"model": "m", "messages": [{"role": "user", "content": "x", "name": 5}]}, "messages[0].name"),
    ({"model": "m", "messages": [HI], "stream": "yes"}, "stream"),
    ({"model": "m", "messages": [HI], "stream_options": []}, "stream_options"),
    ({"model": "m", "messages": [HI], "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"model": "m", "messages": [HI], "metadata": {"k": 5}}, "metadata[]"),
    ({"model": "m", "messages": [HI], "store": 1}, "store"),
]


@pytest.mark.parametrize(("body", "param"), MISSING)
def test_a_missing_field_is_named(body: dict[str, Any], param: str) -> None:
    error = refused(body)
    assert (error.param, error.code) == (param, "missing_required_parameter")
    assert error.message == f"Missing required parameter: '{param}'."


@pytest.mark.parametrize(("body", "param"), MISTYPED)
def test_a_mistyped_field_is_named(body: dict[str, Any], param: str) -> None:
    error = refused(body)
    assert (error.param, error.code) == (param, "invalid_type")
    assert error.message.startswith(f"Invalid value for '{param}': ")
    assert "`$" not in error.message


def test_a_pattern_is_told_as_the_real_api_tells_it() -> None:
    tool = {"type": "function", "function": {"name": "a b", "parameters": {}}}
    error = refused({"model": "m", "messages": [HI], "tools": [tool]})
    assert error.message.endswith("Expected a string that matches the pattern '^[A-Za-z0-9_.-]{1,64}$'.")


@pytest.mark.parametrize(
    ("field", "value", "code", "sentence"),
    [
        ("n", 999, "integer_above_max_value", "integer above maximum value. Expected a value <= 8."),
        ("max_tokens", 0, "integer_below_min_value", "integer below minimum value. Expected a value >= 1."),
        ("max_completion_tokens", -1, "integer_below_min_value", "integer below minimum value. Expected a value >= 1."),
        ("temperature", 2.5, "decimal_above_max_value", "decimal above maximum value. Expected a value <= 2.0."),
        ("stop", list("abcde"), "array_above_max_length", "array above maximum length. Expected a length <= 4."),
    ],
)
def test_what_is_out_of_bounds_has_the_code_of_the_real_api(field: str, value: Any, code: str, sentence: str) -> None:
    error = refused({"model": "m", "messages": [HI], field: value})
    assert (error.param, error.code, error.http_status) == (field, code, 400)
    assert error.message == f"Invalid '{field}': {sentence}"


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"5", b"null"])
def test_a_body_that_is_no_object(body: bytes) -> None:
    error = refused(body)
    assert (error.param, error.code) == (None, "invalid_type")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{]",
        b"hello",
        b"\xff\xfe",
        b'{"model": "\xff", "messages": []}',
        b'{"model": "m", "messages": []} trailing',
        b'{"model": "m", "messages": [], "x": ' + b"[" * 100_000,
        b'{"model": "m", "messages": [], "temperature": NaN}',
    ],
)
def test_a_body_that_is_not_json(body: bytes) -> None:
    error = refused(body)
    assert (error.param, error.code) == (None, "invalid_json")
    assert error.message.startswith("The request body is not valid JSON: ")


def test_what_the_user_said_is_not_in_the_error() -> None:
    for content in (["my secret"], {"text": "my secret"}):
        assert "secret" not in refused({"model": "m", "messages": [{"role": "user", "content": content}]}).message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "messages", "role", "content", "type", "text", "name"]), inner)
    ),
    max_leaves=10,
)


@settings(max_examples=150)
@given(st.one_of(JSON, st.fixed_dictionaries({"model": st.just("m"), "messages": JSON})))
def test_any_json_is_a_request_or_the_clients_mistake(value: Any) -> None:
    try:
        request, names = chat_request(json.dumps(value).encode())
    except RequestError:
        refused(value if isinstance(value, dict) else json.dumps(value).encode())
    else:
        assert request.model == value["model"]
        assert len(request.messages) == len(value["messages"])
        assert all(isinstance(name, str) for name in names)


# --- what the published schema says of fields -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("temperature", (7, -0.1, "1", True)),
        ("top_p", (3, -1)),
        ("presence_penalty", (9, -2.1)),
        ("frequency_penalty", (2.5,)),
        ("n", (0, -1, 1.5)),
        ("seed", ("1", 1.5, 2**63)),
        ("logprobs", (0, "yes")),
        ("top_logprobs", (21, -1, 1.5)),
        ("logit_bias", ([], {"50256": 101})),
        ("modalities", ("text", ["smell"])),
        ("service_tier", ("best",)),
        ("verbosity", ("loud",)),
        ("max_tokens", (0, 1.5, "1")),
        ("metadata", ({"a": 1}, {"a": "x" * 513}, {"b" * 65: ""}, {str(n): "" for n in range(17)})),
        ("user", (1,)),
        ("store", ("yes",)),
        ("web_search_options", (True, {"search_context_size": "huge"}, {"user_location": {"type": "exact"}})),
        ("prompt_cache_key", (1,)),
        ("prompt_cache_retention", ("48h", 24)),
        ("safety_identifier", (1, "x" * 65)),
        ("audio", ({}, {"voice": "alloy"}, {"voice": "alloy", "format": "ogg"})),
        ("prediction", ({}, {"type": "text", "content": "x"}, {"type": "content", "content": 1})),
    ],
)
def test_a_value_the_schema_does_not_allow_is_refused_by_name(field: str, values: tuple[Any, ...]) -> None:
    for value in values:
        error = refused({"model": "m", "messages": [HI], field: value})
        assert re.split(r"[.\[]", error.param or "")[0] == field, value


def test_values_the_schema_allows_are_taken() -> None:
    fields = {
        "temperature": 2,
        "top_p": 0,
        "presence_penalty": -2,
        "seed": -(2**63),
        "top_logprobs": 20,
        "logit_bias": {"50256": -100},
        "modalities": ["text"],
        "service_tier": "flex",
        "metadata": {"a": "x" * 512},
        "audio": {"voice": {"id": "voice_1"}, "format": "pcm16"},
        "prediction": {"type": "content", "content": [{"type": "text", "text": "x"}]},
        "prompt_cache_retention": "24h",
        "safety_identifier": "x" * 64,
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {"type": "approximate", "approximate": {"country": "NO"}},
        },
    }
    assert "temperature" in ignored(**fields)
    assert ignored(**dict.fromkeys(fields)) == []  # null is as good as missing


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "n", "seed"])
def test_a_whole_number_may_be_written_with_a_point(field: str) -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "1.0 \\ud83d"}], "%s": 1.0}' % field.encode()
    request, _ = chat_request(body)
    assert getattr(request, field, 1) == 1
    assert request.messages[0].content == "1.0 \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"\ud83d", "\ufffd"),
        (r"a\ud83d b", "a\ufffd b"),
        (r"\udc00", "\ufffd"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\uD83D\uDE00\uDE00", "\U0001f600\ufffd"),
        (r"\\ud83d", r"\ud83d"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83d\n", "\ufffd\n"),
    ],
)
def test_half_a_surrogate_pair_is_one_unknown_character(text: str, read: str) -> None:
    body = '{"model": "m", "messages": [{"role": "user", "content": "TEXT"}], "x": "TEXT"}'.replace("TEXT", text)
    request, unused = chat_request(body.encode())
    assert request.messages[0].content == read
    assert unused == ["x"]


def test_an_escape_that_is_cut_is_still_no_json() -> None:
    assert refused(b'{"model": "m", "messages": [], "x": "\\ud8"}').code == "invalid_json"


def test_a_byte_order_mark_is_passed_over() -> None:
    body = b'\xef\xbb\xbf{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    request, _ = chat_request(body)
    assert request.model == "m"


@pytest.mark.parametrize(
    ("field", "param", "code", "words"),
    [
        ({"reasoning_effort": "huge"}, "reasoning_effort", "invalid_value", "'huge'"),
        ({"verbosity": "loud"}, "verbosity", "invalid_value", "'loud'"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value", "'xml'"),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
            "does not match pattern",
        ),
        (
            {"metadata": {f"{n}": "x" for n in range(17)}},
            "metadata",
            "object_above_max_properties",
            "at most 16 properties",
        ),
        ({"messages": [HI, {"role": "king", "content": "x"}]}, "messages[1].role", "invalid_value", "'king'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}]}]},
            "messages[0].content[0].type",
            "invalid_value",
            "'hologram'",
        ),
    ],
)
def test_a_value_of_the_right_type_that_is_not_among_the_allowed_ones_is_no_wrong_type(
    field: dict[str, Any], param: str, code: str, words: str
) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]} | field
    error = refused(body)
    assert (error.param, error.code) == (param, code)
    assert words in error.message
