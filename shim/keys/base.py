"""What a key is, and the one interface of the two stores. Both pass the same test suite."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

PREFIX = "c2a-"
"""Keys begin with it, so that people and scanners of leaked secrets know them."""

# It stands in logs, in labels of metrics and in paths, so that it is one word everywhere.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
WINDOW = 60.0  # seconds that `requests_per_minute` looks back
DAY = 86400.0  # seconds; `tokens_per_day` begins anew at midnight UTC
LAST_SECOND = 253_402_300_799.0  # of the year 9999
_RESERVED = re.compile(r"env-\d+|own", re.IGNORECASE)  # what the log calls keys of AUTHORIZATION, and callers without


class KeyStoreError(Exception):
    """The store can't be reached or read. The text names it without credentials."""


class UnfitKeyError(ValueError):
    """There can't be such a key. `field` is what of it is at fault."""

    def __init__(self, message: str, field: str = "name") -> None:
        super().__init__(message)
        self.field = field


class KeyLimits(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a key may do; None and () are no limit. `models` are names, or the beginnings of names with `*` behind."""

    models: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...], Meta(max_length=1000)] = ()
    requests_per_minute: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    tokens_per_day: Annotated[int, Meta(ge=1, le=10**12)] | None = None
    concurrent: Annotated[int, Meta(ge=1, le=10_000)] | None = None

    @property
    def are_counted(self) -> bool:
        """Whether the store has to be asked before a call."""
        return (self.requests_per_minute, self.tokens_per_day, self.concurrent) != (None, None, None)

    def allow(self, model: str) -> bool:
        """Whether the key may ask for this model, by its public name."""
        return not self.models or any(
            model.startswith(name[:-1]) if name.endswith("*") else model == name for name in self.models
        )


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """One key. `hint` is its last four characters, times are seconds since 1970; `id` stays when the key is rotated."""

    name: str
    id: str
    hash: str
    hint: str
    created: float
    limits: KeyLimits = KeyLimits()
    expires: float | None = None


class Standing(msgspec.Struct, frozen=True):
    """How a key stands to its limits. `refused` names the one it is over, and `wait` the seconds until that may pass.
    Of each limit there is what is left, and the seconds until all of it is there again."""

    refused: Literal["requests", "tokens", "concurrent"] | None = None
    wait: float = 0.0
    requests_left: int | None = None
    requests_reset: float = 0.0
    tokens_left: int | None = None
    tokens_reset: float = 0.0


class KeyUse(msgspec.Struct, frozen=True):
    """What of its limits a key has used: requests begun in the last minute, tokens today, calls under way. Only what
    is limited is counted."""

    requests: int = 0
    tokens: int = 0
    active: int = 0


class KeyStore(Protocol):
    """Keys that outlive the process, and what has to be counted over all processes. All raise KeyStoreError."""

    async def close(self) -> None:
        """Let go for good, after what was asked for before: later calls raise what they raise where the store is away.
        Closing again does nothing."""
        ...

    async def stamp(self) -> int:
        """A number that is another one after each change of the keys. Cheap enough to be asked twice a second."""
        ...

    async def load(self) -> list[ApiKey]:
        """All keys, by name."""
        ...

    async def put(self, key: ApiKey, *, replaces: bool) -> bool:
        """Keep a key under its name, where there is none of that name; or (`replaces`) only where there is one.
        Whether it was so."""
        ...

    async def remove(self, name: str) -> bool:
        """Forget a key and what it has used; whether there was one."""
        ...

    async def enter(self, key: ApiKey, ticket: str, seconds: float) -> Standing:
        """Atomically over all processes: begin a call named `ticket`, where no limit is in its way. It counts among
        those under way for `seconds`, or until `leave`."""
        ...

    async def leave(self, key: ApiKey, ticket: str, tokens: int) -> None:
        """A call is over, and has used so many tokens."""
        ...

    async def prolong(self, tickets: Sequence[tuple[str, str]], seconds: float) -> None:
        """Calls, each an id of a key and a ticket, are under way for `seconds` more."""
        ...

    async def use(self, id: str) -> KeyUse:
        """What the key of this id has used."""
        ...


def new_secret() -> str:
    """A new key, of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(secret: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_name(name: str) -> None:
    """Raises UnfitKeyError for a name that a key can't have."""
    if not NAME.fullmatch(name):
        raise UnfitKeyError("a name is 1 to 64 letters, digits, '.', '_' and '-', and begins with a letter or digit")
    if _RESERVED.fullmatch(name):
        raise UnfitKeyError(f"the log calls other callers {name!r}: take another name")


def check_end(expires: float | None, now: float) -> None:
    """Raises UnfitKeyError for an end (seconds since 1970) that is over already, or that no calendar has."""
    if expires is None:
        return
    if expires <= now:
        raise UnfitKeyError("its end is over already", "expires")
    if expires > LAST_SECOND:
        raise UnfitKeyError("its end is behind the year 9999, which no date can show", "expires")


def standing_of(limits: KeyLimits, use: KeyUse, oldest: float, now: float) -> Standing:
    """How a key stands before a call, which is not counted yet. `oldest` is when the oldest request within the last
    minute began; times are seconds since 1970."""
    until_reset = max(0.0, oldest + WINDOW - now) if use.requests else 0.0
    until_midnight = DAY - now % DAY
    refused: Literal["requests", "tokens", "concurrent"] | None = None
    wait = 0.0
    if limits.requests_per_minute is not None and use.requests >= limits.requests_per_minute:
        refused, wait = "requests", until_reset
    elif limits.tokens_per_day is not None and use.tokens >= limits.tokens_per_day:
        refused, wait = "tokens", until_midnight
    elif limits.concurrent is not None and use.active >= limits.concurrent:
        refused, wait = "concurrent", 1.0  # nobody knows when another call ends
    left = None
    if limits.requests_per_minute is not None:
        left = max(0, limits.requests_per_minute - use.requests - (refused is None))
    return Standing(
        refused,
        wait,
        left,
        until_reset if use.requests else WINDOW,
        None if limits.tokens_per_day is None else max(0, limits.tokens_per_day - use.tokens),
        until_midnight,
    )
