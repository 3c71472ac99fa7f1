"""Renewing an access token on the wire: the token endpoint and the session endpoint (protocol.md 8, 8.1)."""

from typing import Any
from urllib.parse import urlencode

import msgspec

from shim.chatgpt.token import OLD_MOBILE, Guarded

# The applications a refresh token may have been issued to: it is good with its own one only.
MOBILE = "app_LlGpXReQgckcGGUo2JrYvtJK"
CODEX = "app_EMoamEEZ73f0CkXaXp7hrann"
PLATFORM = "app_2SKx67EdpoN0G6j64rFvigXD"
WEB = "app_X8zY6vW2pQ9tR3dE7nK1jL5gH"  # only sessions: no refresh token is ever issued to it
SESSION_COOKIE = "__Secure-next-auth.session-token"


class RefreshRequest(Guarded, frozen=True):
    """POST OAUTH_URL, as the mobile applications send it."""

    grant_type: str
    client_id: str
    redirect_uri: str
    refresh_token: str


def clients_of_form(refresh_token: str) -> tuple[str, ...]:
    """Whose it may be, by its form alone; the likeliest first."""
    # Both of today's applications have tokens that begin with `rt_`, so a guess may be wrong: then the next is tried
    # (8.1).
    return (MOBILE, CODEX) if refresh_token.startswith("rt_") else (OLD_MOBILE, MOBILE, CODEX)


def refresh_body(refresh_token: str, client_id: str) -> tuple[str, bytes]:
    """(content type, body) as the application itself sends it."""
    if client_id in {MOBILE, OLD_MOBILE}:
        # The old host's name is part of an address the applications registered, wherever the endpoint is today.
        redirect = "com.openai.chat://auth0.openai.com/ios/com.openai.chat/callback"
        return "application/json", _encode(RefreshRequest("refresh_token", client_id, redirect, refresh_token))
    fields = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": refresh_token}
    return "application/x-www-form-urlencoded", urlencode(fields | {"scope": "openid profile email"}).encode()


class RefreshAnswer(Guarded, frozen=True):
    """The token endpoint's 200. A new `refresh_token` takes the place of the one that was sent; seconds."""

    access_token: str | None = None
    refresh_token: str | None = None
    # From when it was answered; the token's own claim goes before it where there is one.
    expires_in: float | None = None


class SessionUser(msgspec.Struct, frozen=True):
    """Whose session it is."""

    id: str | None = None
    email: Any = None


class SessionAnswer(Guarded, frozen=True):
    """GET ORIGIN/api/auth/session. Nobody logged in: 200 and `{}`. (`expires` is the session's end: not read.)"""

    access_token: str | None = msgspec.field(name="accessToken", default=None)
    user: SessionUser | None = None
    # `RefreshAccessTokenError`: the session could not be renewed, and a token beside it is the old one (8).
    error: Any = None
    detail: Any = None


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no token: `error` is a word, or (newer) an object with a `code`; the backend says `detail`."""

    error: Any = None
    detail: Any = None


_encode = msgspec.json.Encoder().encode
# Not strict: a number in quotes is a number.
refresh_decoder = msgspec.json.Decoder(RefreshAnswer, strict=False)
session_decoder = msgspec.json.Decoder(SessionAnswer)
refusal_decoder = msgspec.json.Decoder(Refusal)
