"""From a client's bearer to the identity that goes upstream (protocol.md 8).

Rule: keys are compared in constant time; a token is read, never verified (upstream does that) and never logged.
"""

import base64
import binascii
import hashlib
import hmac
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from shim.errors import CredentialError
from shim.protocol.upstream import Identity

_BEARER = "bearer "
_ANONYMOUS = "anonymous"
_NO_KEY = "No API key provided: send one as 'Authorization: Bearer KEY'"
_WRONG_KEY = "Incorrect API key provided: it is neither a key of this gateway (AUTHORIZATION) nor an access token"


class Claims(msgspec.Struct, frozen=True):
    """What is read of an access token."""

    sub: Any = None
    exp: Any = None


def identify(authorization: str | None, keys: Sequence[str], installation: uuid.UUID, now: float) -> Identity:
    """The identity for an `Authorization` header (None: there was none).

    An access token stands for its own account. A key from `keys`, or anything where there are no keys, is login-free.
    `now` is in seconds since 1970. Raises CredentialError (401) for a wrong key and for an expired token.
    """
    bearer = _bearer(authorization)
    token, _, account = bearer.partition(",")
    if _is_access_token(token):
        return _token_identity(token, account.strip() or None, installation, now)
    if keys and not _matches(bearer, keys):
        raise CredentialError(_WRONG_KEY if bearer else _NO_KEY)
    return Identity(device_id=str(installation))


def account_hash(identity: Identity) -> str:
    """Eight hex digits that tell accounts apart in a log without naming them."""
    if identity.access_token is None:
        return _ANONYMOUS
    return hashlib.sha256(identity.device_id.encode()).hexdigest()[:8]


def _bearer(authorization: str | None) -> str:
    text = (authorization or "").strip()
    return text[len(_BEARER) :].strip() if text[: len(_BEARER)].lower() == _BEARER else text


def _matches(bearer: str, keys: Sequence[str]) -> bool:
    """Every key is compared, so that the time tells nothing of which one was near."""
    given = bearer.encode()
    return sum(hmac.compare_digest(given, key.encode()) for key in keys) > 0


def _is_access_token(token: str) -> bool:
    return token.startswith("eyJ") and token.count(".") == 2


def _token_identity(token: str, account: str | None, installation: uuid.UUID, now: float) -> Identity:
    claims = _claims(token)
    if isinstance(claims.exp, int | float) and claims.exp <= now:
        raise CredentialError("The access token has expired: sign in again and take a new one", code="token_expired")
    who = claims.sub if isinstance(claims.sub, str) else hashlib.sha256(token.encode()).hexdigest()
    return Identity(str(uuid.uuid5(installation, who)), token, account)


def _claims(token: str) -> Claims:
    body = token.split(".")[1]
    try:
        return _decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError) as error:
        raise CredentialError("The access token can't be read: it is not a JWT") from error


_decode = msgspec.json.Decoder(Claims).decode
