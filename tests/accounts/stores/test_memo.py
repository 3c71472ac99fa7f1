"""Notes: what both stores promise of them (base.py), and what bounds each."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shim.accounts.account import Account
from shim.accounts.stores import Store, StoreError, sqlite


async def test_what_one_process_notes_another_recalls(store: Store, other: Store) -> None:
    assert await store.recall("key") is None
    await store.remember("key", '["Gruß","\u2028"]', 60)
    await store.remember("another", "", 60)
    assert await other.recall("key") == await store.recall("key") == '["Gruß","\u2028"]'
    assert await other.recall("another") == ""
    assert await other.recall("ke") is None


async def test_a_later_note_takes_the_place_of_an_earlier_one(store: Store, other: Store) -> None:
    await store.remember("key", "first", 0.2)
    await other.remember("key", "second", 60)
    await asyncio.sleep(0.3)
    assert await store.recall("key") == "second"


async def test_a_note_ends_by_itself(store: Store, other: Store) -> None:
    await store.remember("short", "value", 0.2)
    await store.remember("long", "value", 60)
    assert await other.recall("short") == "value"
    await asyncio.sleep(0.3)
    assert await other.recall("short") is None
    assert await other.recall("long") == "value"


async def test_many_at_once_from_two_processes(store: Store, other: Store) -> None:
    both = (store, other)
    await asyncio.gather(*(both[n % 2].remember(f"key {n}", f"value {n}", 60) for n in range(200)))
    found = await asyncio.gather(*(both[n // 2 % 2].recall(f"key {n}") for n in range(200)))
    assert found == [f"value {n}" for n in range(200)]


async def test_notes_are_no_news_of_accounts_and_outlive_them(store: Store, other: Store) -> None:
    await store.add([Account("anna")])
    await other.changes()
    await store.remember("key", "value", 60)
    assert await other.changes() == []
    await store.remove(None)
    assert await store.recall("key") == "value"


async def test_notes_outlive_being_closed(store: Store) -> None:
    await store.remember("key", "value", 60)
    await store.close()
    for call in (store.recall("key"), store.remember("key", "other", 60)):
        with pytest.raises(StoreError, match="not open"):
            await call
    await store.open()
    assert await store.recall("key") == "value"


# --- the file ---------------------------------------------------------------------------------------------------------


def ask(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "accounts.sqlite3")) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


async def test_in_the_file_the_oldest_notes_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at: Callable[..., Any]
) -> None:
    monkeypatch.setattr(sqlite, "KEPT_NOTES", 10)
    store = await open_at(data_dir=tmp_path)
    await store.remember("renewed", "first", 60)
    for number in range(25):
        await store.remember(f"{number}", "value", 60)
        if number == 20:
            await store.remember("renewed", "second", 60)
    assert ask(tmp_path, "SELECT count(*) FROM notes") == [(10,)]
    assert await store.recall("renewed") == "second"
    assert [await store.recall(f"{number}") for number in (15, 16, 24)] == [None, "value", "value"]


async def test_in_the_file_what_has_ended_is_gone_with_the_next_note(
    tmp_path: Path, open_at: Callable[..., Any]
) -> None:
    store = await open_at(data_dir=tmp_path)
    await store.remember("short", "value", 0.05)
    await asyncio.sleep(0.1)
    await store.remember("next", "value", 60)
    assert ask(tmp_path, "SELECT key FROM notes") == [("next",)]


async def test_in_the_file_a_note_does_not_wait_for_the_disk(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    store = await open_at(data_dir=tmp_path)
    await store.add([Account("anna")])
    await store.remember("key", "value", 60)
    assert store._file._synchronous == "NORMAL"


async def test_a_note_of_bytes_that_are_no_text_is_no_error_of_ours(
    tmp_path: Path, open_at: Callable[..., Any]
) -> None:
    store = await open_at(data_dir=tmp_path)
    await store.remember("key", "value", 60)
    ask(tmp_path, "UPDATE notes SET value = CAST(X'FF41' AS TEXT)")
    with pytest.raises(StoreError):
        await store.recall("key")


# --- the server -------------------------------------------------------------------------------------------------------


async def test_on_the_server_a_note_has_an_end(start_redis: Callable[..., Any], open_at: Callable[..., Any]) -> None:
    server = start_redis()
    store = await open_at(data_dir="", redis_url=server.url)
    await store.remember("key", "value", 60)
    left = await store._client.pttl("chat2api:accounts:note:key")
    assert 50_000 < left <= 60_000


async def test_a_server_that_is_away_raises_and_comes_back(
    start_redis: Callable[..., Any], open_at: Callable[..., Any]
) -> None:
    server = start_redis("--appendfsync", "always")
    store = await open_at(data_dir="", redis_url=server.url)
    await store.remember("key", "value", 60)
    server.kill()
    for call in (store.recall("key"), store.remember("key", "other", 60)):
        with pytest.raises(StoreError, match="can't be reached"):
            await call
    server.start()
    assert await store.recall("key") == "value"
