"""Who may call: accounts with their switches, the tokens that name them, and what each plan may use.

Rule: credentials made here have the right shape and no secret. An access token is an unsigned JWT (protocol.md 8)
that says whose it is; whoever holds one is that account.
"""

import base64
import hashlib
from collections.abc import Callable
from typing import Any, Literal
from uuid import NAMESPACE_DNS, UUID, uuid5

import msgspec

from shim.standin.failures import PlannedFailure, RefusedError, refused
from shim.standin.memory import remember

ISSUER = "https://auth.openai.com"
AUTH_CLAIM = "https://api.openai.com/auth"
PROFILE_CLAIM = "https://api.openai.com/profile"
ANONYMOUS = "anonymous"
# The applications a log-in may belong to (protocol.md 8.1): the web page, and those that are given refresh tokens.
WEB_CLIENT = "app_X8zY6vW2pQ9tR3dE7nK1jL5gH"
OLD_MOBILE_CLIENT = "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"
MOBILE_CLIENT = "app_LlGpXReQgckcGGUo2JrYvtJK"
CODEX_CLIENT = "app_EMoamEEZ73f0CkXaXp7hrann"
PLATFORM_CLIENT = "app_2SKx67EdpoN0G6j64rFvigXD"
REFRESH_CLIENTS = (OLD_MOBILE_CLIENT, MOBILE_CLIENT, CODEX_CLIENT, PLATFORM_CLIENT)

Clock = Callable[[], float]
Plan = Literal["anonymous", "free", "plus", "pro", "team"]
# "asked": the requirements say it is required, nobody checks. "enforced": a turn without the header is refused.
Check = Literal["off", "asked", "enforced"]

PERSONAS: dict[str, str] = {"anonymous": "chatgpt-noauth", "free": "chatgpt-freeaccount"}
PAID_PERSONA = "chatgpt-paid"

# Slugs of protocol.md 4.3; thinking models think before they answer.
ANONYMOUS_MODELS = ("auto", "gpt-4o-mini", "gpt-5-mini", "text-davinci-002-render-sha")
FREE_MODELS = (*ANONYMOUS_MODELS, "gpt-4o", "gpt-5", "gpt-5-2", "gpt-5-2-instant", "o4-mini")
PAID_MODELS = (
    *FREE_MODELS,
    "gpt-4",
    "gpt-4-1",
    "gpt-5-instant",
    "gpt-5-thinking",
    "gpt-5-2-thinking",
    "gpt-5-2-pro",
    "gpt-5-3",
    "gpt-5-3-mini",
    "gpt-5-5",
    "gpt-5-5-instant",
    "gpt-5-5-thinking",
    "o1",
    "o1-mini",
    "o3",
    "o4-mini-high",
    "research",
)
MODELS: dict[str, tuple[str, ...]] = {"anonymous": ANONYMOUS_MODELS, "free": FREE_MODELS}
ALL_EFFORTS = ("min", "standard", "extended", "max")
WORK = ("reasoning", 262144, ALL_EFFORTS)
# The list of a paid account, recorded in 2026-09 (protocol.md 4.3): slug -> reasoning_type, context, efforts.
PICKER: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "gpt-5-6": ("auto", 52815, ()),
    "gpt-5-5": ("auto", 52815, ()),
    "gpt-5-6-instant": ("none", 52815, ()),
    "gpt-5-5-instant": ("none", 52815, ()),
    "gpt-5-3-mini": ("none", 52815, ()),
    "gpt-5-6-mini": ("none", 137000, ()),
    "gpt-5-6-t-mini": ("reasoning", 262144, ()),
    "gpt-5-6-thinking": WORK,
    "gpt-5-5-thinking": WORK,
    "gpt-5.5-wm": WORK,
    "gpt-5.6-sol-wm": WORK,
    "gpt-5-5-pro": ("pro", 410000, ("standard", "extended")),
    "gpt-5-6-pro": ("pro", 410000, ("standard",)),
    "gpt-6-pro": ("pro", 410000, ("standard",)),
    "research": ("none", 34815, ()),
}
# What `auto` turns into.
AUTO_SLUG: dict[str, str] = {"anonymous": "gpt-5-mini"}
PAID_AUTO_SLUG = "gpt-5-2"


class Account(msgspec.Struct, forbid_unknown_fields=True):
    """One ChatGPT user as the stand-in sees it, with the switches a test may turn.

    difficulty: hex string of the proof, "" = the server's default; proof False = none asked for.
    force_login: how many more requirements answers say so (-1 = always). max_parallel: open turns allowed, 0 = any.
    models: slugs of this account; empty = those of its plan. team_ids: what chatgpt-account-id may say besides its own.
    rotates: a refresh or session token serves once, then its successor does. lifetime: seconds of a new access token.
    session_length: characters of a renewed session cookie, which is cut into several above 3933.
    file_limit: most bytes of one file. uploads: how many more are allowed, -1 = any. index_polls: looks at a document
    that find it pending; index: what they find then. sediment: new files get ids of the newer form.
    downloads: the links handed out; newer_downloads: only files/download/{id} is there. sandbox: what asking for a file
    of the sandbox says. gizmos: the GPTs that exist. speech: bytes or a link to them. transcript: JSON or bare text.
    reads: which spelling of reading a conversation is there. sentinel: which flow is there. refused: the
    turn is, after a good handshake (login-free chat of 2026). listing: the list of models as it was, or that of 2026.
    """

    name: str
    plan: Plan = "plus"
    proof: bool = True
    difficulty: str = ""
    arkose: bool = False
    turnstile: Check = "off"
    so: Check = "off"
    force_login: int = 0
    max_parallel: int = 0
    models: tuple[str, ...] = ()
    team_ids: tuple[str, ...] = ()
    rotates: bool = False
    lifetime: int = 864_000
    session_length: int = 400
    file_limit: int = 32 * 1024 * 1024
    uploads: int = -1
    index_polls: int = 1
    index: Literal["success", "failed"] = "success"
    sediment: bool = False
    downloads: Literal["blob", "estuary"] = "blob"
    newer_downloads: bool = False
    sandbox: Literal["kept", "expired", "gone"] = "kept"
    gizmos: tuple[str, ...] = ("g-abc", "g-demo")
    speech: Literal["bytes", "link"] = "bytes"
    transcript: Literal["json", "text"] = "json"
    reads: Literal["both", "singular", "plural"] = "both"
    sentinel: Literal["both", "one-step", "two-step"] = "both"
    refused: bool = False
    listing: Literal["classic", "presets"] = "classic"
    failures: list[PlannedFailure] = []

    @property
    def persona(self) -> str:
        """The persona of protocol.md 2.1."""
        return PERSONAS.get(self.plan, PAID_PERSONA)

    @property
    def slugs(self) -> tuple[str, ...]:
        """The slugs this account may ask for."""
        if self.listing == "presets":
            return self.models or tuple(PICKER)
        return self.models or MODELS.get(self.plan, PAID_MODELS)

    def efforts(self, slug: str) -> tuple[str, ...]:
        """The efforts a slug takes, by the list that is served (protocol.md 4.1)."""
        if self.listing == "presets":
            return PICKER[slug][2] if slug in PICKER else ()
        return ALL_EFFORTS if slug.endswith("-thinking") else ()

    @property
    def account_id(self) -> str:
        """The personal account UUID, always the same for a name."""
        return str(uuid5(NAMESPACE_DNS, f"{self.name}.account.standin"))

    @property
    def user_id(self) -> str:
        """The user id, always the same for a name."""
        return "user-" + hashlib.sha256(self.name.encode()).hexdigest()[:24]

    def resolve_slug(self, slug: str) -> str:
        """The model that answers when `slug` is asked for; refuses what the account cannot use (404)."""
        if slug not in (*self.slugs, "auto"):
            raise refused("model_not_found")
        if self.listing == "presets" and slug == "auto":
            return self.slugs[0]
        return AUTO_SLUG.get(self.plan, PAID_AUTO_SLUG) if slug == "auto" else slug

    def take_failure(self, where: str) -> RefusedError | None:
        """The next planned failure of this step, used up by taking it; None when there is none."""
        for planned in self.failures:
            if planned.where == where and planned.times != 0:
                planned.times -= planned.times > 0
                return RefusedError(planned.resolve())
        return None

    def take_force_login(self) -> bool:
        """Whether this requirements answer says force_login; counts down."""
        said = self.force_login != 0
        self.force_login -= self.force_login > 0
        return said


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request: `identity` is the account's name, or the device of an anonymous caller."""

    account: Account
    identity: str


def make_access_token(
    name: str,
    plan: Plan = "plus",
    expires_at: float = 4102444800,
    lifetime: float = 864_000,
    client_id: str = WEB_CLIENT,
) -> str:
    """An unsigned JWT with the claims of protocol.md 8 for `name`; expires_at in Unix seconds (default: 2100)."""
    account = Account(name, plan)
    claims = {
        "iss": ISSUER,
        "aud": ["https://api.openai.com/v1"],
        "sub": f"auth0|{name}",
        "iat": int(expires_at - lifetime),
        "exp": int(expires_at),
        "client_id": client_id,
        "scp": ["openid", "email", "profile", "offline_access", "model.request", "model.read"],
        PROFILE_CLAIM: {"email": f"{name}@example.test", "email_verified": True},
        AUTH_CLAIM: {
            "chatgpt_account_id": account.account_id,
            "chatgpt_user_id": account.user_id,
            "user_id": account.user_id,
            "chatgpt_plan_type": plan,
            "poid": f"org-{account.user_id[5:]}",
        },
    }
    head = {"alg": "none", "typ": "JWT"}
    return ".".join((*(_base64url(msgspec.json.encode(part)) for part in (head, claims)), "unsigned"))


def make_refresh_token(name: str, generation: int = 0, client_id: str = OLD_MOBILE_CLIENT) -> str:
    """A refresh token of account `name`, good with one client id: of the old one 45 characters, of the others `rt_…`
    (protocol.md 8, bearer forms; 8.1). Generation 0 is the first one."""
    later = f":{generation}" if generation else ""
    if client_id == OLD_MOBILE_CLIENT:
        return ("v1." + hashlib.sha256(f"refresh:{name}{later}".encode()).hexdigest())[:45]
    return "rt_" + hashlib.sha256(f"refresh:{client_id}:{name}{later}".encode()).hexdigest()


def make_session_token(name: str, generation: int = 0, length: int = 400) -> str:
    """A session cookie value of account `name`: the five parts of a JWE, in at least `length` characters."""
    head = _base64url(msgspec.json.encode({"alg": "dir", "enc": "A256GCM"}))
    sealed = _base64url(msgspec.json.encode([name, generation]))
    bare = f"{head}..standin.{sealed}."
    return bare + "t" * max(16, length - len(bare))


class Accounts:
    """The accounts a stand-in knows. A well-formed token of an unknown name makes that account known."""

    def __init__(self, accounts: tuple[Account, ...], clock: Clock) -> None:
        self._clock = clock
        self._by_name = {ANONYMOUS: Account(ANONYMOUS, plan="anonymous")}
        for account in accounts:
            # A copy: the switches count down and the options must stay as they were given.
            self._by_name[account.name] = msgspec.convert(msgspec.to_builtins(account), Account)

    def __getitem__(self, name: str) -> Account:
        return self._by_name[name]

    def patch(self, changes: dict[str, Any]) -> Account:
        """Add or change the account that `changes["name"]` names; raises msgspec.ValidationError on a bad change."""
        known = self._by_name.get(str(changes.get("name", "")))
        fields = (msgspec.to_builtins(known) if known else {}) | changes
        account = msgspec.convert(fields, Account)
        self._by_name[account.name] = account
        return account

    def get(self, name: str) -> Account | None:
        """The account of this name; the anonymous one has none."""
        return self._by_name.get(name) if name != ANONYMOUS else None

    def by_first_refresh_token(self, token: str) -> tuple[str, str] | None:
        """(whose refresh token this is, never exchanged; with which client id it is good)."""
        every = ((name, client_id) for name in self._by_name for client_id in REFRESH_CLIENTS)
        return next((one for one in every if make_refresh_token(one[0], client_id=one[1]) == token), None)

    def logged_in(self, authorization: str | None, workspace: str | None = None) -> Caller:
        """The caller behind an `authorization` header; refuses with the 401 rows of protocol.md 9.1.

        workspace: the chatgpt-account-id header; another one than the account's own or a team's is refused (403).
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise refused("unauthorized")
        claims = _read_claims(token)
        if claims.exp <= self._clock():
            raise refused("token_expired")
        name = claims.sub.removeprefix("auth0|")
        if name not in self._by_name:
            remember(self._by_name, name, Account(name, claims.auth.chatgpt_plan_type))
        account = self._by_name[name]
        if workspace is not None and workspace not in (account.account_id, *account.team_ids):
            raise refused("wrong_workspace")
        return Caller(account, name)

    def anonymous(self, authorization: str | None, device_id: str | None) -> Caller:
        """An anonymous caller is its device id; a bearer token has no place here (protocol.md 1)."""
        if authorization is not None or not _is_uuid(device_id):
            raise refused("unauthorized")
        return Caller(self._by_name[ANONYMOUS], f"{ANONYMOUS}:{device_id}")


def read_session_token(token: str) -> tuple[str, int] | None:
    """(name, generation) of a session cookie; None for another shape."""
    parts = token.split(".")
    try:
        sealed = base64.urlsafe_b64decode(parts[3] + "=" * (-len(parts[3]) % 4))
        return msgspec.json.decode(sealed, type=tuple[str, int])
    except (ValueError, IndexError):
        return None


class _AuthClaim(msgspec.Struct):
    chatgpt_account_id: str
    chatgpt_user_id: str
    chatgpt_plan_type: Plan


class _Claims(msgspec.Struct):
    iss: str
    sub: str
    exp: float
    auth: _AuthClaim = msgspec.field(name=AUTH_CLAIM)


def _read_claims(token: str) -> _Claims:
    """The claims of an access token; a token of another shape or issuer is refused as invalid_jwt."""
    try:
        _, payload, _ = token.split(".")
        claims = _claims_decoder.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, msgspec.DecodeError) as error:
        raise refused("invalid_jwt") from error
    if claims.iss != ISSUER:
        raise refused("invalid_jwt")
    return claims


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _is_uuid(text: str | None) -> bool:
    try:
        UUID(text or "")
    except ValueError:
        return False
    return True


_claims_decoder = msgspec.json.Decoder(_Claims)
