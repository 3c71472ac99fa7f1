"""What is particular to the file: its mode, its versions, damage, and several processes at once."""

import asyncio
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shim.accounts.account import Account, Condition, Quota
from shim.accounts.stores import StoreError, sqlite
from shim.accounts.stores.sqlite import SqliteStore
from shim.databases import sqlite as database
from shim.errors import Evidence

FILE = "accounts.sqlite3"
ANNA = Account("anna", refresh_token="refresh-a")
VERSION_1, VERSION_3 = (Path(__file__).with_name("formats") / f"sqlite-{number}.sql" for number in (1, 3))


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_the_file_is_its_owner_s_only(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    folder = tmp_path / "deep" / "data"
    store = await open_at(data_dir=folder)
    await store.add([ANNA])
    assert modes(folder) == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_file_others_could_read_is_made_private(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    (tmp_path / FILE).touch(0o644)
    await (await open_at(data_dir=tmp_path)).add([ANNA])
    assert set(modes(tmp_path).values()) == {0o600}


async def test_it_waits_for_the_disk_where_it_must_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements: list[str] = []
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = real(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr("sqlite3.connect", connect)
    store = SqliteStore(tmp_path)
    await store.open()
    for call, level in [
        (store.add([ANNA]), "FULL"),
        (store.claim("anna", "lease", 1, 60), "NORMAL"),
        (store.save_condition("anna", Condition()), "FULL"),
        (store.prolong([("anna", "lease")], 60), "NORMAL"),
        (store.add_uses({"anna": (1.0, 1)}), "NORMAL"),
        (store.remove(["anna"]), "FULL"),
    ]:
        await call
        assert [one for one in statements if "synchronous" in one][-1] == f"PRAGMA synchronous = {level}"
    await store.close()


async def test_a_file_of_the_first_format_is_read(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    """Written by the first version: later ones must go on reading it."""
    lay_down(tmp_path, VERSION_1.read_text())
    store = await open_at(data_dir=tmp_path)
    anna = Account("anna", user="user-1", refresh_token="refresh-a", added=1.5, version=3)
    cooling = Condition(cooling={"gpt-5": 99.5}, reasons={"gpt-5": "limited"}, last_used=50.5, turns=7)
    assert await store.load() == [(Account("bert", access_token="access-b"), Condition()), (anna, cooling)]


async def test_a_file_of_before_the_evidence_is_read_changed_and_loses_nothing(
    tmp_path: Path, open_at: Callable[..., Any]
) -> None:
    lay_down(tmp_path, VERSION_3.read_text())
    tokens = {"access_token": "access-a", "refresh_token": "refresh-a", "session_token": "session-a"}
    named = {"user": "user-1", "workspace_id": "team", "plan": "plus", "expires": 1.9e9, "added": 1.5, "version": 1}
    anna = Account("anna", **tokens, **named, client_id="app_LlGpXReQgckcGGUo2JrYvtJK", client_sure=True)
    limits = Condition(
        cooling={"*": 99.5, "gpt-5": 88.5},
        reasons={"*": "usage_limit_reached", "gpt-5": "model_cap_exceeded"},
        since={"*": 9.5, "gpt-5": 8.5},
        last_used=50.5,
        turns=7,
        quotas=(Quota("deep_research", 4, "2026-12-01T00:00:00Z"),),
        quotas_at=7.5,
    )
    bert = Account("bert", refresh_token="refresh-b", added=2.5)
    parked = Condition("refresh_token_reused", reasons={"!renewal": "timeout"}, expired=True, retry_at=5.5)
    store = await open_at(data_dir=tmp_path)
    assert await store.load() == [(anna, limits), (bert, parked)]
    paused = replace(anna, version=2, label="Anna's", paused=60.0, limit=2, proxy_url="http://u:p@proxy.test")
    assert await store.save_account(paused)
    told = replace(limits, evidence={"*": Evidence(429, "You've hit your limit", "retry-after: 60")})
    await store.save_condition("anna", told)
    again = await open_at(data_dir=tmp_path)
    assert await again.load() == [(paused, told), (bert, parked)]


async def test_a_file_is_brought_up_to_date_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at: Callable[..., Any]
) -> None:
    lay_down(tmp_path, VERSION_1.read_text())
    steps = ("ALTER TABLE accounts ADD COLUMN note TEXT", "UPDATE accounts SET note = 'from 1'")
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS[:1], steps))
    stores = await asyncio.gather(*(open_at(data_dir=tmp_path) for _ in range(5)))
    assert [account.id for account, _ in await stores[0].load()] == ["bert", "anna"]
    assert ask(tmp_path, "SELECT note FROM accounts") == [("from 1",)] * 2
    assert ask(tmp_path, "PRAGMA user_version") == [(2,)]


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_down(tmp_path, VERSION_1.read_text())
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*sqlite.MIGRATIONS, ("DROP TABLE accounts", "DROP TABLE no_such")))
    with pytest.raises(StoreError, match="SQLITE_ERROR"):
        await SqliteStore(tmp_path).open()
    assert ask(tmp_path, "SELECT count(*) FROM accounts") == [(2,)]
    assert ask(tmp_path, "PRAGMA user_version") == [(1,)]


async def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    lay_down(tmp_path, f"PRAGMA user_version = {len(sqlite.MIGRATIONS) + 1};")
    with pytest.raises(StoreError, match="newer chat2api"):
        await SqliteStore(tmp_path).open()


async def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"what a person put here " * 500)
    with pytest.raises(StoreError, match=r"is damaged or no SQLite file.*put a copy back"):
        await SqliteStore(tmp_path).open()
    assert (tmp_path / FILE).read_bytes().startswith(b"what a person")


async def test_a_file_damaged_inside_says_so_and_quotes_nothing(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.add([Account(f"{number}", access_token="very secret " * 20) for number in range(500)])
    await store.close()
    with (tmp_path / FILE).open("r+b") as file:
        for page in range(5, 30):
            file.seek(page * 4096)
            file.write(b"\xff" * 2048)
    await store.open()
    with pytest.raises(StoreError, match="is damaged") as failure:
        await store.load()
    await store.close()
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("text", ["{ secret", '{"id": 5, "access_token": "secret"}'])
async def test_a_row_that_is_not_ours_is_left_out_and_quoted_nowhere(
    tmp_path: Path, open_at: Callable[..., Any], caplog: pytest.LogCaptureFixture, text: str
) -> None:
    store = await open_at(data_dir=tmp_path)
    await store.add([ANNA])
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("UPDATE accounts SET account = ?", (text,))
    connection.close()
    assert await store.load() == []
    assert caplog.records, "it is said that one is left out"
    assert "secret" not in caplog.text
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute('UPDATE accounts SET account = \'{"id": "anna"}\'')
    connection.close()
    assert await store.load() == [(Account("anna"), Condition())], "it goes on once it is mended"


@pytest.mark.parametrize("text", ["very \udcff secret"])
async def test_a_row_that_is_no_text_quotes_nothing(tmp_path: Path, open_at: Callable[..., Any], text: str) -> None:
    store = await open_at(data_dir=tmp_path)
    await store.add([ANNA])
    with sqlite3.connect(tmp_path / FILE) as connection:
        blob = text.encode(errors="surrogateescape")
        connection.execute("UPDATE accounts SET account = CAST(? AS TEXT)", (blob,))
    connection.close()
    with pytest.raises(StoreError) as failure:
        await store.load()
    assert "secret" not in str(failure.value)
    assert failure.value.__cause__ is None
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute('UPDATE accounts SET account = \'{"id": "anna"}\'')
    connection.close()
    assert await store.load() == [(Account("anna"), Condition())], "it goes on once it is mended"


async def test_a_folder_that_can_t_be_made(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    store = SqliteStore(tmp_path / "data")
    with pytest.raises(StoreError, match="can't be used"):
        await store.open()
    (tmp_path / "data").unlink()
    await store.open()
    await store.close()


async def test_one_kept_busy_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at: Callable[..., Any]
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    store = await open_at(data_dir=tmp_path)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        assert await store.load() == [], "readers do not wait for writers"
        with pytest.raises(StoreError, match="busy"):
            await store.add([ANNA])
        blocker.execute("ROLLBACK")
    blocker.close()
    assert await store.add([ANNA]) == [True]


async def test_the_event_loop_goes_on_meanwhile(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    store = await open_at(data_dir=tmp_path)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(store.add([ANNA]))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        blocker.execute("ROLLBACK")
    blocker.close()
    assert await waiting == [True]


async def test_what_a_cancelled_call_did_is_whole(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    store = await open_at(data_dir=tmp_path)
    adding = asyncio.create_task(store.add([Account(f"{number}") for number in range(2000)]))
    await asyncio.sleep(0)  # it has begun; a time would be longer than all of it, now and then
    adding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await adding
    assert len(await store.load()) in {0, 2000}


async def test_processes_that_make_the_file_at_once_agree(
    tmp_path: Path, start_child: Callable[..., "subprocess.Popen[str]"]
) -> None:
    children = [start_child("open", {"data_dir": str(tmp_path / "data")}, "child") for _ in range(6)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    assert [child.communicate()[0] for child in children] == ["opened\n"] * 6


async def test_turning_wal_on_waits_for_a_writer(tmp_path: Path) -> None:
    """SQLite refuses it at once; so it is when several processes make the file at the same moment."""
    lay_down(tmp_path, "CREATE TABLE something (value)")
    writer = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    store = SqliteStore(tmp_path)
    opening = asyncio.create_task(store.open())
    await asyncio.sleep(0.1)
    assert not opening.done()
    writer.execute("ROLLBACK")
    writer.close()
    await opening
    await store.close()
    assert ask(tmp_path, "PRAGMA journal_mode") == [("wal",)]


async def test_what_is_deleted_is_overwritten(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    await store.open()
    await store.add([Account("anna", refresh_token="a very old secret"), Account("bert")])
    await store.remove(["anna"])
    await store.close()
    assert list(modes(tmp_path)) == [FILE]
    assert b"a very old secret" not in (tmp_path / FILE).read_bytes()


async def test_the_list_of_changes_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at: Callable[..., Any]
) -> None:
    monkeypatch.setattr(sqlite, "KEPT_CHANGES", 10)
    store = await open_at(data_dir=tmp_path)
    await store.add([ANNA])
    for _ in range(30):
        await store.save_condition("anna", Condition())
    assert ask(tmp_path, "SELECT count(*), max(sequence) FROM changes") == [(10, 31)]


def lay_down(folder: Path, script: str) -> None:
    connection = sqlite3.connect(folder / FILE)
    connection.executescript(script)
    connection.close()


def ask(folder: Path, statement: str) -> list[Any]:
    connection = sqlite3.connect(folder / FILE)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
