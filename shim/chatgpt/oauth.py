"""Renewing an access token on the wire: the token endpoint and the session endpoint (protocol.md 8)."""

from typing import Any

import msgspec

from shim.chatgpt.token import Guarded

CLIENT_ID = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
SESSION_COOKIE = "__Secure-next-auth.session-token"


class RefreshRequest(Guarded, frozen=True):
    """POST OAUTH_URL."""

    grant_type: str
    client_id: str
    redirect_uri: str
    refresh_token: str


class RefreshAnswer(Guarded, frozen=True):
    """The token endpoint's 200. A new `refresh_token` takes the place of the one that was sent; seconds."""

    access_token: str | None = None
    refresh_token: str | None = None
    expires_in: float | None = None


class SessionUser(msgspec.Struct, frozen=True):
    """Whose session it is."""

    id: str | None = None


class SessionAnswer(Guarded, frozen=True):
    """GET ORIGIN/api/auth/session. Nobody logged in: 200 and `{}`. (`expires` is the session's end: not read.)"""

    access_token: str | None = msgspec.field(name="accessToken", default=None)
    user: SessionUser | None = None
    error: Any = None
    detail: Any = None


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no token: `error` is a word, or (newer) an object with a `code`; the backend says `detail`."""

    error: Any = None
    detail: Any = None


refresh_encoder = msgspec.json.Encoder()
# Not strict: a number in quotes is a number.
refresh_decoder = msgspec.json.Decoder(RefreshAnswer, strict=False)
session_decoder = msgspec.json.Decoder(SessionAnswer)
refusal_decoder = msgspec.json.Decoder(Refusal)
