"""A new access token, by refresh token or by session (protocol.md 8).

Rules:
* generators of commands, like the handshake;
* what refuses the credential itself is a DeadCredentialError, with a reason that is one of our own words; everything
  else is transient, because a person would have to log in again for an account that is given up by mistake;
* a refresh token is good with one client id only (8.1). Where that one is not known for sure, a refusal that may just
  as well mean the id leads to the next one, and only what all of them refuse is dead. Asking with a wrong one costs the
  token nothing.
"""

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from pow import ClientProfile
from shim.chatgpt.oauth import (
    SESSION_COOKIE,
    WEB,
    clients_of_form,
    refresh_body,
    refresh_decoder,
    refusal_decoder,
    session_decoder,
)
from shim.chatgpt.token import Claims, Guarded, masked_mail, read_claims
from shim.errors import About, CredentialError, Evidence, GatewayError, LimitError, Sent, UpstreamError
from shim.protocol.commands import Handshake, HttpReply, HttpRequest, ask
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
        why = f"{reason}: {_MEANINGS[reason]}" if reason in _MEANINGS else reason
        super().__init__(f"The account's credential is no longer accepted upstream ({why})")
        self.reason = reason
        self.maybe_late = maybe_late


class WrongAddressError(UpstreamError):
    """Whatever answers there does not renew tokens. That is no account's fault, and asking again does not help: the
    operator has to change `setting`."""

    code = "renewal_address"
    about = About.TOKEN  # an account that needs no renewal can still serve
    sent = Sent.DECLINED
    transient = False

    def __init__(self, url: str, status: int, setting: str) -> None:
        host = urlsplit(url).netloc.rpartition("@")[2]
        super().__init__(
            f"The log-in server {host} answered {status} and is not where access tokens are renewed: see {setting}"
        )


class RenewedTokens(Guarded, frozen=True):
    """What a renewal brought. None leaves what there was; times are in seconds since 1970.

    `client_id` is the one that the refresh token was good with. `refused` is why the refresh token was refused, where
    the session then served instead: it must not be sent again.
    """

    access_token: str
    refresh_token: str | None = None
    session_token: str | None = None
    expires: float | None = None
    user: str | None = None
    plan: str | None = None
    refused: str | None = None
    client_id: str | None = None
    mail: str | None = None


class Renewable(Protocol):
    """What is needed of an account."""

    @property
    def refresh_token(self) -> str | None:
        """The newest one."""

    @property
    def session_token(self) -> str | None:
        """The newest one; a chunked cookie's pieces are joined."""

    @property
    def client_id(self) -> str | None:
        """The application the refresh token is said to belong to."""

    @property
    def client_sure(self) -> bool:
        """Whether a renewal has shown that it does."""


class TokenEndpoints(msgspec.Struct, frozen=True):
    """Where to renew: the token endpoint, the origin whose sessions count, how we introduce ourselves, and the client
    id that the operator expects refresh tokens to have ("": none)."""

    oauth_url: str
    origin: str
    profile: ClientProfile
    client_id: str = ""


def renewal_of(account: Renewable, places: TokenEndpoints, now: float) -> Handshake[RenewedTokens]:
    """By refresh token where there is one, else (or where that one is dead) by session.

    `now` is in seconds since 1970. Raises DeadCredentialError where nothing is left, GatewayError where it may work
    later.
    """
    refused = None
    if account.refresh_token is not None:
        try:
            clients = clients_of(account, places.client_id)
            return (yield from renew_by_refresh(account.refresh_token, clients, places.oauth_url, places.profile, now))
        except DeadCredentialError as error:
            if account.session_token is None:
                raise
            # Kept with what the session brings: that refresh token must not be sent again.
            refused = error.reason
    if account.session_token is None:
        raise DeadCredentialError("not_renewable")
    fresh = yield from renew_by_session(account.session_token, places.origin, places.profile)
    return msgspec.structs.replace(fresh, refused=refused)


def clients_of(account: Renewable, expected: str = "") -> tuple[str, ...]:
    """The client ids to try, each once: the account's own, the one the operator expects, then those that the refresh
    token's form allows. What came with a token may be wrong as well, so it is alone only once it has been good."""
    if account.client_sure and account.client_id is not None:
        return (account.client_id,)
    guesses = (account.client_id, expected, *clients_of_form(account.refresh_token or ""))
    return tuple(dict.fromkeys(guess for guess in guesses if guess and guess != WEB))


def renew_by_refresh(
    refresh_token: str, clients: Sequence[str], oauth_url: str, profile: ClientProfile, now: float
) -> Handshake[RenewedTokens]:
    """The token endpoint, asked with one of `clients` after the other for as long as the id may be what is wrong. A
    token that says nothing of its end is taken to end `expires_in` seconds after `now`."""
    for left, client_id in zip(range(len(clients) - 1, -1, -1), clients, strict=True):
        content_type, body = refresh_body(refresh_token, client_id)
        reply = yield from ask(HttpRequest("POST", oauth_url, _headers(profile) | {"content-type": content_type}, body))
        if left and _dead_reason(reply) in _MAYBE_CLIENT:
            continue
        if _is_elsewhere(reply):
            raise WrongAddressError(oauth_url, reply.status, "OAUTH_URL")
        if reply.status != 200:
            raise _refusal(reply)
        answer = _decoded(refresh_decoder, reply)
        if not answer.access_token:
            raise _refusal(reply)
        ends = None if answer.expires_in is None else now + answer.expires_in
        # One that no header could carry would be kept for nothing, and the account lost with it.
        rotated = answer.refresh_token if answer.refresh_token and _SENDABLE.fullmatch(answer.refresh_token) else None
        fresh = _fresh(answer.access_token, ends=ends, refresh_token=rotated)
        return msgspec.structs.replace(fresh, client_id=client_id)
    raise DeadCredentialError("not_renewable")


def renew_by_session(session_token: str, origin: str, profile: ClientProfile) -> Handshake[RenewedTokens]:
    """The session endpoint: it answers 200 even where nobody is logged in."""
    # One cookie, or for a long token the pieces a browser would hold: no cookie is longer than 4096 bytes.
    pieces = [session_token[begin : begin + _COOKIE_CHUNK] for begin in range(0, len(session_token), _COOKIE_CHUNK)]
    cookies = [f"{SESSION_COOKIE}.{number}={piece}" for number, piece in enumerate(pieces)]
    if len(pieces) <= 1:
        cookies = [f"{SESSION_COOKIE}={session_token}"]
    headers = _headers(profile) | {"cookie": "; ".join(cookies), "referer": f"{origin}/"}
    reply = yield from ask(HttpRequest("GET", f"{origin}/api/auth/session", headers))
    if _is_elsewhere(reply):
        raise WrongAddressError(origin, reply.status, "CHATGPT_BASE_URL")
    if reply.status != 200:
        raise _refusal(reply)
    answer = _decoded(session_decoder, reply)
    if answer.error == SESSION_FAILED:  # an access token beside it is the old one
        raise DeadCredentialError(SESSION_FAILED)
    if not answer.access_token:
        # `{}`: nothing about anybody. (An error of another kind, or a user without a token, may pass.)
        says_nothing = answer.user is None and answer.error is None and answer.detail is None
        raise DeadCredentialError(NOT_LOGGED_IN) if says_nothing else _refusal(reply)
    user = answer.user.id if answer.user else None
    fresh = _fresh(answer.access_token, user=user, session_token=_new_session(reply.headers))
    return msgspec.structs.replace(fresh, mail=fresh.mail or masked_mail(answer.user.email if answer.user else None))


# --- what is sent -----------------------------------------------------------------------------------------------------


def _headers(profile: ClientProfile) -> dict[str, str]:
    return {"accept": _JSON, "accept-language": profile.languages, "user-agent": profile.user_agent}


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
        mail=claims.mail,
    )


def _new_session(headers: dict[str, str]) -> str | None:
    """The session in Set-Cookie (several are separated by newlines): whole, or in pieces that begin at `.0`."""
    cookies: dict[str, str] = {}
    for line in headers.get("set-cookie", "").split("\n"):
        name, _, value = line.partition(";")[0].partition("=")
        value = value.strip().strip('"')
        # One that sets nothing takes a cookie away, which leaves us with the one we have.
        if _COOKIE_VALUE.fullmatch(value):
            cookies[name.strip()] = value
    if whole := cookies.get(SESSION_COOKIE):
        return whole
    pieces: list[str] = []
    while piece := cookies.get(f"{SESSION_COOKIE}.{len(pieces)}"):
        pieces.append(piece)
    return "".join(pieces) or None


def _decoded(decoder: "msgspec.json.Decoder[T]", reply: HttpReply) -> T:
    try:
        return decoder.decode(reply.body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested beyond the decoder's depth
        raise _broken(reply) from error


# --- what says no -----------------------------------------------------------------------------------------------------


def _refusal(reply: HttpReply) -> GatewayError:
    """Dead by its code, else something that may pass. Upstream's own sentences are not repeated: here they are about
    tokens."""
    if reason := _dead_reason(reply):
        dead = DeadCredentialError(reason, maybe_late=reason in _MAYBE_LATE)
        return dead.witnessed(Evidence(reply.status, reason))
    error = refusal_of(reply.status, reply.headers, reply.body)
    if isinstance(error, LimitError):
        limit = LimitError(
            "Upstream limits how often access tokens are renewed",
            retry_after=error.retry_after,
            resets_at=error.resets_at,
        )
        return limit.witnessed(Evidence(reply.status, header=error.evidence.header if error.evidence else ""))
    return error if error.about is About.ADDRESS else _broken(reply).witnessed(Evidence(reply.status))


def _is_elsewhere(reply: HttpReply) -> bool:
    """Whether this is an answer of something else than the log-in server. An outage has pages, too, and the page of a
    browser check tells that the address is right."""
    # The old host has answered 404 since 2025-07-04 (8).
    if reply.status in {404, 405}:
        return True
    is_page = reply.headers.get("content-type", "").lower().startswith("text/html")
    if not is_page or reply.status >= 500 or reply.status == 429:
        return False
    return refusal_of(reply.status, reply.headers, reply.body).about is not About.ADDRESS


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


# What is said of a token that is unknown: to this client, too.
# Nobody has published what a wrong client id is answered with, so these may mean that (8.1, 10).
_MAYBE_CLIENT = frozenset({"invalid_grant", "access_denied", "token_expired"})
_MAYBE_LATE = frozenset({"refresh_token_reused", "invalid_grant", "token_expired"})
_MEANINGS = {
    "refresh_token_reused": "it has been used before, here or by another program that renews it too; each is good once",
    "refresh_token_invalidated": "its log-in has been ended, by a person or because one of its tokens was used twice",
    "refresh_token_expired": "its time is over",
}
# 200 too: the session endpoint says so in its body (8).
_DECIDING = frozenset({200, 400, 401, 403})
_DEAD = frozenset(
    {
        "invalid_grant",
        "access_denied",
        "token_expired",
        "refresh_token_reused",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "account_deactivated",
    }
)
_SENDABLE = re.compile(r"[\x21-\x7e]{1,16384}")
_COOKIE_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+")  # RFC 6265 4.1.1, cookie-octet
