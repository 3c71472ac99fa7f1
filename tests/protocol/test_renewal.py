"""Renewals as narrated conversations: what is asked, what upstream answers, what is made of it (protocol.md 8)."""

import base64
import json
from urllib.parse import parse_qsl

import pytest

from pow import ClientProfile
from shim.accounts.account import Account
from shim.apis.openai_errors import envelope
from shim.errors import DeadlineError, GatewayError, LimitError, RefusedError, UpstreamError
from shim.protocol.commands import HttpReply, Send
from shim.protocol.turn.renewal import (
    DeadCredentialError,
    RenewedTokens,
    TokenEndpoints,
    WrongAddressError,
    clients_of,
    renew_by_refresh,
    renew_by_session,
    renewal_of,
)

PROFILE = ClientProfile(user_agent="Test/1.0")
AUTH = "https://auth.openai.com/oauth/token"
MOBILE = "app_LlGpXReQgckcGGUo2JrYvtJK"
CODEX = "app_EMoamEEZ73f0CkXaXp7hrann"
PLATFORM = "app_2SKx67EdpoN0G6j64rFvigXD"
OLD = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
WEB = "app_X8zY6vW2pQ9tR3dE7nK1jL5gH"
ORIGIN = "https://chatgpt.com"
COOKIE = "__Secure-next-auth.session-token"
NOW = 1_800_000_000.0
SECRET = "v1." + "s3cret" * 7
SESSION = "eyJhbGciOiJkaXIifQ..iv.sealed.tag"


def token(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.sig"


JWT = token(exp=NOW + 864_000, iat=NOW, sub="auth0|x", **{"https://api.openai.com/auth": {"chatgpt_plan_type": "plus"}})


class Playbook:
    """`Playbook(renewal) >> request checks << reply`: each side in turn, like a page of protocol.md."""

    def __init__(self, renewal):
        self.renewal = renewal
        self.result = None
        self.request = next(renewal).request

    def __lshift__(self, reply):
        try:
            command = self.renewal.send(reply)
        except StopIteration as done:
            self.request, self.result = None, done.value
        else:
            assert isinstance(command, Send)
            self.request = command.request
        return self


def reply(body, status=200, **headers):
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status, {"content-type": "application/json"} | named, encoded)


def by_refresh(*clients, token=SECRET):
    return Playbook(renew_by_refresh(token, clients or (OLD,), AUTH, PROFILE, NOW))


def client_in(request):
    """The client id that a renewal was asked with, in whichever form."""
    if request.headers["content-type"] == "application/json":
        return json.loads(request.body)["client_id"]
    return dict(parse_qsl(request.body.decode()))["client_id"]


def by_session(session=SESSION):
    return Playbook(renew_by_session(session, ORIGIN, PROFILE))


# --- refresh token ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [MOBILE, OLD])
def test_the_request_of_the_mobile_applications(client):
    request = by_refresh(client).request
    assert (request.method, request.url) == ("POST", AUTH)
    assert json.loads(request.body) == {
        "grant_type": "refresh_token",
        "client_id": client,
        "redirect_uri": "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback",
        "refresh_token": SECRET,
    }
    assert request.headers["content-type"] == request.headers["accept"] == "application/json"
    assert request.headers["user-agent"] == "Test/1.0"
    assert not {"authorization", "cookie"} & set(request.headers)


@pytest.mark.parametrize("client", [CODEX, PLATFORM, "app_ofsomebodyelse"])
def test_the_request_of_the_others_is_a_form(client):
    request = by_refresh(client, token="rt_a+b/c=&d").request
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(request.body.decode(), strict_parsing=True)) == {
        "grant_type": "refresh_token",
        "client_id": client,
        "refresh_token": "rt_a+b/c=&d",
        "scope": "openid profile email",
    }


# --- which client id --------------------------------------------------------------------------------------------------

RT = "rt_" + "n" * 60


@pytest.mark.parametrize(
    ("account", "expected", "clients"),
    [
        (Account("a", refresh_token=RT), "", (MOBILE, CODEX)),
        (Account("a", refresh_token="n" * 45), "", (OLD, MOBILE, CODEX)),
        (Account("a", refresh_token=SECRET), "", (OLD, MOBILE, CODEX)),
        (Account("a", refresh_token=RT), PLATFORM, (PLATFORM, MOBILE, CODEX)),
        (Account("a", refresh_token=RT), CODEX, (CODEX, MOBILE)),
        (Account("a", refresh_token=RT, client_id=CODEX), PLATFORM, (CODEX, PLATFORM, MOBILE)),
        (Account("a", refresh_token=RT, client_id=WEB), "", (MOBILE, CODEX)),
        (Account("a", refresh_token=RT, client_id=CODEX, client_sure=True), PLATFORM, (CODEX,)),
    ],
)
def test_the_first_that_is_known_then_the_form(account, expected, clients):
    assert clients_of(account, expected) == clients


NOT_THIS_CLIENT = [
    reply({"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}, 403),
    reply({"error": "access_denied"}, 401),
    reply({"error": {"message": "m", "code": "token_expired"}}, 401),
]


@pytest.mark.parametrize("no", NOT_THIS_CLIENT)
def test_a_wrong_client_id_is_followed_by_the_next_and_what_worked_is_told(no):
    book = by_refresh(OLD, MOBILE, CODEX)
    assert client_in(book.request) == OLD
    assert client_in((book << no).request) == MOBILE
    assert client_in((book << no).request) == CODEX
    assert (book << reply({"access_token": JWT})).result.client_id == CODEX


@pytest.mark.parametrize("no", NOT_THIS_CLIENT)
def test_dead_is_what_every_client_id_refuses(no):
    book = by_refresh(MOBILE, CODEX) << no
    with pytest.raises(DeadCredentialError):
        book << no


@pytest.mark.parametrize("code", ["refresh_token_reused", "refresh_token_expired", "refresh_token_invalidated"])
def test_what_speaks_of_the_token_itself_ends_the_search(code):
    with pytest.raises(DeadCredentialError) as caught:
        by_refresh(MOBILE, CODEX) << reply({"error": {"code": code}}, 401)
    assert caught.value.reason == code
    assert f"({code}: it" in caught.value.message  # reuse and revocation are told apart, in words


def test_an_outage_ends_the_search_too():
    book = by_refresh(MOBILE, CODEX) << NOT_THIS_CLIENT[0]
    with pytest.raises(UpstreamError):
        book << reply(b"", 503)


PAGE = {"content_type": "text/html; charset=utf-8"}


@pytest.mark.parametrize(
    "answer",
    [reply(b"", 404), reply({"detail": "Not Found"}, 405), reply(b"<html>", **PAGE), reply(b"<html>", 403, **PAGE)],
)
def test_a_wrong_address_is_told_as_such(answer):
    for book, setting, host in (
        (by_refresh(MOBILE, CODEX), "OAUTH_URL", "auth.openai.com"),
        (by_session(), "CHATGPT_BASE_URL", "chatgpt.com"),
    ):
        with pytest.raises(WrongAddressError) as caught:
            book << answer
        assert (caught.value.http_status, caught.value.transient) == (502, False)
        assert setting in caught.value.message
        assert host in caught.value.message


def test_a_new_access_token_and_its_claims():
    book = by_refresh() << reply({"access_token": JWT, "id_token": "x", "token_type": "Bearer", "expires_in": 5})
    assert book.result == RenewedTokens(JWT, expires=NOW + 864_000, user="auth0|x", plan="plus", client_id=OLD)


def test_a_rotated_refresh_token_comes_along():
    book = by_refresh() << reply({"access_token": JWT, "refresh_token": "rt_" + "n" * 90})
    assert book.result.refresh_token == "rt_" + "n" * 90


@pytest.mark.parametrize("nothing", [None, "", "with space", "new\nline"])
def test_what_is_no_refresh_token_replaces_none(nothing):
    assert (by_refresh() << reply({"access_token": JWT, "refresh_token": nothing})).result.refresh_token is None


@pytest.mark.parametrize("seconds", [864_000, "864000", 864_000.0])
def test_a_token_that_does_not_say_when_it_ends(seconds):
    for opaque in (token(sub="x"), "opaque-token"):
        fresh = (by_refresh() << reply({"access_token": opaque, "expires_in": seconds})).result
        assert fresh.expires == NOW + 864_000


def test_nobody_says_when_it_ends():
    assert (by_refresh() << reply({"access_token": "opaque-token"})).result.expires is None


DEAD_BODIES = [
    ({"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}, "invalid_grant"),
    ({"error": "access_denied", "error_description": "Unauthorized"}, "access_denied"),
    ({"error": {"message": "m", "code": "token_expired"}}, "token_expired"),
    (
        {"error": {"message": "m", "type": "invalid_request_error", "code": "refresh_token_reused"}},
        "refresh_token_reused",
    ),
    ({"error": {"message": "m", "code": "refresh_token_expired"}}, "refresh_token_expired"),
    ({"error": {"message": "m", "code": "refresh_token_invalidated"}}, "refresh_token_invalidated"),
    ({"detail": {"message": "m", "code": "account_deactivated"}}, "account_deactivated"),
    ({"error": {"code": "account_deactivated"}}, "account_deactivated"),
]


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(("body", "reason"), DEAD_BODIES)
def test_what_is_dead(body, reason, status):
    with pytest.raises(DeadCredentialError) as caught:
        by_refresh() << reply(body, status)
    assert caught.value.reason == reason
    assert (caught.value.http_status, caught.value.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (reply({"error": {"message": "m", "code": "refresh_token_new_word"}}, 401), UpstreamError, "renewal_failed"),
        (reply({"error": "invalid_client"}, 401), UpstreamError, "renewal_failed"),
        (reply({"error": ["invalid_grant"]}, 400), UpstreamError, "renewal_failed"),
        (reply({"detail": "Unauthorized"}, 401), UpstreamError, "renewal_failed"),
        (reply({"error": {"code": "missing_required_parameter"}}, 400), UpstreamError, "renewal_failed"),
        (reply(b"<html>", 502), UpstreamError, "upstream_502"),
        (reply({"error": "invalid_grant"}, 503), UpstreamError, "upstream_503"),
        (reply({"error": "access_denied"}, 429), LimitError, "rate_limit_exceeded"),
        (reply(b"Just a moment...", 403, content_type="text/html"), RefusedError, "cf-please-wait"),
        (reply(b"\xff\xfe"), UpstreamError, "renewal_failed"),
        (reply(b"[" * 5000), UpstreamError, "renewal_failed"),
        (reply([]), UpstreamError, "renewal_failed"),
        (reply({}), UpstreamError, "renewal_failed"),
        (reply({"access_token": "to\nken"}), UpstreamError, "renewal_malformed"),
    ],
)
def test_what_may_pass(answer, kind, code):
    with pytest.raises(GatewayError) as caught:
        by_refresh() << answer
    assert type(caught.value) is kind
    assert caught.value.code == code


def test_a_limit_says_until_when():
    with pytest.raises(LimitError) as caught:
        by_refresh() << reply({"error": "slow down"}, 429, retry_after="17")
    assert caught.value.retry_after == 17


# --- session ----------------------------------------------------------------------------------------------------------


def session_answer(**more):
    return {"user": {"id": "user-1", "email": "e"}, "expires": "2026-01-01T00:00:00.000Z", "accessToken": JWT} | more


def test_the_session_request():
    request = by_session().request
    assert (request.method, request.url, request.body) == ("GET", f"{ORIGIN}/api/auth/session", b"")
    assert request.headers["cookie"] == f"{COOKIE}={SESSION}"
    assert "authorization" not in request.headers


def test_a_long_session_goes_in_several_cookies():
    long = SESSION + "t" * 8000
    pieces = [piece.partition("=") for piece in by_session(long).request.headers["cookie"].split("; ")]
    assert [name for name, _, _ in pieces] == [f"{COOKIE}.0", f"{COOKIE}.1", f"{COOKIE}.2"]
    assert "".join(value for _, _, value in pieces) == long
    assert all(len(name) + len(value) < 4096 for name, _, value in pieces)


def test_a_session_gives_an_access_token():
    assert (by_session() << reply(session_answer())).result == RenewedTokens(
        JWT, expires=NOW + 864_000, user="auth0|x", plan="plus"
    )
    opaque = (by_session() << reply(session_answer(accessToken="opaque"))).result
    assert (opaque.user, opaque.expires) == ("user-1", None)


@pytest.mark.parametrize(
    ("lines", "session"),
    [
        ([f"{COOKIE}=new.one; Path=/; Expires=Thu, 01 Jan 2026 00:00:00 GMT; HttpOnly"], "new.one"),
        (["a=b; Path=/", f"{COOKIE}=new", "__Host-next-auth.csrf-token=x"], "new"),
        ([f'{COOKIE}="quoted"; Path=/'], "quoted"),
        ([f"{COOKIE}.1=two; Path=/", f"{COOKIE}.0=one; Path=/", f"{COOKIE}=; Max-Age=0"], "onetwo"),
        ([f"{COOKIE}=whole", f"{COOKIE}.0=; Max-Age=0"], "whole"),
        ([f"{COOKIE}.1=two"], None),
        ([f"{COOKIE}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], None),
        ([f"{COOKIE}=a b"], None),
        (["nonsense", ""], None),
        ([], None),
    ],
)
def test_the_new_cookie(lines, session):
    book = by_session() << reply(session_answer(), set_cookie="\n".join(lines))
    assert book.result.session_token == session


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "not_logged_in"),
        ({"WARNING_BANNER": "do not share"}, "not_logged_in"),
        (session_answer(error="RefreshAccessTokenError"), "RefreshAccessTokenError"),
        ({"error": "RefreshAccessTokenError"}, "RefreshAccessTokenError"),
        ({"detail": {"code": "account_deactivated"}}, "account_deactivated"),
    ],
)
def test_a_session_that_is_over(body, reason):
    with pytest.raises(DeadCredentialError) as caught:
        by_session() << reply(body)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "answer",
    [
        reply({"error": "SomethingElse"}),
        reply({"user": {"id": "user-1"}}),
        reply({"detail": "Unauthorized"}, 401),
        reply(b"<html>", 500),
        reply(b"null"),
    ],
)
def test_a_session_that_may_come_back(answer):
    with pytest.raises(UpstreamError):
        by_session() << answer


# --- which of the two -------------------------------------------------------------------------------------------------

PLACES = TokenEndpoints(AUTH, ORIGIN, PROFILE)
SURE = {"client_id": OLD, "client_sure": True}


def test_the_refresh_token_comes_first():
    book = Playbook(renewal_of(Account("a", refresh_token=SECRET, session_token=SESSION), PLACES, NOW))
    assert book.request.url == AUTH
    assert (book << reply({"access_token": JWT})).result.refused is None


def test_a_dead_refresh_token_leaves_the_session():
    book = Playbook(renewal_of(Account("a", refresh_token=SECRET, session_token=SESSION, **SURE), PLACES, NOW))
    book << reply({"error": "invalid_grant"}, 403)
    assert book.request.url == f"{ORIGIN}/api/auth/session"
    assert (book << reply(session_answer())).result.refused == "invalid_grant"


def test_an_outage_does_not_leave_the_session_to_it():
    book = Playbook(renewal_of(Account("a", refresh_token=SECRET, session_token=SESSION), PLACES, NOW))
    with pytest.raises(UpstreamError):
        book << reply(b"", 503)


def test_a_session_alone():
    book = Playbook(renewal_of(Account("a", session_token=SESSION), PLACES, NOW))
    assert book.request.url == f"{ORIGIN}/api/auth/session"


def test_an_account_that_can_not_be_renewed():
    with pytest.raises(DeadCredentialError) as caught:
        Playbook(renewal_of(Account("a", access_token=JWT), PLACES, NOW))
    assert caught.value.reason == "not_renewable"


def test_a_refresh_token_alone_that_is_dead():
    book = Playbook(renewal_of(Account("a", refresh_token=SECRET, **SURE), PLACES, NOW))
    with pytest.raises(DeadCredentialError):
        book << reply({"error": "invalid_grant"}, 403)


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        {"error": SECRET},
        {"error": {"code": SECRET, "message": SECRET}},
        {"detail": f"no {SECRET}"},
        {"error": "invalid_grant", "error_description": SECRET},
    ],
)
def test_no_error_repeats_a_token(body, status):
    with pytest.raises(GatewayError) as caught:
        by_refresh() << reply(body, status)
    assert SECRET not in f"{caught.value} {envelope(caught.value)!r} {getattr(caught.value, 'reason', '')}"


def test_deadlines_are_the_drivers():
    assert issubclass(DeadlineError, UpstreamError)  # a renewal that took too long may be tried again
