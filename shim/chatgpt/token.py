"""Tokens as upstream makes them: an unverified look into an access token (protocol.md 8), structs that keep secrets.

Rule: whatever holds a token is Guarded, its secrets are in fields whose names end in `_token` (or that are
`proxy_url`, which may hold a password), and neither `repr` nor rich shows those. No error says what was in a token, and
of a mail address no more is kept than its owner needs to know it by.
"""

import base64
import binascii
import hashlib
import math
import re
from typing import Any

import msgspec

AUTH_CLAIM = "https://api.openai.com/auth"
PROFILE_CLAIM = "https://api.openai.com/profile"
OLD_MOBILE = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
"""The one application whose id does not begin with `app_`."""


class Guarded(msgspec.Struct, frozen=True):
    """A struct that shows all of its fields but the secret ones; of these it shows a fingerprint."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """The fields as `repr` and rich show them; without this method rich would read the fields itself."""
        shown: list[tuple[str, Any]] = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            shown.append((name, f"#{fingerprint(value)}" if is_secret(name) and value is not None else value))
        return shown


class Claims(msgspec.Struct, frozen=True):
    """What is read of an access token (protocol.md 8). Times are in seconds since 1970.

    `client` is the application it was issued to, `mail` is masked. `is_openai` tells that it names OpenAI as who made
    it or whom it is for; a JWT that does not is some other service's.
    """

    user: str | None = None
    expires: float | None = None
    plan: str | None = None
    issued: float | None = None
    client: str | None = None
    is_openai: bool = False
    mail: str | None = None


def read_claims(access_token: str) -> Claims:
    """The claims of an access token, unverified (upstream verifies). Raises ValueError where it is not a JWT.

    The plan is looked for under OpenAI's claim and at the top level; a claim of an unexpected type counts as absent.
    """
    if not _JWT.fullmatch(access_token):
        raise ValueError("it is not a JWT")
    # JWTs leave the padding out (RFC 7515), and Python's decoder asks for it.
    part = access_token.split(".")[1]
    try:
        claims = _decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise ValueError("it is not a JWT") from None
    auth = claims.auth if isinstance(claims.auth, dict) else {}
    user = _text(auth.get("chatgpt_user_id")) or _text(auth.get("user_id")) or _text(claims.sub)
    plan = _text(auth.get("chatgpt_plan_type")) or _text(claims.plan)
    audience = claims.aud if isinstance(claims.aud, list) else [claims.aud]
    named = [name for name in (claims.iss, *audience) if isinstance(name, str)]
    is_openai = isinstance(claims.auth, dict) or any(map(_OPENAI.match, named))
    # An id_token names the application as its audience.
    client = next((name for name in (claims.client, *audience) if isinstance(name, str) and is_client_id(name)), None)
    profile = claims.profile if isinstance(claims.profile, dict) else {}
    mail = masked_mail(profile.get("email")) or masked_mail(claims.mail)  # of an access token; of an id_token
    return Claims(user, _seconds(claims.exp), plan, _seconds(claims.iat), client, is_openai, mail)


def is_secret(field: str) -> bool:
    """Whether a field of this name holds what is never shown, and is sealed where it is kept."""
    return field.endswith("_token") or field == "proxy_url"


def masked_mail(value: Any) -> str | None:
    """A mail address of which its owner knows it, and nobody else; None where it is none. One that is masked already
    stays as it is."""
    if not isinstance(value, str) or (mail := _MAIL.fullmatch(value.strip())) is None:
        return None
    name = mail[1]
    shown = name if name.endswith(_CUT) and len(name) < 4 else f"{name[: 2 if len(name) > 3 else 1]}{_CUT}"
    return f"{shown}@{mail[2].lower()}"


def is_client_id(text: str) -> bool:
    """Whether it names an application that tokens are issued to (protocol.md 8.1)."""
    return text == OLD_MOBILE or _APP.fullmatch(text) is not None


def fingerprint(secret: str) -> str:
    """Eight hex digits to tell secrets apart without showing any of them."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def _text(value: Any) -> str | None:
    """`value` as a name, or None if it isn't one: anybody can write a JWT, and a terminal obeys what it is shown."""
    return value if isinstance(value, str) and value.isprintable() and value else None


def _seconds(value: Any) -> float | None:
    """`value` as a time, or None if it isn't one: `true` is an int in Python, and 1e999 is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _END_OF_TIME and math.isfinite(value) else None


class _TokenBody(msgspec.Struct, frozen=True):
    sub: Any = None
    exp: Any = None
    iat: Any = None
    iss: Any = None
    aud: Any = None
    client: Any = msgspec.field(name="client_id", default=None)
    plan: Any = msgspec.field(name="chatgpt_plan_type", default=None)
    auth: Any = msgspec.field(name=AUTH_CLAIM, default=None)
    profile: Any = msgspec.field(name=PROFILE_CLAIM, default=None)
    mail: Any = msgspec.field(name="email", default=None)


_END_OF_TIME = 1e12  # seconds; far beyond any token's life, and still exact as a float
_CUT = "…"
_MAIL = re.compile(r"([^@\s\x00-\x1f]{1,64})@([A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?)")
_APP = re.compile(r"app_[A-Za-z0-9]{8,64}")
_OPENAI = re.compile(r"https?://(?:[\w-]+\.)*openai\.com(?:[:/]|$)", re.ASCII | re.I)
# "eyJ" is how `{"` begins in base64. The signature may be empty, as in the stand-in's tokens.
_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*", re.ASCII)
_decode = msgspec.json.Decoder(_TokenBody).decode
