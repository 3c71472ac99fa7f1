"""What upstream refuses and what the client is told, row by row of protocol.md 9.1 and 9.2."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.apis.openai_errors import envelope
from shim.errors import About, GatewayError, Sent
from shim.protocol.refusals import failure_of, refusal_of, turnstile_required

JSON = {"content-type": "application/json"}
NOW = 1_792_567_590.0  # Wed, 21 Oct 2026 07:26:30 GMT
HTML = {"content-type": "text/html; charset=UTF-8"}


def refused(status: int, body: object, headers: dict[str, str] | None = None) -> GatewayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal_of(status, JSON if headers is None else headers, raw)


def told(error: GatewayError) -> tuple[int, str, str | None]:
    return error.http_status, error.error_type, error.code


def detail(**fields: Any) -> dict[str, Any]:
    return {"detail": fields}


DEVICE = "Unusual activity has been detected from your device. Try again later. (6a22bbcc-fd54-43e8-a23c-5f2db5642f14)"
SYSTEMS = "Our systems have detected unusual activity coming from your system. Please try again later."
CAP = "You have sent too many messages to the model. Please try again later."
AT_A_TIME = "Only one message at a time. Please allow any other responses to complete before sending another message."
TOO_LONG = "The message you submitted was too long, please reload the conversation and submit something shorter."
EXPIRED = "Your authentication token has expired. Please try signing in again."

INVALID = (400, "invalid_request_error")
CREDENTIAL = (401, "authentication_error", "invalid_api_key")
FORBIDDEN = (403, "upstream_error", "upstream_forbidden")
LIMIT = (429, "rate_limit_error")
NO_MODEL = (404, "invalid_request_error", "model_not_found")
NO_CONVERSATION = (404, "invalid_request_error", "conversation_not_found")
LONG = (400, "invalid_request_error", "context_length_exceeded")

ROWS: list[tuple[int, Any, tuple[Any, ...]]] = [
    (400, {"detail": "Bad request"}, (*INVALID, None)),
    (400, detail(message="Bad", code="bad_thing"), (*INVALID, "bad_thing")),
    (401, {"detail": "Unauthorized"}, CREDENTIAL),
    (401, detail(message=EXPIRED, type="invalid_request_error", param=None, code="token_expired"), CREDENTIAL),
    (401, detail(message="x", code="token_invalidated"), CREDENTIAL),
    (401, detail(message="x", code="token_revoked"), CREDENTIAL),
    (401, detail(message="x", code="invalid_jwt"), CREDENTIAL),
    (401, detail(message="x", code="account_deactivated"), CREDENTIAL),
    (403, detail(message="x", code="account_deactivated"), CREDENTIAL),
    (403, {"detail": DEVICE}, FORBIDDEN),
    (403, {"detail": SYSTEMS}, FORBIDDEN),
    (403, {"detail": "Something went wrong. If this issue persists please contact us."}, FORBIDDEN),
    (404, {"detail": "Conversation not found"}, NO_CONVERSATION),
    (404, {"detail": "Can't load conversation 670e921b"}, NO_CONVERSATION),
    (404, detail(message="Can't load conversation 670e921b", code="conversation_not_found"), NO_CONVERSATION),
    (404, detail(message="..", code="model_not_found"), NO_MODEL),
    (400, detail(message="..", code="model_not_found"), NO_MODEL),
    (400, detail(message="..", code="conversation_too_large"), LONG),
    (409, detail(message="..", code="conversation_too_large"), LONG),
    (413, detail(message="..", code="conversation_too_large"), LONG),
    (413, detail(message=TOO_LONG, code="message_length_exceeds_limit"), LONG),
    (413, {"detail": "Payload too large"}, LONG),
    (400, detail(message="..", code="context_length_exceeded"), LONG),
    (400, detail(message="..", code="work_usage_limit_exceeded"), (*LIMIT, "work_usage_limit_exceeded")),
    (409, {"detail": "Only one message at a time..."}, (*LIMIT, "rate_limit_exceeded")),
    (409, {"detail": "Conflict"}, (*LIMIT, "rate_limit_exceeded")),
    (422, {"detail": "Invalid conversation body"}, (*INVALID, None)),
    (422, {"detail": [{"loc": ["body", "messages", 0], "msg": "field required", "type": "missing"}]}, (*INVALID, None)),
    (429, detail(clears_in=5400, code="model_cap_exceeded", message=CAP), (*LIMIT, "model_cap_exceeded")),
    (429, {"detail": "Too many requests in 1 hour. Try again later."}, (*LIMIT, "rate_limit_exceeded")),
    (429, {"detail": AT_A_TIME}, (*LIMIT, "rate_limit_exceeded")),
    (429, b"slow down", (*LIMIT, "rate_limit_exceeded")),
    (429, b"<html>slow down</html>", (*LIMIT, "rate_limit_exceeded")),
    (403, {"detail": "Too many requests"}, (*LIMIT, "rate_limit_exceeded")),
    (400, detail(message="No.", code="content_policy_violation"), (*INVALID, "content_policy_violation")),
    (403, detail(message="This breaks our content_policy."), (*INVALID, "content_policy_violation")),
    *[
        (status, {"detail": "Internal server error"}, (502, "upstream_error", f"upstream_{status}"))
        for status in (500, 502, 503, 504, 520, 521, 522, 523, 524)
    ],
    (503, b"<html>busy</html>", (502, "upstream_error", "upstream_503")),
    (302, b"", (502, "upstream_error", "upstream_302")),
    (204, b"", (502, "upstream_error", "upstream_204")),
    (418, {"detail": "teapot"}, (502, "upstream_error", "upstream_418")),
]


@pytest.mark.parametrize(("status", "body", "expected"), ROWS)
def test_row(status: int, body: Any, expected: tuple[Any, ...]) -> None:
    assert told(refused(status, body)) == expected


PAGES = [
    b"<html><title>Just a moment...</title></html>",
    b'<div class="cf-please-wait">',
    b'<span id="cf-spinner-please-wait">',
    b'<script src="/cdn-cgi/challenge-platform/x.js">',
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("status", [403, 503, 429])
@pytest.mark.parametrize("headers", [HTML, {"content-type": "TEXT/HTML"}])
def test_a_challenge_page(page: bytes, status: int, headers: dict[str, str]) -> None:
    error = refused(status, page, headers)
    assert told(error) == (403, "upstream_error", "cf-please-wait")
    assert "<" not in error.message


@pytest.mark.parametrize("page", PAGES)
def test_the_words_of_a_challenge_in_json_are_no_challenge(page: bytes) -> None:
    assert refused(403, {"detail": page.decode()}).code == "upstream_forbidden"


def test_html_without_a_challenge_is_judged_by_its_status_and_not_quoted() -> None:
    error = refused(403, b"<html>Access denied for you</html>", HTML)
    assert told(error) == FORBIDDEN
    assert "denied" not in error.message


# --- when to come back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clears_in", "header", "seconds"),
    [
        (5400, {}, "5400"),
        (5400, {"retry-after": "7"}, "5400"),
        (None, {"retry-after": "7"}, "7"),
        (None, {"retry-after": "0"}, "1"),
        (0.2, {}, "1"),
        (90.6, {}, "91"),
        (-5, {}, "1"),
        (10**400, {}, str(31 * 86400)),
        (None, {"retry-after": "9" * 5000}, str(31 * 86400)),
        ("5400", {}, None),
        ([], {}, None),
        (None, {}, None),
        (None, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "90"),
        (None, {"retry-after": "Wed, 21 Oct 2020 07:28:00 GMT"}, "1"),
        (None, {"retry-after": "Wed, 21 Oct 9020 07:28:00 GMT"}, str(31 * 86400)),
        (None, {"retry-after": "Wed, 41 Oct 2026 07:28:00 GMT"}, None),
        (None, {"retry-after": "-1"}, None),
        (None, {"retry-after": "soon"}, None),
        (None, {"retry-after": ""}, None),
    ],
)
def test_retry_after(clears_in: Any, header: dict[str, str], seconds: str | None) -> None:
    error = refused(429, detail(clears_in=clears_in, code="model_cap_exceeded", message=CAP), JSON | header)
    soon = seconds is None or int(seconds) <= 20  # the official SDKs would sleep through a longer one
    again = {"x-should-retry": "true" if soon else "false"}
    assert error.headers(NOW) == again | ({"retry-after": seconds} if seconds else {})


def test_a_refusal_is_not_to_be_retried() -> None:
    assert refused(403, {"detail": DEVICE}).headers(NOW) == {"x-should-retry": "false"}
    assert refused(400, {"detail": "x"}).headers(NOW) == {"x-should-retry": "false"}
    assert refused(500, {"detail": "x"}).headers(NOW) == {"x-should-retry": "true"}


# --- what of upstream's words is passed on ----------------------------------------------------------------------------


def test_upstreams_sentence_is_passed_on() -> None:
    assert refused(403, {"detail": DEVICE}).message == f"Upstream refused this request: {DEVICE}"


def test_a_list_of_complaints_is_told_by_its_first() -> None:
    complaints = [{"loc": ["body", "messages", 0], "msg": "field required"}, {"loc": ["x"], "msg": "y"}]
    assert refused(422, {"detail": complaints}).message.endswith("field required at body.messages.0")


def test_a_long_sentence_is_cut() -> None:
    assert len(refused(400, {"detail": "long " * 1000}).message) < 400


JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLXgifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
SECRETS = {
    "a JWT": JWT,
    "a JWT without a signature": JWT.rpartition(".")[0] + ".",
    "a JWT's head": JWT.partition(".")[0],
    "a requirement token": "gAAAAABo-x_7Qk3/9a+Zz==",
    "a proof": "gAAAAABWzMwMDAsIk1vbiBKYW4gMDEgMjAyNCAwMDowMDowMCBHTVQtMDUwMCAoRWFzdGVybik=",
    "a refresh token": "v1_MjQzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3",
    "a long random word": "x" * 60,
    "a short key": "sk-proj-abcDEF0123456789",
    "a short refresh token": "rt_abcDEF0123456789.xyz",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize(
    "around", ["Bad token {}", "{}", "({})", '"{}" is not valid', "Bearer {}, or so", "long " * 58 + "{}"]
)
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_secret_never_survives(secret: str, around: str, status: int) -> None:
    sentence = around.format(secret)
    bodies = (
        {"detail": sentence},
        detail(message=sentence, code=secret),
        detail(code=secret),
        {"detail": [{"msg": sentence, "loc": ["body", sentence]}]},
    )
    for error in [refused(status, body) for body in bodies] + [
        failure_of(sentence, secret),
        failure_of(bodies[1]["detail"]),
    ]:
        assert all(secret[start : start + 12] not in envelope(error).decode() for start in range(len(secret) - 11))


def test_nothing_of_upstreams_words_is_obeyed_by_a_terminal() -> None:
    error = refused(429, {"detail": "wait\x1b]0;owned\x07 for\r\nthe \u202ereset"})
    assert error.evidence is not None
    assert error.evidence.words.isprintable()
    assert error.message.isprintable()
    assert "wait ]0;owned  for  the  reset" in error.message


@pytest.mark.parametrize("code", ["a b", "", "x" * 65, "<script>", "naïve", 7, ["x"], None, {"a": 1}])
def test_a_code_is_a_short_word_or_nothing(code: Any) -> None:
    assert refused(400, detail(message="x", code=code)).code is None


# --- rubbish ----------------------------------------------------------------------------------------------------------

RUBBISH: list[Any] = [
    b"",
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'"detail"',
    b'{"detail": "\xff"}',
    b"[" * 9000,
    {"detail": None},
    {"detail": []},
    {"detail": [[]]},
    {"detail": [{"msg": 1, "loc": 2}]},
    {"detail": {}},
    detail(message=None, code=None),
    detail(message={"a": 1}, code=[1]),
    {"detail": 7},
    {"error": {"message": "an envelope of another kind"}},
]


@pytest.mark.parametrize("body", RUBBISH)
def test_a_body_nobody_can_read_is_judged_by_its_status(body: Any) -> None:
    assert told(refused(403, body)) == FORBIDDEN
    assert told(refused(500, body)) == (502, "upstream_error", "upstream_500")
    assert told(refused(429, body)) == (*LIMIT, "rate_limit_exceeded")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["detail", "message", "code", "clears_in", "msg", "loc"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(
    st.integers(100, 599), st.one_of(ANY_JSON.map(lambda inner: {"detail": inner}), ANY_JSON, st.binary(max_size=20))
)
def test_every_answer_becomes_an_error_a_client_can_read(status: int, body: Any) -> None:
    error = refused(status, body)
    told = json.loads(envelope(error))["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert 400 <= error.http_status <= 599
    assert error.headers(NOW)
    assert isinstance(failure_of(body), GatewayError) if not isinstance(body, bytes) else True


# --- in the stream (9.4) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        ("Something went wrong...", None, (502, "upstream_error", "upstream_error")),
        ("Something went wrong...", "odd_one", (502, "upstream_error", "odd_one")),
        ({"message": "x", "code": "inner"}, "outer", (502, "upstream_error", "inner")),
        ("Too many requests", None, (*LIMIT, "rate_limit_exceeded")),
        ("You've reached the current usage cap, a rate limit", None, (*LIMIT, "rate_limit_exceeded")),
        ({"message": CAP, "code": "model_cap_exceeded", "clears_in": 60}, None, (*LIMIT, "model_cap_exceeded")),
        ("x", "conversation_too_large", LONG),
        ("x", "model_not_found", NO_MODEL),
        ("x", "token_expired", CREDENTIAL),
        (None, "content_policy_violation", (*INVALID, "content_policy_violation")),
        (None, None, (502, "upstream_error", "upstream_error")),
        (True, 5, (502, "upstream_error", "upstream_error")),
    ],
)
def test_an_error_in_the_stream(error: Any, code: Any, expected: tuple[Any, ...]) -> None:
    assert told(failure_of(error, code)) == expected


def test_the_answer_to_a_challenge_is_word_for_word_as_in_2_7() -> None:
    error = turnstile_required()
    assert error.http_status == 403
    assert json.loads(envelope(error)) == {
        "error": {
            "message": "The upstream asked for a Turnstile check, which this gateway does not perform",
            "type": "upstream_challenge",
            "param": None,
            "code": "turnstile_required",
        }
    }


@pytest.mark.parametrize(
    "moment", [1_800_000_000, 1_800_000_000_000, "2027-01-15T08:00:00+00:00", "2027-01-15T08:00:00Z"]
)
def test_a_limit_may_say_when_it_ends(moment: object) -> None:
    body = json.dumps({"detail": {"message": "x", "code": "model_cap_exceeded", "resets_at": moment}}).encode()
    error = refusal_of(429, {}, body)
    assert error.resets_at == 1_800_000_000
    assert error.headers(1_799_999_990.0)["retry-after"] == "10"
    assert error.retry_after is None, "several waiters may hold it, each at a time of its own"


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [(0, 1.0), (-5, 1.0), (NOW - 3600, 1.0), (1e308, 31 * 86400.0), (10**400, 31 * 86400.0), (-(10**400), 1.0)],
)
def test_a_limit_that_ends_at_an_absurd_time_is_kept_within_bounds(moment: float, seconds: float) -> None:
    body = json.dumps({"detail": {"message": "x", "code": "model_cap_exceeded", "resets_at": moment}}).encode()
    assert refusal_of(429, {}, body).retry_in(NOW) == seconds


@pytest.mark.parametrize(
    ("status", "said", "about", "sent"),
    [
        (400, "x", About.REQUEST, Sent.DECLINED),
        (400, {"message": "x", "code": "content_policy_violation"}, About.CONTENT, Sent.DECLINED),
        (401, {"message": "x", "code": "token_revoked"}, About.TOKEN, Sent.DECLINED),
        (401, {"message": "x", "code": "account_deactivated"}, About.ACCOUNT, Sent.DECLINED),
        (403, DEVICE, About.ACCESS, Sent.DECLINED),
        (404, "x", About.UPSTREAM, Sent.MAYBE_TAKEN),
        (429, "x", About.ACCOUNT, Sent.DECLINED),
        (429, "Only one message at a time. Please wait.", About.TURNS, Sent.DECLINED),
        (429, {"message": CAP, "code": "model_cap_exceeded"}, About.MODEL, Sent.DECLINED),
        (500, "x", About.ORIGIN, Sent.DECLINED),
        (505, "x", About.UPSTREAM, Sent.DECLINED),
        (522, "x", About.ORIGIN, Sent.DECLINED),
        (600, "x", About.UPSTREAM, Sent.MAYBE_TAKEN),
    ],
)
def test_what_upstream_said_becomes_facts(status: int, said: object, about: About, sent: Sent) -> None:
    error = refused(status, {"detail": said})
    assert (error.about, error.sent) == (about, sent)


def test_a_check_page_is_about_where_we_ask_from() -> None:
    assert refusal_of(403, HTML, b"<title>Just a moment...</title>").about is About.ADDRESS
    assert turnstile_required().about is About.CHECK


def test_a_moment_that_is_none_is_left_out() -> None:
    body = json.dumps({"detail": {"message": "x", "resets_at": "soon"}}).encode()
    assert refusal_of(429, {}, body).resets_at is None
