"""A new access token, by refresh token or by session (protocol.md 8).

Rule: generators of commands, like the handshake. What refuses the credential itself is a DeadCredentialError, with a
reason that is one of our own words; everything else is transient, because a person would have to log in again for an
account that is given up by mistake.
"""

import re
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from pow import ClientProfile
from shim.chatgpt.oauth import (
    CLIENT_ID,
    SESSION_COOKIE,
    RefreshRequest,
    SessionAnswer,
    refresh_decoder,
    refresh_encoder,
    refusal_decoder,
    session_decoder,
)
from shim.chatgpt.token import Claims, Guarded, read_claims
from shim.errors import About, CredentialError, GatewayError, LimitError, UpstreamError
from shim.protocol.commands import Handshake, HttpReply, HttpRequest, Send
from shim.protocol.refusals import refusal_of

T = TypeVar("T")

NOT_LOGGED_IN = "not_logged_in"
SESSION_FAILED = "RefreshAccessTokenError"

_COOKIE_CHUNK = 3933  # characters next-auth puts into one cookie before it begins `.0`, `.1`, ...
_JSON = "application/json"


class DeadCredentialError(CredentialError):
    """Upstream takes this credential no more, whenever asked. `reason` is a fixed word, safe to show and to keep.
    `maybe_late` tells that upstream also says so to the slower of two who sent the same refresh token."""

    def __init__(self, reason: str, *, maybe_late: bool = False) -> None:
        super().__init__(f"The account's credential is no longer accepted upstream ({reason})")
        self.reason = reason
        self.maybe_late = maybe_late


class RenewedTokens(Guarded, frozen=True):
    """What a renewal brought. None leaves what there was; times are in seconds since 1970.

    `refused` is why the refresh token was refused, where the session then served instead: it must not be sent again.
    """

    access_token: str
    refresh_token: str | None = None
    session_token: str | None = None
    expires: float | None = None
    user: str | None = None
    plan: str | None = None
    refused: str | None = None


class Renewable(Protocol):
    """What is needed of an account."""

    @property
    def refresh_token(self) -> str | None:
        """The newest one."""

    @property
    def session_token(self) -> str | None:
        """The newest one; a chunked cookie's pieces are joined."""


class TokenEndpoints(msgspec.Struct, frozen=True):
    """Where to renew: the token endpoint, the origin whose sessions count, and how we introduce ourselves."""

    oauth_url: str
    origin: str
    profile: ClientProfile


def renewal_of(account: Renewable, places: TokenEndpoints, now: float) -> Handshake[RenewedTokens]:
    """By refresh token where there is one, else (or where that one is dead) by session.

    `now` is in seconds since 1970. Raises DeadCredentialError where nothing is left, GatewayError where it may work
    later.
    """
    refused = None
    if account.refresh_token is not None:
        try:
            return (yield from renew_by_refresh(account.refresh_token, places.oauth_url, places.profile, now))
        except DeadCredentialError as error:
            if account.session_token is None:
                raise
            refused = error.reason
    if account.session_token is None:
        raise DeadCredentialError("not_renewable")
    fresh = yield from renew_by_session(account.session_token, places.origin, places.profile)
    return msgspec.structs.replace(fresh, refused=refused)


def renew_by_refresh(
    refresh_token: str, oauth_url: str, profile: ClientProfile, now: float
) -> Handshake[RenewedTokens]:
    """The token endpoint. A token that says nothing of its end is taken to end `expires_in` seconds after `now`."""
    reply = yield Send(_refresh_request(refresh_token, oauth_url, profile))
    assert isinstance(reply, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    if reply.status != 200:
        raise _refusal(reply)
    answer = _decoded(refresh_decoder, reply)
    if not answer.access_token:
        raise _refusal(reply)
    ends = None if answer.expires_in is None else now + answer.expires_in
    return _fresh(answer.access_token, ends=ends, refresh_token=_sendable(answer.refresh_token))


def renew_by_session(session_token: str, origin: str, profile: ClientProfile) -> Handshake[RenewedTokens]:
    """The session endpoint: it answers 200 even where nobody is logged in."""
    reply = yield Send(_session_request(session_token, origin, profile))
    assert isinstance(reply, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    if reply.status != 200:
        raise _refusal(reply)
    answer = _decoded(session_decoder, reply)
    if answer.error == SESSION_FAILED:  # an access token beside it is the old one
        raise DeadCredentialError(SESSION_FAILED)
    if not answer.access_token:
        raise DeadCredentialError(NOT_LOGGED_IN) if _is_logged_out(answer) else _refusal(reply)
    user = answer.user.id if answer.user else None
    return _fresh(answer.access_token, user=user, session_token=_new_session(reply.headers))


# --- what is sent -----------------------------------------------------------------------------------------------------


def _refresh_request(refresh_token: str, oauth_url: str, profile: ClientProfile) -> HttpRequest:
    host = "auth.openai.com" if _NEWER_HOST.match(oauth_url) else "auth0.openai.com"
    redirect = f"com.openai.chat://{host}/ios/com.openai.chat/callback"
    body = refresh_encoder.encode(RefreshRequest("refresh_token", CLIENT_ID, redirect, refresh_token))
    return HttpRequest("POST", oauth_url, _headers(profile) | {"content-type": _JSON}, body)


def _session_request(session_token: str, origin: str, profile: ClientProfile) -> HttpRequest:
    headers = _headers(profile) | {"cookie": "; ".join(_cookies(session_token)), "referer": f"{origin}/"}
    return HttpRequest("GET", f"{origin}/api/auth/session", headers)


def _headers(profile: ClientProfile) -> dict[str, str]:
    return {"accept": _JSON, "accept-language": profile.languages, "user-agent": profile.user_agent}


def _cookies(session_token: str) -> Iterator[str]:
    """One cookie, or for a long token the pieces a browser would hold: no cookie is longer than 4096 bytes."""
    if len(session_token) <= _COOKIE_CHUNK:
        yield f"{SESSION_COOKIE}={session_token}"
        return
    for number, begin in enumerate(range(0, len(session_token), _COOKIE_CHUNK)):
        yield f"{SESSION_COOKIE}.{number}={session_token[begin : begin + _COOKIE_CHUNK]}"


# --- what comes back --------------------------------------------------------------------------------------------------


def _fresh(
    access_token: str,
    *,
    ends: float | None = None,
    user: str | None = None,
    refresh_token: str | None = None,
    session_token: str | None = None,
) -> RenewedTokens:
    """The token's own claims count before what was said beside it."""
    if not _SENDABLE.fullmatch(access_token):
        raise UpstreamError("Upstream's new access token is malformed", code="renewal_malformed")
    try:
        claims = read_claims(access_token)
    except ValueError:
        claims = Claims()  # not a JWT: whoever made it knows how to read it
    return RenewedTokens(
        access_token,
        refresh_token,
        session_token,
        claims.expires if claims.expires is not None else ends,
        claims.user or user,
        claims.plan,
    )


def _new_session(headers: dict[str, str]) -> str | None:
    """The session in Set-Cookie (several are separated by newlines): whole, or in pieces that begin at `.0`."""
    cookies = dict(filter(None, map(_cookie, headers.get("set-cookie", "").split("\n"))))
    if whole := cookies.get(SESSION_COOKIE):
        return whole
    pieces: list[str] = []
    while piece := cookies.get(f"{SESSION_COOKIE}.{len(pieces)}"):
        pieces.append(piece)
    return "".join(pieces) or None


def _cookie(line: str) -> tuple[str, str] | None:
    """(name, value) of a Set-Cookie line; None for one that sets nothing, as when a cookie is taken away."""
    name, _, value = line.partition(";")[0].partition("=")
    value = value.strip().strip('"')
    return (name.strip(), value) if _COOKIE_VALUE.fullmatch(value) else None


def _sendable(token: str | None) -> str | None:
    return token if token is not None and _SENDABLE.fullmatch(token) else None


def _decoded(decoder: "msgspec.json.Decoder[T]", reply: HttpReply) -> T:
    try:
        return decoder.decode(reply.body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested beyond the decoder's depth
        raise _broken(reply) from error


def _is_logged_out(answer: SessionAnswer) -> bool:
    """`{}`: nothing about anybody. (An error of another kind, or a user without a token, may pass.)"""
    return answer.user is None and answer.error is None and answer.detail is None


# --- what says no -----------------------------------------------------------------------------------------------------


def _refusal(reply: HttpReply) -> GatewayError:
    """Dead by its code, else something that may pass. Upstream's own sentences are not repeated: here they are about
    tokens."""
    if reason := _dead_reason(reply):
        return DeadCredentialError(reason, maybe_late=reason in _MAYBE_LATE)
    error = refusal_of(reply.status, reply.headers, reply.body)
    if isinstance(error, LimitError):
        return LimitError(
            "Upstream limits how often access tokens are renewed",
            retry_after=error.retry_after,
            resets_at=error.resets_at,
        )
    return error if error.about is About.ADDRESS else _broken(reply)


def _dead_reason(reply: HttpReply) -> str | None:
    """The word for a credential that is over. An outage (5xx) says nothing about credentials, whatever its text."""
    if reply.status not in _DECIDING:
        return None
    try:
        refusal = refusal_decoder.decode(reply.body)
    except (ValueError, RecursionError):
        return None
    words = (_word(refusal.error), _word(refusal.detail))
    return next((word for word in words if word in _DEAD), None)


def _word(error: Any) -> str:
    match error:
        case str(word) | {"code": str(word)}:
            return word
        case _:
            return ""


def _broken(reply: HttpReply) -> GatewayError:
    code = f"upstream_{reply.status}" if reply.status >= 500 else "renewal_failed"
    return UpstreamError(f"Upstream answered the renewal with {reply.status} and no token", code=code)


_MAYBE_LATE = frozenset({"refresh_token_reused", "invalid_grant"})
_DECIDING = frozenset({200, 400, 401, 403})
_DEAD = frozenset(
    {
        "invalid_grant",
        "access_denied",
        "refresh_token_reused",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "account_deactivated",
    }
)
_NEWER_HOST = re.compile(r"https?://auth\.openai\.com(?:[:/]|$)", re.I)
_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")  # RFC 6265 4.1.1, cookie-octet
