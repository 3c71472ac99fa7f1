"""Accounts and their credentials, as data: what is kept, and what a token stands for.

Rule: no I/O and no clock. Secrets are in fields whose names end in `_token`, and `repr` never shows them.
"""

import hashlib
import re
from typing import Any, Literal

import msgspec

from shim.chatgpt.token import Claims, Guarded, fingerprint, is_client_id, read_claims
from shim.errors import Evidence

__all__ = [
    "EVERY_MODEL",
    "Account",
    "Claims",
    "Condition",
    "Credential",
    "CredentialKind",
    "ForeignTokenError",
    "Handling",
    "account_id",
    "account_of",
    "fingerprint",
    "id_of",
    "parse_credential",
    "read_claims",
    "read_secret",
]

CredentialKind = Literal["access", "refresh", "session"]

EVERY_MODEL = "*"
"""The key under which a cool-down counts for all models."""


class ForeignTokenError(ValueError):
    """A token that is none of ChatGPT's."""


class Credential(Guarded, frozen=True):
    """What a person gives us: a secret of one of the three kinds, and the team workspace it is meant for.

    `claims` are what the secret says of itself; only an access token that is a JWT says anything. `refresh_token` and
    `session_token` came along with another kind of secret; `client_id` is the application the refresh token belongs to,
    where that is known. `expires` is what a file says of an access token that says nothing itself.
    """

    kind: CredentialKind
    secret_token: str
    workspace_id: str | None = None
    claims: Claims = Claims()
    client_id: str | None = None
    refresh_token: str | None = None
    session_token: str | None = None
    expires: float | None = None
    handling: "Handling | None" = None


class Handling(Guarded, frozen=True):
    """How an operator wants an account to be used. `paused` is since when it takes no new turns (seconds since 1970),
    `limit` how many turns it may have at once (None: ACCOUNT_LIMIT), `proxy_url` which way it goes upstream (None:
    PROXY_URL's)."""

    label: str | None = None
    paused: float | None = None
    proxy_url: str | None = None
    limit: int | None = None


class Account(Guarded, frozen=True):
    """What an account is: who, and with which credentials.

    `id` is stable and no secret. Times are in seconds since 1970. `version` rises with every change of a credential, so
    that of two changes made at once by two machines one is noticed to be late. `client_id` is the application that the
    refresh token belongs to, as far as it was told or found out; `client_sure` says that it was good with it. `mail` is
    masked. The last four are `Handling`'s.
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
    mail: str | None = None
    label: str | None = None
    paused: float | None = None
    proxy_url: str | None = None
    limit: int | None = None

    @property
    def renewable(self) -> bool:
        """Whether a new access token can be had without a person."""
        return self.refresh_token is not None or self.session_token is not None

    @property
    def tokens(self) -> tuple[str | None, str | None, str | None]:
        """Its credentials. A version says less: it rises with whatever is noted of the account."""
        return self.access_token, self.refresh_token, self.session_token

    def is_fresh(self, now: float, ahead: float = 0.0) -> bool:
        """Whether the access token is still good `ahead` seconds from now."""
        return self.access_token is not None and (self.expires is None or self.expires > now + ahead)

    def merged_with(self, given: "Account") -> "Account":
        """This one, one version on, with the access token of `given` where that one lasts longer, and what came with
        it. A refresh or session token by which an account is found is the one it came with, and may have been rotated
        away: it is never taken back, unless there is none, or a later log-in brought another."""
        changes: dict[str, Any] = {}
        later = given.access_token not in {None, self.access_token} and (given.expires or 0.0) > (self.expires or 0.0)
        if later:
            changes |= {"access_token": given.access_token, "expires": given.expires, "plan": given.plan or self.plan}
        if given.session_token not in {None, self.session_token} and (later or self.session_token is None):
            changes["session_token"] = given.session_token
        if given.refresh_token not in {None, self.refresh_token} and (later or self.refresh_token is None):
            changes |= {"refresh_token": given.refresh_token, "client_id": given.client_id, "client_sure": False}
        if given.mail is not None and (later or self.mail is None):
            changes |= {"mail": given.mail} if given.mail != self.mail else {}
        if given.refresh_token == self.refresh_token and not self.client_sure and given.client_id is not None:
            changes |= {"client_id": given.client_id} if given.client_id != self.client_id else {}
        return msgspec.structs.replace(self, version=self.version + 1, **changes) if changes else self


def told_by_token(account: Account) -> Account:
    """The account with what its access token says of plan, mail and expiry where that is not known: accounts that were
    kept before we read it have none."""
    token = account.access_token
    if token is None or (account.plan is not None and account.mail is not None and account.expires is not None):
        return account
    try:
        claims = read_claims(token)
    except ValueError:  # `fk-…`, which is opaque
        return account
    said = {name: getattr(claims, name) for name in ("plan", "mail", "expires")}
    missing = {name: value for name, value in said.items() if value is not None and getattr(account, name) is None}
    return msgspec.structs.replace(account, **missing) if missing else account


class Quota(msgspec.Struct, frozen=True):
    """How much of something an account may still do, as upstream last said: `resets` is upstream's own time (ISO)."""

    feature: str
    remaining: int | None = None
    resets: str | None = None


class Condition(msgspec.Struct, frozen=True):
    """How an account is doing. Kept apart from what it is, so that a late cool-down never overwrites a new token.

    `parked` is the reason why it is not used any more, or None. `cooling` maps a slug (or `EVERY_MODEL`) to when it is
    usable again; under the same keys `reasons` says why, `since` when that was learned, and `evidence` what upstream
    said. They have keys that begin with `!` for the rest (states.py). `expired` tells that
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
    evidence: dict[str, Evidence] = {}


def parse_credential(text: str) -> Credential:
    """The credential that a client sends, or that is on a line (protocol.md 8, bearer forms).

    That is a token; then, each after a comma and in any order, the workspace it is meant for and the client id that a
    refresh token belongs to. An access token and the refresh token that goes with it are joined by `----`. Quotes and
    `Bearer `, which people paste along, are left out. Raises ValueError saying what is wrong, without the content.
    """
    secret, *words = (_bare(part) for part in _bare(text).split(","))
    workspace_id = client_id = None
    for word in filter(None, words):
        if client_id is None and is_client_id(word):
            client_id = word
        elif workspace_id is None and not word.startswith("app_") and WORKSPACE_ID.fullmatch(word):
            workspace_id = word
        else:
            raise ValueError("what follows the comma is neither a workspace id nor a client id")
    access, refresh = _pair(secret)
    kind, claims = read_secret(access)
    if kind != "refresh" and refresh is None and client_id is not None:
        raise ValueError("a client id goes with a refresh token, and this is none")
    if refresh is not None:
        client_id = client_id or claims.client
    return Credential(kind, access, workspace_id, claims, client_id, refresh)


def read_secret(secret: str) -> tuple[CredentialKind, Claims]:
    """What a single secret is, by its form alone, and what it says of itself.

    Raises ForeignTokenError for a JWT that is some other service's, ValueError for what is nothing of ChatGPT's. Both
    must never be sent upstream: they may be secrets of somebody else's.
    """
    if not secret:
        raise ValueError("there is no token before the comma")
    if secret.startswith("sk-"):
        raise ValueError("this is an API key of the OpenAI platform, not a ChatGPT token")
    kind = next((kind for form, kind in _FORMS if form.fullmatch(secret)), None)
    if kind is None:
        raise ValueError("it is neither an access, a refresh nor a session token")
    if kind != "access" or not secret.startswith("eyJ"):
        return kind, Claims()
    claims = read_claims(secret)  # the one time that a token is decoded; one that begins with `fk-` is opaque
    if not claims.is_openai:
        raise ForeignTokenError("it is the token of another service: it names OpenAI neither as issuer nor as audience")
    return kind, claims


def account_id(user: str | None, workspace_id: str | None, secret: str) -> str:
    """The account's id: of the user and workspace where they are known, else of the secret it came as."""
    who = f"user:{user}" if user else f"secret:{secret}"
    return hashlib.sha256(f"{who},{workspace_id or ''}".encode()).hexdigest()[:16]


def account_of(credential: Credential, now: float) -> Account:
    """The account a new credential stands for."""
    secret, claims = credential.secret_token, credential.claims
    return Account(
        id_of(credential),
        user=claims.user,
        workspace_id=credential.workspace_id,
        plan=claims.plan,
        access_token=secret if credential.kind == "access" else None,
        refresh_token=secret if credential.kind == "refresh" else credential.refresh_token,
        session_token=secret if credential.kind == "session" else credential.session_token,
        expires=claims.expires if claims.expires is not None else credential.expires,
        added=now,
        client_id=credential.client_id,
        mail=claims.mail,
        **(msgspec.structs.asdict(credential.handling) if credential.handling is not None else {}),
    )


def id_of(credential: Credential) -> str:
    """The id of the account that a credential stands for."""
    return account_id(credential.claims.user, credential.workspace_id, credential.secret_token)


def _bare(text: str) -> str:
    """Without spaces, one pair of quotes and `Bearer ` around it."""
    text = text.strip().removeprefix(BOM).strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return _BEARER.sub("", text)


def _pair(secret: str) -> tuple[str, str | None]:
    """An access token and the refresh token after it. `----` may also be within either of them, if rarely, so it only
    counts where both sides are what they should be."""
    for between in _BETWEEN.finditer(secret):
        access, refresh = secret[: between.start()], secret[between.start() + 4 :]
        if _FORMS[0][0].fullmatch(access) and any(form.fullmatch(refresh) for form in _REFRESH):
            return access, refresh
    return secret, None


BOM = "\ufeff"
# It goes into a header of every call (protocol.md 1), so that nothing else may be in it.
WORKSPACE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)
# People copy the whole header out of a browser's tools.
_BEARER = re.compile(r"bearer\s+", re.I)
# Looked ahead for, as `-----` may hold the marks in two places, of which one is meant.
_BETWEEN = re.compile("(?=----)")
# How keys of other vendors begin, which happen to be as long as a refresh token of the old form.
_VENDORS = (
    r"(?:[a-z]?sk|pk|rk|xai|pplx|nvapi|hf|gh[a-z]|github_pat|gl[a-z]{2,4}|xox[a-z]|npm|pypi|dop_v1|dapi|r8|tvly|jina|fw"
    r"|tgp_v1|sess|shp[a-z]{2}|whsec|key|api|fk|rt)[-_]|AIza|AKIA|ASIA|eyJ"
)
# Keys of Cloudflare (origin CA) and tokens of GitHub (the old form of an app's) begin with `v1.`, too.
_VENDORS_V1 = r"v1\.0-[0-9a-f]{24}-|v1\.[0-9a-f]{40}$"
# Only what may stand in a header: these go upstream as they are. A chunked session cookie is its pieces, joined.
_REFRESH = (
    re.compile(r"(?!.*----eyJ)rt_[\w.~+/-]{16,4096}={0,2}", re.ASCII),
    re.compile(rf"(?!.*----eyJ)(?!{_VENDORS_V1})v1\.[\w.~+/-]{{16,4096}}={{0,2}}", re.ASCII),
    re.compile(rf"(?!{_VENDORS})[\w-]{{45}}", re.ASCII),
)
_FORMS: tuple[tuple[re.Pattern[str], CredentialKind], ...] = (
    (re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*", re.ASCII), "access"),
    (re.compile(r"eyJ[\w-]*(?:\.[\w-]*){4}", re.ASCII), "session"),
    (re.compile(r"fk-[\w.-]{8,4096}", re.ASCII), "access"),
    *((form, "refresh") for form in _REFRESH),
)
