"""Accounts and their credentials, as data: what is kept, and what a line of text stands for.

Rule: no I/O and no clock. Secrets are in fields whose names end in `_token`, and `repr` never shows them.
"""

import base64
import binascii
import hashlib
import re
from typing import Any, Literal

import msgspec

CredentialKind = Literal["access", "refresh", "session"]

AUTH_CLAIM = "https://api.openai.com/auth"
EVERY_MODEL = "*"
"""The key under which a cool-down counts for all models."""


class Credential(msgspec.Struct, frozen=True, repr_omit_defaults=True):
    """One line a person gives us: a secret of one of the three kinds, and the team workspace it is meant for."""

    kind: CredentialKind
    secret_token: str
    team: str | None = None

    def __repr__(self) -> str:
        return f"Credential({self.kind}, {fingerprint(self.secret_token)}, team={self.team is not None})"


class Claims(msgspec.Struct, frozen=True):
    """What is read of an access token (protocol.md 8). Times are in seconds since 1970."""

    user: str | None = None
    expires: float | None = None
    plan: str | None = None


class Account(msgspec.Struct, frozen=True):
    """What an account is: who, and with which credentials.

    `id` is stable and no secret. Times are in seconds since 1970. `version` rises with every change of a credential, so
    that of two changes made at once by two machines one is noticed to be late.
    """

    id: str
    user: str | None = None
    team: str | None = None
    plan: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    session_token: str | None = None
    expires: float | None = None
    added: float = 0.0
    version: int = 0

    def __repr__(self) -> str:
        return f"Account({self.id}, plan={self.plan}, version={self.version})"

    @property
    def renewable(self) -> bool:
        """Whether a new access token can be had without a person."""
        return self.refresh_token is not None or self.session_token is not None

    def is_fresh(self, now: float, ahead: float = 0.0) -> bool:
        """Whether the access token is still good `ahead` seconds from now."""
        return self.access_token is not None and (self.expires is None or self.expires > now + ahead)


class Condition(msgspec.Struct, frozen=True):
    """How an account is doing. Kept apart from what it is, so that a late cool-down never overwrites a new token.

    `parked` is the reason why it is not used any more, or None. `cooling` maps a slug (or `EVERY_MODEL`) to when it is
    usable again, `reasons` says why under the same keys. `expired` tells that upstream refused the access token (or its
    time ran out). `retry_at` is when a failed renewal may be tried again. `last_used` is 0.0 where it never was.
    """

    parked: str | None = None
    cooling: dict[str, float] = {}
    reasons: dict[str, str] = {}
    expired: bool = False
    retry_at: float = 0.0
    last_used: float = 0.0
    turns: int = 0


def parse_credential(line: str) -> Credential:
    """The credential on a line (protocol.md 8, bearer forms), with `,account_id` after it for a team workspace.

    Raises ValueError saying what is wrong, without the line's content.
    """
    secret, _, team = (part.strip() for part in line.partition(","))
    if team and not _TEAM.fullmatch(team):
        raise ValueError("what follows the comma is not a workspace id")
    return Credential(_kind_of(secret), secret, team or None)


def read_lines(text: str) -> tuple[list[tuple[int, Credential]], list[tuple[int, str]]]:
    """([(line number, credential)], [(line number, what is wrong with it)]) of a text with one credential a line.

    Empty lines and lines that begin with `#` are passed over. Numbers begin at 1.
    """
    good: list[tuple[int, Credential]] = []
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            good.append((number, parse_credential(stripped)))
        except ValueError as error:
            bad.append((number, str(error)))
    return good, bad


def read_claims(access_token: str) -> Claims:
    """The claims of an access token, unverified (upstream verifies). Raises ValueError where it is not a JWT."""
    parts = access_token.split(".")
    if len(parts) != 3:
        raise ValueError("it is not a JWT")
    try:
        claims = _decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is not a JWT") from error
    auth = claims.auth if isinstance(claims.auth, dict) else {}
    plan = auth.get("chatgpt_plan_type", claims.plan)
    user = auth.get("chatgpt_user_id") or auth.get("user_id") or claims.sub
    return Claims(
        user if isinstance(user, str) else None,
        float(claims.exp) if isinstance(claims.exp, int | float) else None,
        plan if isinstance(plan, str) else None,
    )


def account_id(user: str | None, team: str | None, secret: str) -> str:
    """The account's id: of the user and workspace where they are known, else of the secret it came as."""
    who = f"user:{user}" if user else f"secret:{secret}"
    return hashlib.sha256(f"{who},{team or ''}".encode()).hexdigest()[:16]


def fingerprint(secret: str) -> str:
    """Eight hex digits to tell secrets apart without showing any of them."""
    return hashlib.sha256(secret.encode()).hexdigest()[:8]


def account_of(credential: Credential, now: float) -> Account:
    """The account a new credential stands for. Raises ValueError for an access token that can't be read."""
    secret, team = credential.secret_token, credential.team
    claims = read_claims(secret) if credential.kind == "access" and secret.startswith("eyJ") else Claims()
    return Account(
        account_id(claims.user, team, secret),
        user=claims.user,
        team=team,
        plan=claims.plan,
        access_token=secret if credential.kind == "access" else None,
        refresh_token=secret if credential.kind == "refresh" else None,
        session_token=secret if credential.kind == "session" else None,
        expires=claims.expires,
        added=now,
    )


def _kind_of(secret: str) -> CredentialKind:
    """By form: JWT = access token, JWE = session token, `fk-` = access token, else long enough = refresh token."""
    if not secret:
        raise ValueError("there is no token before the comma")
    if secret.startswith("eyJ"):
        return _JWT_KINDS.get(secret.count("."), _unknown)(secret)
    if secret.startswith("fk-"):
        return "access"
    if secret.startswith("sk-"):
        raise ValueError("this is an API key of the OpenAI platform, not a ChatGPT token")
    if _REFRESH.fullmatch(secret):
        return "refresh"
    return _unknown(secret)


def _access(secret: str) -> CredentialKind:
    read_claims(secret)
    return "access"


def _session(_secret: str) -> CredentialKind:
    return "session"


def _unknown(_secret: str) -> CredentialKind:
    raise ValueError("it is neither an access, a refresh nor a session token")


class _JwtBody(msgspec.Struct, frozen=True):
    sub: Any = None
    exp: Any = None
    plan: Any = msgspec.field(name="chatgpt_plan_type", default=None)
    auth: Any = msgspec.field(name=AUTH_CLAIM, default=None)


_JWT_KINDS = {2: _access, 4: _session}
_TEAM = re.compile(r"[\w-]{1,64}")
_REFRESH = re.compile(r"[\w.~+/=-]{45,4096}")
_decode = msgspec.json.Decoder(_JwtBody).decode
