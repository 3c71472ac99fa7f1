"""Keys and their limits, the same on both stores."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shim.databases import redis
from shim.errors import CredentialError, GatewayError, LimitError, RequestError, UnavailableError
from shim.keys import LAST_SECOND, ApiKeys, KeyLimits, KeyStoreError, UnfitKeyError
from shim.keys import keys as module
from shim.keys.base import DAY, KeyUse, hash_of, standing_of
from shim.keys.keys import KeyLimitError, headers_of


async def until(true: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_key_is_found_by_its_secret_alone(keys: ApiKeys, other: ApiKeys) -> None:
    secret = await keys.add("laptop", KeyLimits())
    assert secret.startswith("c2a-")
    assert keys.find(secret).name == "laptop"
    assert keys.find(secret[:-1]) is None
    assert keys.find("") is None
    await until(lambda: other.find(secret) is not None)  # a running gateway follows


async def test_what_is_kept_is_no_key(keys: ApiKeys, store_place: dict[str, Any]) -> None:
    secret = await keys.add("laptop", KeyLimits(models=("gpt-5*",)))
    ((key, _),) = await keys.all()
    assert (key.hash, key.hint) == (hash_of(secret), secret[-4:])
    if not store_place["redis_url"]:
        assert secret.encode() not in (store_place["data_dir"] / "keys.sqlite3").read_bytes()


async def test_a_removed_key_is_refused_everywhere(keys: ApiKeys, other: ApiKeys) -> None:
    secret = await keys.add("laptop", KeyLimits())
    await until(lambda: other.find(secret) is not None)
    assert await keys.remove("laptop")
    assert not await keys.remove("laptop")
    assert keys.find(secret) is None
    await until(lambda: other.find(secret) is None)


async def test_a_rotated_key_has_another_secret_and_the_same_limits(keys: ApiKeys) -> None:
    limits = KeyLimits(requests_per_minute=3)
    old = await keys.add("laptop", limits)
    id = keys.find(old).id
    new = await keys.rotate("laptop")
    assert keys.find(old) is None
    assert (keys.find(new).id, keys.find(new).limits) == (id, limits)
    assert await keys.rotate("nobody") is None


@pytest.mark.parametrize("name", ["", "-x", "a b", "x" * 65, "env-1", "own", "ä"])
async def test_names_that_can_not_be(keys: ApiKeys, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await keys.add(name, KeyLimits())


async def test_ends_that_can_not_be(keys: ApiKeys) -> None:
    for end, why in ((time.time() - 1, "over already"), (LAST_SECOND + 1, "9999")):
        with pytest.raises(UnfitKeyError, match=why) as raised:
            await keys.add("guest", KeyLimits(), expires=end)
        assert raised.value.field == "expires"
    assert await keys.all() == []


async def test_a_name_is_taken_once(keys: ApiKeys, other: ApiKeys) -> None:
    secret = await keys.add("laptop", KeyLimits())
    with pytest.raises(ValueError, match="already"):
        await other.add("laptop", KeyLimits())
    assert keys.find(secret) is not None


async def test_an_expired_key_says_so(keys: ApiKeys) -> None:
    secret = await keys.add("guest", KeyLimits(), expires=time.time() + 600)
    keys._clock = lambda: time.time() + 601
    with pytest.raises(CredentialError) as raised:
        keys.find(secret)
    assert raised.value.code == "key_expired"
    assert secret not in str(raised.value)


async def test_models(keys: ApiKeys) -> None:
    await keys.add("laptop", KeyLimits(models=("gpt-5*", "auto")))
    for model in ("gpt-5", "gpt-5-mini", "auto"):
        keys.check_model("laptop", model)
    for model in ("gpt-4o", "auto-x", ""):
        with pytest.raises(RequestError) as raised:
            keys.check_model("laptop", model)
        assert (raised.value.http_status, raised.value.code) == (403, "model_not_allowed")
    keys.check_model("env-1", "gpt-4o")
    keys.check_model(None, "gpt-4o")


async def test_a_key_without_limits_asks_no_store(keys: ApiKeys) -> None:
    await keys.add("free", KeyLimits(models=("gpt-5",)))
    store, keys._store = keys._store, None  # type: ignore[assignment]  # whoever asks it fails
    assert await keys.enter("free") is None
    assert await keys.enter("env-1") is None
    keys._store = store


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand calls at once on a busy machine take longer than a request may wait for the store."""
    for name in ("CONNECT_SECONDS", "CALL_SECONDS", "WAIT_SECONDS"):
        monkeypatch.setattr(redis, name, 90.0)


@pytest.mark.usefixtures("patience")
async def test_requests_a_minute_hold_over_all_processes_under_1000_at_once(
    open_at: Callable[..., Any], store_place: dict[str, Any]
) -> None:
    keys, other = await open_at(**store_place), await open_at(**store_place)
    await keys.add("laptop", KeyLimits(requests_per_minute=37))
    await other.refresh()
    waits: list[float | None] = []

    async def call(place: int) -> int:
        try:
            assert await (keys, other)[place % 2].enter("laptop") is not None
        except LimitError as error:
            waits.append(error.retry_after)
            return 0
        return 1

    entered = await asyncio.gather(*map(call, range(1000)))
    assert sum(entered) == 37
    assert all(wait is not None and 0 < wait <= 60 for wait in waits)
    ((_, use),) = await keys.all()
    assert use.requests == 37


@pytest.mark.usefixtures("patience")
async def test_calls_at_once_hold_over_all_processes(keys: ApiKeys, other: ApiKeys) -> None:
    await keys.add("laptop", KeyLimits(concurrent=5))
    await other.refresh()
    tried = await asyncio.gather(*(one.enter("laptop") for one in [keys, other] * 100), return_exceptions=True)
    entered = [one for one in tried if not isinstance(one, BaseException)]
    assert len(entered) == 5
    assert {one.code for one in tried if isinstance(one, GatewayError)} == {"too_many_requests_at_once"}
    for one in entered:
        (keys if one.ticket in keys._under_way else other).leave(one, 0)
    await until(lambda: not keys._background._once and not other._background._once)
    assert await keys.enter("laptop") is not None


async def test_calls_of_a_process_that_was_killed_end_by_themselves(
    keys: ApiKeys, other: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CALL_SECONDS", 0.3)
    await keys.add("laptop", KeyLimits(concurrent=1))
    await other.refresh()
    await keys.enter("laptop")
    keys._under_way.clear()  # nobody prolongs it: its process is gone
    with pytest.raises(LimitError):
        await other.enter("laptop")
    for _ in range(200):
        try:
            assert await other.enter("laptop") is not None
            break
        except LimitError:
            await asyncio.sleep(0.05)
    else:
        pytest.fail("the call of the dead process was never let go of")


async def test_a_call_given_up_as_it_is_counted_holds_nothing(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    await keys.add("laptop", KeyLimits(concurrent=1))
    counted, enter = asyncio.Event(), keys._store.enter

    async def enter_slowly(*asked: Any) -> Any:
        standing = await enter(*asked)
        counted.set()
        await asyncio.Event().wait()
        return standing

    monkeypatch.setattr(keys._store, "enter", enter_slowly)
    entering = asyncio.create_task(keys.enter("laptop"))
    await counted.wait()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    monkeypatch.setattr(keys._store, "enter", enter)
    await asyncio.gather(*keys._background._once)
    assert await keys.enter("laptop") is not None


async def test_a_call_that_lasts_stays_counted(keys: ApiKeys, other: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALL_SECONDS", 0.5)
    await keys.add("laptop", KeyLimits(concurrent=1))
    await other.refresh()
    await keys.enter("laptop")
    monkeypatch.setattr(module, "_CALL_SECONDS", 60.0)
    await keys._prolong()
    await asyncio.sleep(0.6)  # as long as it would have had without
    with pytest.raises(LimitError):
        await other.enter("laptop")


async def test_tokens_a_day_hold_over_all_processes(keys: ApiKeys, other: ApiKeys) -> None:
    await keys.add("laptop", KeyLimits(tokens_per_day=100))
    await other.refresh()
    first, second = await keys.enter("laptop"), await other.enter("laptop")
    assert first.standing.tokens_left == 100
    keys.leave(first, 60)
    other.leave(second, 50)
    other.leave(second, 50)  # ending again counts nothing
    await until(lambda: not keys._background._once and not other._background._once)
    ((_, use),) = await keys.all()
    assert use.tokens == 110
    with pytest.raises(KeyLimitError) as raised:
        await keys.enter("laptop")
    assert raised.value.code == "insufficient_quota"
    assert 0 < raised.value.retry_after <= DAY
    assert headers_of(raised.value.key, raised.value.standing)["x-ratelimit-remaining-tokens"] == "0"


async def test_removing_a_key_forgets_what_it_used(keys: ApiKeys) -> None:
    await keys.add("laptop", KeyLimits(requests_per_minute=1))
    await keys.enter("laptop")
    await keys.remove("laptop")
    await keys.add("laptop", KeyLimits(requests_per_minute=1))
    assert await keys.enter("laptop") is not None


async def test_a_store_that_is_away_refuses_keys_with_limits_alone(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = await keys.add("limited", KeyLimits(concurrent=1))
    free = await keys.add("free", KeyLimits())

    async def away(*_: object) -> None:
        raise KeyStoreError("the store is away")

    monkeypatch.setattr(keys._store, "enter", away)
    assert keys.find(limited) is not None
    assert keys.find(free) is not None
    assert await keys.enter("free") is None
    with pytest.raises(UnavailableError) as raised:
        await keys.enter("limited")
    assert raised.value.http_status == 503


async def test_a_damaged_file_is_one_sentence(tmp_path: Any) -> None:
    (tmp_path / "keys.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(KeyStoreError, match="damaged"):
        async with module.open_keys(data_dir=tmp_path):
            pass
    (tmp_path / "keys.sqlite3").unlink()
    sqlite3.connect(tmp_path / "keys.sqlite3").execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(KeyStoreError, match="newer chat2api"):
        async with module.open_keys(data_dir=tmp_path):
            pass


NOW = 1_000_000.0


@pytest.mark.parametrize(
    ("limits", "use", "refused", "left", "wait"),
    [
        (KeyLimits(requests_per_minute=2), KeyUse(), None, 1, 0),
        (KeyLimits(requests_per_minute=2), KeyUse(requests=1), None, 0, 0),
        (KeyLimits(requests_per_minute=2), KeyUse(requests=2), "requests", 0, 50),
        (KeyLimits(tokens_per_day=9), KeyUse(tokens=8), None, None, 0),
        (KeyLimits(tokens_per_day=9), KeyUse(tokens=9), "tokens", None, DAY - NOW % DAY),
        (KeyLimits(concurrent=1), KeyUse(active=1), "concurrent", None, 1),
        (KeyLimits(), KeyUse(9, 9, 9), None, None, 0),
    ],
)
def test_standings(limits: KeyLimits, use: KeyUse, refused: str | None, left: int | None, wait: float) -> None:
    standing = standing_of(limits, use, NOW - 10, NOW)
    assert (standing.refused, standing.requests_left, standing.wait) == (refused, left, wait)


async def test_who_waits_for_another_process_is_told_no_more_than_a_minute(
    open_at: Callable[..., Any], tmp_path: Path
) -> None:
    """The file is written by one at a time; what counts is the time at which it is one's turn."""
    keys, other = await open_at(data_dir=tmp_path), await open_at(data_dir=tmp_path)
    await keys.add("laptop", KeyLimits(requests_per_minute=1))
    await other.refresh()
    with closing(sqlite3.connect(tmp_path / "keys.sqlite3", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(other.enter("laptop"))
        await asyncio.sleep(0.3)  # so long it waits for the file
        (id,) = holder.execute("SELECT id FROM keys").fetchone()
        holder.execute("INSERT INTO requests VALUES (?, ?)", (id, time.time()))
        holder.execute("COMMIT")
        with pytest.raises(LimitError) as raised:
            await waiting
    assert 0 < raised.value.retry_after <= 60


async def test_a_store_that_is_away_is_logged_once_and_is_no_failure(
    keys: ApiKeys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def away() -> int:
        nonlocal asked
        asked += 1
        raise KeyStoreError("the server can't be reached")

    with monkeypatch.context() as patch:
        patch.setattr(keys._store, "stamp", away)
        await until(lambda: asked >= 3)
    assert keys.failing == {}
    assert caplog.text.count("the server can't be reached") == 1
