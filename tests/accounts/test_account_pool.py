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
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from shim.accounts.account import Account
from shim.accounts.opening import open_pool
from shim.accounts.pool import AccountPool, PoolOptions
from shim.accounts.pool_state import Slot
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import Refused, State, Unused
from shim.accounts.stores import Store, StoreError
from shim.accounts.stores.redis import RedisStore
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


# --- who waits --------------------------------------------------------------------------------------------------------


@pytest.fixture
async def busy(tmp_path: Path) -> AsyncIterator[tuple[AccountPool, Slot]]:
    """A pool whose only account, with one turn at a time, has it."""
    setting = Setting(tmp_path)
    setting.pool = setting.make(setting.store, limit=1, patience=20)
    await setting.pool.open(background=False)
    await setting.given(expires_in=1000)
    yield setting.pool, await setting.pool.lease(("m",))
    await setting.pool.close()


async def joined(pool: AccountPool, *slugs: str, **options: Any) -> "asyncio.Task[Slot]":
    """A turn that is waited for by now."""
    before = len(pool._line)
    waiting = asyncio.create_task(pool.lease(slugs, **options))
    async with asyncio.timeout(5):
        while len(pool._line) == before:  # noqa: ASYNC110  the line tells nobody
            await asyncio.sleep(0)
    return waiting


async def test_who_waits_is_served_in_order_and_alone(
    busy: tuple[AccountPool, Slot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All used to wake at each end of a turn, look, and sleep again: the first to wake was served."""
    pool, slot = busy
    waiting = [await joined(pool, "m") for _ in range(50)]
    asked = 0
    lease = pool._pool.lease

    def counted(*arguments: Any, **options: Any) -> Slot:
        nonlocal asked
        asked += 1
        return lease(*arguments, **options)

    monkeypatch.setattr(pool._pool, "lease", counted)
    for place, one in enumerate(waiting):
        pool.end(slot, Unused())
        late = asyncio.create_task(pool.lease(("m",)))  # finds nothing free: it was given on already
        slot = await one
        assert not any(other.done() for other in waiting[place + 1 :])
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
    assert asked <= 3 * len(waiting)
    pool.end(slot, Unused())
    assert len(pool._line) == 0


async def test_two_processes_that_wait_for_the_same_turns_are_both_served(tmp_path: Path) -> None:
    """What one of them has given back another one finds, and asking does not go round in circles."""
    pools = [Setting(tmp_path).make(FlakyStore(tmp_path), shared=True, limit=1, claim=60.0) for _ in range(2)]
    await pools[0].open()
    await pools[0].add(REFRESH)
    await pools[1].open()

    async def turn(pool: AccountPool) -> None:
        slot = await pool.lease(("m",))
        await asyncio.sleep(0.01)
        pool.end(slot, Unused())

    async with asyncio.timeout(30):
        await asyncio.gather(*(turn(pool) for pool in pools for _ in range(8)))
    assert [len(pool._line) for pool in pools] == [0, 0]
    assert sum(cast("FlakyStore", pool._store).claims for pool in pools) < 2000
    for pool in pools:
        await pool.close()


async def test_nobody_waits_behind_those_who_want_something_else(busy: tuple[AccountPool, Slot]) -> None:
    pool, slot = busy
    (other,) = (await pool.add("s" * 45)).added
    taken = await pool.lease(("m",), owner=other)
    first = await joined(pool, "m", owner=slot.account.id)
    second = await joined(pool, "m", owner=other)
    pool.end(taken, Unused())
    assert (await second).account.id == other
    assert not first.done()
    first.cancel()


async def test_whoever_leaves_as_it_is_served_gives_it_to_the_next(busy: tuple[AccountPool, Slot]) -> None:
    pool, slot = busy
    first, second = await joined(pool, "m"), await joined(pool, "m")
    pool.end(slot, Unused())
    first.cancel()
    async with asyncio.timeout(5):
        assert (await second).account == slot.account
    assert first.cancelled()


async def test_waiting_ends_where_there_is_nothing_left_to_wait_for(busy: tuple[AccountPool, Slot]) -> None:
    pool, slot = busy
    waiting = await joined(pool, "m")
    pool.end(slot, Refused("revoked"))
    async with asyncio.timeout(5):
        with pytest.raises(NoAccountError) as caught:
            await waiting
    assert caught.value.shortage is Shortage.NEVER


async def test_whoever_leaves_while_its_claim_is_asked_for_leaves_nothing_taken(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    pool = setting.make(setting.store, shared=True, limit=1, claim=60.0)
    await pool.open(background=False)
    await pool.add(REFRESH)
    leaving = asyncio.create_task(pool.lease(("m",)))
    async with asyncio.timeout(5):
        while setting.store.claims == 0:  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    async with asyncio.timeout(5):
        await pool.lease(("m",))
    await pool.close()


# --- a store that is full ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["add", "use"])
def writes(request: pytest.FixtureRequest) -> str:
    """What is written first where nothing can be."""
    return str(request.param)


async def test_a_store_that_can_not_be_written_is_away_until_it_can(
    start_redis: Any, tmp_path: Path, writes: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It can be read all the time. What was counted meanwhile is stored in the end."""
    url = start_redis().url
    store = RedisStore(url)
    pool = Setting(tmp_path).make(store, limit=1)
    await pool.open(background=False)
    await pool.add(REFRESH)
    async with Redis.from_url(url) as server:
        await server.config_set("maxmemory", "1")
        if writes == "add":
            with pytest.raises(StoreError, match="out of memory"):
                await pool.add("s" * 45)
        else:
            slot = await pool.lease(("m",))
            pool.end(slot, slot.succeeded())
            await pool._synced.sync()
        assert "out of memory" in pool.health().store
        for _ in range(2):
            await pool._synced.sync()
            assert "out of memory" in pool.health().store
        await server.config_set("maxmemory", "0")
    await pool._synced.sync()
    assert pool.health().store == "ok"
    assert caplog.text.count("is back") == 1
    ((_, condition),) = await store.load()
    assert condition.turns == (1 if writes == "use" else 0)
    await pool.close()
