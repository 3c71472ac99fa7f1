"""Accounts and their credentials, as data: what is kept, and what a line of text stands for.

Rule: no I/O and no clock. Secrets are in fields whose names end in `_token`, and `repr` never shows them.
"""

import hashlib
import re
from typing import Literal

import msgspec

from shim.chatgpt.token import Claims, Guarded, fingerprint, read_claims

__all__ = [
    "EVERY_MODEL",
    "Account",
    "Claims",
    "Condition",
    "Credential",
    "CredentialKind",
    "account_id",
    "account_of",
    "fingerprint",
    "parse_credential",
    "read_claims",
    "read_lines",
]

CredentialKind = Literal["access", "refresh", "session"]

EVERY_MODEL = "*"
"""The key under which a cool-down counts for all models."""


class Credential(Guarded, frozen=True):
    """One line a person gives us: a secret of one of the three kinds, and the team workspace it is meant for.

    `claims` are what the secret says of itself; only an access token that is a JWT says anything.
    """

    kind: CredentialKind
    secret_token: str
    workspace_id: str | None = None
    claims: Claims = Claims()


class Account(Guarded, frozen=True):
    """What an account is: who, and with which credentials.

    `id` is stable and no secret. Times are in seconds since 1970. `version` rises with every change of a credential, so
    that of two changes made at once by two machines one is noticed to be late. `client_id` is the application that the
    refresh token belongs to, as far as it was told or found out; `client_sure` says that it was good with it.
    """

    id: str
    user: str | None = None
    workspace_id: str | None = msgspec.field(name="team", default=None)  # the stores' name for it since format 1
    plan: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    session_token: str | None = None
    expires: float | None = None
    added: float = 0.0
    version: int = 0
    client_id: str | None = None
    client_sure: bool = False

    @property
    def renewable(self) -> bool:
        """Whether a new access token can be had without a person."""
        return self.refresh_token is not None or self.session_token is not None

    def is_fresh(self, now: float, ahead: float = 0.0) -> bool:
        """Whether the access token is still good `ahead` seconds from now."""
        return self.access_token is not None and (self.expires is None or self.expires > now + ahead)


class Quota(msgspec.Struct, frozen=True):
    """How much of something an account may still do, as upstream last said: `resets` is upstream's own time (ISO)."""

    feature: str
    remaining: int | None = None
    resets: str | None = None


class Condition(msgspec.Struct, frozen=True):
    """How an account is doing. Kept apart from what it is, so that a late cool-down never overwrites a new token.

    `parked` is the reason why it is not used any more, or None. `cooling` maps a slug (or `EVERY_MODEL`) to when it is
    usable again; under the same keys `reasons` says why, and `since` when that was learned. `expired` tells that
    upstream refused the access token (or its time ran out). `retry_at` is when a failed renewal may be tried again.
    `last_used` is 0.0 where it never was. `quotas` is what upstream said last, at `quotas_at`.
    """

    parked: str | None = None
    cooling: dict[str, float] = {}
    reasons: dict[str, str] = {}
    since: dict[str, float] = {}
    expired: bool = False
    retry_at: float = 0.0
    last_used: float = 0.0
    turns: int = 0
    quotas: tuple[Quota, ...] = ()
    quotas_at: float = 0.0


def parse_credential(line: str) -> Credential:
    """The credential on a line (protocol.md 8, bearer forms), with `,workspace_id` after it for a team workspace.

    What people paste along is left out: quotes, `Bearer `, the session cookie's name. The JSON of /api/auth/session
    stands for the access token in it. Raises ValueError saying what is wrong, without the line's content.
    """
    text = _bare(line)
    if text.startswith("{"):
        text = _pasted_token(text)
    secret, _, workspace_id = text.partition(",")
    secret, workspace_id = _bare(secret), workspace_id.strip()
    if workspace_id and not _WORKSPACE_ID.fullmatch(workspace_id):
        raise ValueError("what follows the comma is not a workspace id")
    kind = _kind_of(secret)
    # The one time that a token is decoded. An `fk-` token is an access token too, and opaque.
    claims = read_claims(secret) if kind == "access" and secret.startswith("eyJ") else Claims()
    return Credential(kind, secret, workspace_id or None, claims)


def read_lines(text: str) -> tuple[list[tuple[int, Credential]], list[tuple[int, str]]]:
    """([(line number, credential)], [(line number, what is wrong with it)]) of a text with one credential a line.

    Empty lines and lines that begin with `#` are passed over; an account that an earlier line has already is wrong.
    Numbers begin at 1. JSON over several lines is one credential, at line 1.
    """
    good: list[tuple[int, Credential]] = []
    bad: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    for number, line in _lines(text):
        try:
            credential = parse_credential(line)
            first = seen.setdefault(_id_of(credential), number)
        except ValueError as error:
            bad.append((number, str(error)))
            continue
        if first == number:
            good.append((number, credential))
        else:
            bad.append((number, f"it is the same account as on line {first}"))
    return good, bad


def account_id(user: str | None, workspace_id: str | None, secret: str) -> str:
    """The account's id: of the user and workspace where they are known, else of the secret it came as."""
    who = f"user:{user}" if user else f"secret:{secret}"
    return hashlib.sha256(f"{who},{workspace_id or ''}".encode()).hexdigest()[:16]


def account_of(credential: Credential, now: float) -> Account:
    """The account a new credential stands for."""
    secret, claims = credential.secret_token, credential.claims
    return Account(
        _id_of(credential),
        user=claims.user,
        workspace_id=credential.workspace_id,
        plan=claims.plan,
        access_token=secret if credential.kind == "access" else None,
        refresh_token=secret if credential.kind == "refresh" else None,
        session_token=secret if credential.kind == "session" else None,
        expires=claims.expires,
        added=now,
    )


def _id_of(credential: Credential) -> str:
    return account_id(credential.claims.user, credential.workspace_id, credential.secret_token)


def _lines(text: str) -> list[tuple[int, str]]:
    """The lines with something on them, numbered as an editor numbers them (str.splitlines knows more line ends)."""
    text = text.removeprefix(_BOM)
    if text.lstrip().startswith("{") and _is_json(text):
        return [(1, text)]
    stripped = (line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return [(number, line) for number, line in enumerate(stripped, 1) if line and not line.startswith("#")]


def _is_json(text: str) -> bool:
    try:
        _decode_pasted(text)
    except msgspec.MsgspecError:
        return False
    return True


def _bare(text: str) -> str:
    """Without spaces, one pair of quotes, `Bearer ` and the cookie's name around it."""
    text = text.strip().removeprefix(_BOM).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return _BEFORE.sub("", text)


def _pasted_token(text: str) -> str:
    try:
        token = _decode_pasted(text).access_token
    except (msgspec.MsgspecError, RecursionError):
        token = None
    if not token:
        raise ValueError("it is JSON, but not an answer of /api/auth/session with an accessToken")
    return token


def _kind_of(secret: str) -> CredentialKind:
    """By form: JWT = access token, JWE = session token, `fk-` = access token, else long enough = refresh token."""
    if not secret:
        raise ValueError("there is no token before the comma")
    if secret.startswith("sk-"):
        raise ValueError("this is an API key of the OpenAI platform, not a ChatGPT token")
    for form, kind in _FORMS:
        if form.fullmatch(secret):
            return kind
    raise ValueError("it is neither an access, a refresh nor a session token")


class _Pasted(Guarded, frozen=True):
    access_token: str | None = msgspec.field(name="accessToken", default=None)


_BOM = "\ufeff"
_BEFORE = re.compile(r"(?:bearer\s+|__Secure-next-auth\.session-token=)", re.I)
_WORKSPACE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
# Only what may stand in a header: these go upstream as they are. A chunked session cookie is its pieces, joined.
_FORMS: tuple[tuple[re.Pattern[str], CredentialKind], ...] = (
    (re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*", re.ASCII), "access"),
    (re.compile(r"eyJ[\w-]*(?:\.[\w-]*){4}", re.ASCII), "session"),
    (re.compile(r"fk-[\w.-]{8,4096}", re.ASCII), "access"),
    (re.compile(r"(?!eyJ|fk-)[\w.~+/=-]{45,4096}", re.ASCII), "refresh"),
)
_decode_pasted = msgspec.json.Decoder(_Pasted).decode
