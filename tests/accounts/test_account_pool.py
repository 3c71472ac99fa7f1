"""The pool in use, on a real store: renewals, the store's absence, and tasks in the background that never end."""

import asyncio
import itertools
import logging
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shim.accounts.account import Account
from shim.accounts.opening import open_pool
from shim.accounts.pool import AccountPool, PoolOptions
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import State, Unused
from shim.accounts.stores import Store, StoreError
from shim.accounts.stores.sqlite import SqliteStore
from shim.errors import GatewayError, LimitError, UpstreamError
from shim.protocol.turn.renewal import RenewedTokens
from shim.settings import load_settings

REFRESH = "r" * 45


class FlakyStore(SqliteStore):
    """A store that is `away` when told so, and counts what it is asked."""

    away = False
    claims = 0

    async def save_account(self, account: Account) -> bool:
        if self.away:
            raise StoreError("the store is away")
        return await super().save_account(account)

    async def claim(self, id: str, lease: str, limit: int, seconds: float) -> bool:
        self.claims += 1
        if self.away:
            raise StoreError("the store is away")
        return await super().claim(id, lease, limit, seconds)


class Exchange:
    """What upstream's token endpoint does: one generation after the other, or `error`."""

    def __init__(self) -> None:
        self.calls: list[str | None] = []
        self.error: GatewayError | None = None
        self.during: Any = None

    async def __call__(self, account: Account) -> RenewedTokens:
        self.calls.append(account.refresh_token)
        if self.during is not None:
            self.during()
        if self.error is not None:
            raise self.error
        number = len(self.calls)
        return RenewedTokens(f"access {number}", f"refresh {number}", expires=time.time() + 864_000)


class Setting:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exchange = Exchange()
        self.store = FlakyStore(folder)
        self.pool = self.make(self.store)

    def make(self, store: Store, **options: Any) -> AccountPool:
        numbers = itertools.count()
        return AccountPool(
            store,
            self.exchange,
            PoolOptions(**options),
            holder=f"tests {id(store)}",
            clock=time.time,
            new_id=lambda: str(next(numbers)),
        )

    async def given(self, *, expires_in: float | None = None) -> str:
        """The id of an account that can be renewed; with `expires_in` it has an access token, too."""
        if expires_in is None:
            return (await self.pool.add(REFRESH)).added[0]
        expires = time.time() + expires_in
        return await self.pool.host(Account("a", access_token="access", refresh_token=REFRESH, expires=expires))


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    made = Setting(tmp_path)
    await made.pool.open(background=False)
    yield made
    await made.pool.close()


# --- renewals ---------------------------------------------------------------------------------------------------------


async def test_a_rotated_token_that_could_not_be_stored_at_once_is_stored_later(setting: Setting) -> None:
    """A refresh token is worth an account: it has to outlive the process even where the store was away for a while."""
    id = await setting.given()
    setting.exchange.during = lambda: setattr(setting.store, "away", True)
    renewed = await setting.pool.renew(id)
    assert renewed is not None
    assert renewed.refresh_token == "refresh 1"
    assert setting.pool.health().unsaved == 1
    slot = await setting.pool.lease(("m",))
    assert await setting.pool.ready(slot) == renewed, "it is used from memory meanwhile"
    setting.pool.end(slot, Unused())
    assert len(setting.exchange.calls) == 1
    setting.store.away = False
    async with asyncio.timeout(20):
        while setting.pool.health().unsaved:  # noqa: ASYNC110  health has no event
            await asyncio.sleep(0.01)
    (kept, _condition) = (await setting.store.load())[0]
    assert kept.refresh_token == "refresh 1"
    view = setting.pool.view(id)
    assert view is not None
    assert view.state is State.READY


async def test_a_renewal_ahead_of_time_is_seen_while_it_goes_on(setting: Setting) -> None:
    id = await setting.given(expires_in=100)
    seen: list[State] = []

    def look() -> None:
        view = setting.pool.view(id)
        assert view is not None
        seen.append(view.state)

    setting.exchange.during = look
    await setting.pool._renew_ahead()
    assert seen == [State.REFRESHING]
    assert [view.state for view in setting.pool.page()] == [State.READY]


@pytest.mark.parametrize(
    ("said", "rests"),
    [({"retry_after": 500}, 500), ({"resets_at": 900}, 900), ({}, 30)],
)
async def test_one_that_failed_ahead_of_time_rests_as_long_as_upstream_says(
    setting: Setting, said: dict[str, float], rests: float
) -> None:
    id = await setting.given(expires_in=100)
    if "resets_at" in said:
        said = {"resets_at": time.time() + said["resets_at"]}
    setting.exchange.error = LimitError("wait", **said)
    await setting.pool._renew_ahead()
    await setting.pool._renew_ahead()
    assert len(setting.exchange.calls) == 1, "the second time it was left alone"
    condition = setting.pool._pool.condition(id)
    assert condition is not None
    assert condition.retry_at == pytest.approx(time.time() + rests, abs=20)


# --- the store is away ------------------------------------------------------------------------------------------------


async def test_no_turn_waits_for_a_store_that_is_known_to_be_away(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.pool = setting.make(setting.store, shared=True, limit=9)
    await setting.pool.open(background=False)
    await setting.given(expires_in=1000)
    await setting.pool.lease(("m",))
    setting.store.away = True
    for _ in range(3):
        await setting.pool.lease(("m",))
    assert setting.store.claims == 2, "the first one found out"
    setting.store.away = False
    await setting.pool._synced.sync()
    await setting.pool.lease(("m",))
    assert setting.store.claims == 3
    await setting.pool.close()


# --- claims -----------------------------------------------------------------------------------------------------------


async def test_a_claim_lives_as_long_as_its_turn_and_no_longer_than_its_holder(tmp_path: Path) -> None:
    """A holder that was killed prolongs nothing; half an hour of `accounts_busy` was what it left once."""
    setting = Setting(tmp_path)
    alive = setting.make(setting.store, shared=True, limit=1, claim=1.0, patience=0.1)
    await alive.open()
    await alive.add(REFRESH)
    slot = await alive.lease(("m",))
    other = setting.make(SqliteStore(tmp_path), shared=True, limit=1, claim=1.0, patience=2.0)
    await other.open(background=False)
    with pytest.raises(NoAccountError):
        await other.lease(("m",))
    for task in alive._background._endless:  # a killed process does nothing at all any more
        task.cancel()
    assert (await other.lease(("m",))).account.id == slot.account.id
    await other.close()
    await alive.close()


async def test_stopping_gives_claims_back(tmp_path: Path) -> None:
    """Those of turns that end with it, and those of turns that nobody has ended."""
    setting = Setting(tmp_path)
    first = setting.make(setting.store, shared=True, limit=2, claim=60.0)
    await first.open()
    await first.add(REFRESH)
    slot = await first.lease(("m",))
    await first.lease(("m",))
    first.end(slot, Unused())
    await first.close()
    second = setting.make(SqliteStore(tmp_path), shared=True, limit=2, claim=60.0, patience=0.0)
    await second.open()
    await second.lease(("m",))
    await second.lease(("m",))
    await second.close()


async def test_a_worker_that_comes_after_a_killed_one_lets_go_of_its_claims(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    place = f"{socket.gethostname()}:{os.getppid()}"
    for holder in (f"{place}:{ended.pid}:1", f"{place}:{os.getpid()}:2", f"elsewhere:{os.getppid()}:{ended.pid}:3"):
        assert await store.claim("anna", f"{holder}/lease", 3, 60)
    settings = load_settings({"DATA_DIR": str(tmp_path), "WORKERS": "2"}, dotenv=Path(os.devnull))
    async with open_pool(settings):
        assert [await store.claim("anna", f"new {n}", 3, 60) for n in range(2)] == [True, False]
    await store.close()


# --- in the background ------------------------------------------------------------------------------------------------


async def test_a_background_task_that_fails_is_logged_told_and_goes_on(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs <= 3:
            raise ValueError("a mistake of ours")

    caplog.set_level(logging.WARNING, "chat2api")
    setting.pool._background.repeat(0.01, "sync", work)
    told = set()
    async with asyncio.timeout(20):
        while runs < 8:
            told.add(str(setting.pool.health().background))
            await asyncio.sleep(0.005)
    assert told == {"{'sync': 'ValueError'}", "{}"}
    assert setting.pool.health().background == {}
    assert caplog.text.count("it is tried again") == 1, "once for a row of failures"
    assert "is well again" in caplog.text


# --- nobody -----------------------------------------------------------------------------------------------------------


async def test_waiting_for_a_busy_account_ends(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.pool = setting.make(setting.store, limit=1, patience=0.05)
    await setting.pool.open(background=False)
    await setting.given(expires_in=1000)
    await setting.pool.lease(("m",))
    with pytest.raises(NoAccountError) as caught:
        await setting.pool.lease(("m",))
    assert caught.value.shortage is Shortage.BUSY
    await setting.pool.close()


async def test_a_renewal_that_fails_is_raised_for_all_who_wait(setting: Setting) -> None:
    id = await setting.given()
    setting.exchange.error = UpstreamError("no", code="upstream_503")
    outcomes = await asyncio.gather(*(setting.pool.renew(id) for _ in range(5)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {UpstreamError}
    assert len(setting.exchange.calls) == 3, "three tries, by one of them for all"
