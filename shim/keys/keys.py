"""The keys in use: memory decides who is let in, the store counts what they may still do.

Rule: a background task follows the store (a key that was removed elsewhere is refused within a second) and keeps the
calls of this process counted.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from shim.background import Background
from shim.databases import DatabaseError
from shim.databases.reach import Reach
from shim.errors import About, CredentialError, Field, LimitError, RequestError, UnavailableError
from shim.keys.base import (
    ApiKey,
    KeyLimits,
    KeyStore,
    KeyStoreError,
    KeyUse,
    Standing,
    UnfitKeyError,
    check_end,
    check_name,
    hash_of,
    new_secret,
)

log = logging.getLogger("chat2api")

# What is promised is that a key that was removed is refused within a second, everywhere.
_FOLLOW_SECONDS = 0.5
_CALL_SECONDS = 16.0
"""A call counts as under way for so long without a word of its process: one that was killed holds nothing for ever."""
_PROLONG_TIMES = 4  # in the life of a call, so that one that fails, or a busy loop, loses none

_OVER = {
    "requests": ("rate_limit_exceeded", "the key {name} may make {requests_per_minute} requests a minute"),
    "tokens": ("insufficient_quota", "the key {name} may use {tokens_per_day} tokens a day (UTC)"),
    "concurrent": ("too_many_requests_at_once", "the key {name} may make {concurrent} requests at once"),
}


class Pass(msgspec.Struct, frozen=True):
    """A call that was let in by a key with limits."""

    key: ApiKey
    ticket: str
    standing: Standing


class ApiKeys:
    """One of these a process."""

    def __init__(
        self,
        store: KeyStore,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._store, self._clock, self._new_id = store, clock, new_id
        self._stamp: int | None = None
        self._by_hash: dict[str, ApiKey] = {}
        self._by_name: dict[str, ApiKey] = {}
        self._under_way: dict[str, Pass] = {}
        self._background = Background("the keys")
        self._reach = Reach(KeyStoreError)

    # --- who calls ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, secret: str) -> ApiKey | None:
        """The key that this is. Raises CredentialError for one whose time is over."""
        if not self._by_hash:
            return None
        # By its hash, so that the time a look-up takes tells nothing of a key that is nearly right.
        key = self._by_hash.get(hash_of(secret))
        if key is not None and key.expires is not None and key.expires <= self._clock():
            raise CredentialError(
                "This key has expired: ask the operator of this gateway for another", code="key_expired"
            )
        return key

    def named(self, name: str | None) -> ApiKey | None:
        """The key of this name; None for those of AUTHORIZATION."""
        return self._by_name.get(name) if name is not None else None

    def may_ask(self, name: str | None, *models: str) -> bool:
        """Whether the key may ask for a model, by one of its names."""
        key = self.named(name)
        return key is None or any(map(key.limits.allow, models))

    def check_model(self, name: str | None, *models: str) -> None:
        """Raises RequestError (403) for a key that may not ask for a model by any of these names."""
        if name is None or self.may_ask(name, *models):
            return
        key = self._by_name[name]
        raise RequestError(
            f"The key {key.name} may not use this model; it may use {', '.join(key.limits.models)}",
            status=403,
            type="permission_error",
            code="model_not_allowed",
            param=Field.MODEL,
        )

    def check_unlimited(self, name: str | None) -> None:
        """Raises RequestError (403) for a key with limits, where nothing counts what it does."""
        key = self.named(name)
        if key is not None and key.limits != KeyLimits():
            raise RequestError(
                f"The key {key.name} has limits, which can't be counted on the web backend's own paths",
                status=403,
                type="permission_error",
                code="key_has_limits",
            )

    # --- what they may do -------------------------------------------------------------------------------------------

    async def enter(self, name: str | None) -> Pass | None:
        """Count a call that begins; None where its key has no limits. It is over with `leave`. Raises LimitError, or
        UnavailableError where the store is away."""
        if name is None or (key := self.named(name)) is None or not key.limits.are_counted:
            return None
        ticket = self._new_id()
        try:
            with self._reach.writing():
                standing = await self._store.enter(key, ticket, _CALL_SECONDS)
        except asyncio.CancelledError:
            # The store may have counted it all the same.
            self._background.spawn(self._leave(Pass(key, ticket, Standing()), 0))
            raise
        except KeyStoreError as error:
            raise UnavailableError(
                f"The store of keys can't be reached, and this key has limits: {error}", retry_after=5
            ) from None
        if standing.refused is not None:
            raise KeyLimitError(key, standing)
        self._under_way[ticket] = entered = Pass(key, ticket, standing)
        return entered

    def leave(self, entered: Pass, tokens: int) -> None:
        """A call is over, and has used so many tokens. What can't be told to the store is lost, and logged."""
        if self._under_way.pop(entered.ticket, None) is not None:
            self._background.spawn(self._leave(entered, tokens))

    async def _leave(self, entered: Pass, tokens: int) -> None:
        try:
            with self._reach.writing():
                await self._store.leave(entered.key, entered.ticket, tokens)
        except KeyStoreError as error:
            log.warning("%d tokens of the key %s were not counted: %s", tokens, entered.key.name, error)

    # --- managing ---------------------------------------------------------------------------------------------------

    async def all(self) -> list[tuple[ApiKey, KeyUse]]:
        """Every key and what it has used, by name. Raises KeyStoreError."""
        await self.refresh()
        keys = list(self._by_name.values())
        return list(zip(keys, [await self._store.use(key.id) for key in keys], strict=True))

    async def add(self, name: str, limits: KeyLimits, expires: float | None = None) -> str:
        """A new key, which is not shown again. Raises UnfitKeyError (also where the name is taken) or KeyStoreError."""
        check_name(name)
        check_end(expires, self._clock())
        secret = new_secret()
        key = ApiKey(name, self._new_id(), hash_of(secret), secret[-4:], self._clock(), limits, expires)
        if not await self._store.put(key, replaces=False):
            raise UnfitKeyError(f"there is a key {name!r} already")
        await self.refresh()
        return secret

    async def rotate(self, name: str) -> str | None:
        """Another secret for a key, whose old one is refused from now on; None where there is no such key. What the
        key has made stays its own. Raises KeyStoreError."""
        await self.refresh()
        key = self.named(name)
        if key is None:
            return None
        secret = new_secret()
        renewed = msgspec.structs.replace(key, hash=hash_of(secret), hint=secret[-4:])
        if not await self._store.put(renewed, replaces=True):
            return None
        await self.refresh()
        return secret

    async def remove(self, name: str) -> bool:
        """Refuse a key from now on; whether there was one. Raises KeyStoreError."""
        removed = await self._store.remove(name)
        await self.refresh()
        return removed

    # --- following the store ----------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Learn what has changed. Raises KeyStoreError."""
        with self._reach.reading():
            # Asked before the keys are: what changes in between is seen at the next look.
            stamp = await self._store.stamp()
        if stamp == self._stamp:
            return
        keys = await self._store.load()
        self._by_hash = {key.hash: key for key in keys}
        self._by_name = {key.name: key for key in keys}
        self._stamp = stamp

    async def open(self, *, background: bool) -> None:
        """Load the keys, and (`background`) go on following them. Raises KeyStoreError."""
        await self.refresh()
        if background:
            self._background.repeat(_FOLLOW_SECONDS, "follow", self.refresh, KeyStoreError)
            self._background.repeat(_CALL_SECONDS / _PROLONG_TIMES, "calls", self._prolong, KeyStoreError)

    async def close(self) -> None:
        """Tell the store what there is to tell, and let go of it."""
        await self._background.close()
        await self._store.close()

    @property
    def is_away(self) -> bool:
        """Whether the store could not be read, or not be written, when that was last tried."""
        return self._reach.is_away

    @property
    def failing(self) -> dict[str, str]:
        """The background tasks that failed when they last ran, and with which kind of error."""
        return self._background.failing

    async def _prolong(self) -> None:
        held = [(one.key.id, one.ticket) for one in self._under_way.values() if one.key.limits.concurrent is not None]
        if held:
            with self._reach.writing():
                await self._store.prolong(held, _CALL_SECONDS)


class KeyLimitError(LimitError):
    """A key is over one of its limits. `standing` says which, and how it stands to the others."""

    def __init__(self, key: ApiKey, standing: Standing) -> None:
        code, text = _OVER[standing.refused or "requests"]
        limit = text.format(name=key.name, **msgspec.to_builtins(key.limits))
        message = f"Over the limit: {limit}; try again in {max(1, round(standing.wait))} s"
        super().__init__(message, code=code, retry_after=standing.wait, about=About.ACCESS)
        self.key, self.standing = key, standing


def headers_of(key: ApiKey, standing: Standing) -> dict[str, str]:
    """`x-ratelimit-*` as OpenAI's API has them, of the limits there are."""
    told: dict[str, str] = {}
    if standing.requests_left is not None:
        told |= {
            "x-ratelimit-limit-requests": str(key.limits.requests_per_minute),
            "x-ratelimit-remaining-requests": str(standing.requests_left),
            "x-ratelimit-reset-requests": f"{standing.requests_reset:.3f}s",
        }
    if standing.tokens_left is not None:
        told |= {
            "x-ratelimit-limit-tokens": str(key.limits.tokens_per_day),
            "x-ratelimit-remaining-tokens": str(standing.tokens_left),
            "x-ratelimit-reset-tokens": f"{standing.tokens_reset:.0f}s",
        }
    return told


@asynccontextmanager
async def open_keys(*, data_dir: str | Path, redis_url: str = "", background: bool = True) -> AsyncIterator[ApiKeys]:
    """The keys of these settings, while the block runs. Raises KeyStoreError."""
    # Whichever is not used is not imported: redis alone takes 5 MB.
    store: KeyStore
    if redis_url:
        from shim.keys.redis import RedisKeys  # noqa: PLC0415

        try:
            store = RedisKeys(redis_url)
        except DatabaseError as error:
            raise KeyStoreError(str(error)) from None
    else:
        from shim.keys.sqlite import SqliteKeys  # noqa: PLC0415

        store = SqliteKeys(data_dir)
    keys = ApiKeys(store)
    try:
        await keys.open(background=background)
        yield keys
    finally:
        await keys.close()
