"""What is particular to the file of notes."""

import asyncio
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from shim.databases import sqlite as database
from shim.databases.keys import new_key
from shim.notes import NotesError, sqlite

FILE = "notes.db"


def ask(folder: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        found = connection.execute(statement).fetchall()
        connection.commit()
        return found


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_there_is_no_file_before_the_first_note(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    shelf = (await open_at(data_dir=tmp_path / "data")).shelf("things")
    assert not (tmp_path / "data").exists()
    await shelf.put("key", b"value", 60)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {FILE: 0o600, f"{FILE}-wal": 0o600, f"{FILE}-shm": 0o600}
    assert ask(tmp_path / "data", "PRAGMA journal_mode") == [("wal",)]


async def test_what_has_ended_is_gone_with_the_next_note(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    notes = await open_at(data_dir=tmp_path)
    await notes.shelf("one").put("short", b"a secret of old", 0.05)
    await asyncio.sleep(0.1)
    await notes.shelf("two").put("next", b"value", 60)
    assert ask(tmp_path, "SELECT key FROM notes") == [("next",)]
    assert ask(tmp_path, "SELECT shelf, count FROM shelves ORDER BY shelf") == [("one", 0), ("two", 1)]
    ask(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a secret of old" not in (tmp_path / FILE).read_bytes()


async def test_no_value_is_in_the_file_where_there_is_a_key(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    shelf = (await open_at(data_dir=tmp_path, keys=[new_key()])).shelf("things")
    await shelf.put("key", b"what nobody may read", 60)
    assert not [path for path in files(tmp_path) if b"nobody may read" in path.read_bytes()]


async def test_notes_outlive_the_process(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    store = sqlite.SqliteNotes(tmp_path)
    await store.put("things", "key", b"pvalue", 60, 10)
    await store.close()
    await store.close()
    assert [path.name for path in files(tmp_path)] == [FILE]
    assert await (await open_at(data_dir=tmp_path)).shelf("things").get("key") == b"value"


async def test_processes_that_make_the_file_at_once_agree(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    shelves = [(await open_at(data_dir=tmp_path)).shelf("things") for _ in range(8)]
    added = await asyncio.gather(*(shelf.add("key", b"value", 60) for shelf in shelves))
    assert added.count(True) == 1


async def test_a_damaged_file_says_so_and_one_put_in_its_place_is_used(
    tmp_path: Path, open_at: Callable[..., Any]
) -> None:
    (tmp_path / FILE).write_bytes(b"what a person put here " * 500)
    shelf = (await open_at(data_dir=tmp_path)).shelf("things")
    for call in (shelf.get("key"), shelf.put("key", b"value", 60), shelf.page()):
        with pytest.raises(NotesError, match=r"notes\.db is damaged or no SQLite file") as failure:
            await call
        assert failure.value.__cause__ is None
    (tmp_path / FILE).unlink()
    await shelf.put("key", b"value", 60)
    assert await shelf.get("key") == b"value"


async def test_a_file_that_is_damaged_while_in_use_is_opened_anew(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    shelf = (await open_at(data_dir=tmp_path)).shelf("things")
    for number in range(200):
        await shelf.put(f"{number}", bytes(1000), 60)
    ask(tmp_path, "PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / FILE).open("r+b") as file:
        for page in range(1, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    ask(tmp_path, "PRAGMA user_version")
    with pytest.raises(NotesError, match="damaged"):
        for number in range(200):
            await shelf.put(f"{number}", b"value", 60)
    for path in files(tmp_path):  # the store closes them in its thread, which removes some
        path.unlink(missing_ok=True)
    await shelf.put("key", b"value", 60)
    assert await shelf.get("key") == b"value"


async def test_a_file_of_a_newer_format_is_refused(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    ask(tmp_path, f"PRAGMA user_version = {sqlite.FORMAT + 1}")
    shelf = (await open_at(data_dir=tmp_path)).shelf("things")
    with pytest.raises(NotesError, match="newer chat2api"):
        await shelf.get("key")


async def test_one_kept_busy_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_at: Callable[..., Any]
) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    shelf = (await open_at(data_dir=tmp_path)).shelf("things")
    await shelf.put("key", b"value", 60)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        assert await shelf.get("key") == b"value", "readers do not wait for writers"
        with pytest.raises(NotesError, match="busy"):
            await shelf.put("key", b"other", 60)
        blocker.execute("ROLLBACK")
    await shelf.put("key", b"other", 60)


async def test_what_was_not_written_by_us_is_no_value(tmp_path: Path, open_at: Callable[..., Any]) -> None:
    shelf = (await open_at(data_dir=tmp_path)).shelf("things")
    await shelf.put("key", b"value", 60)
    ask(tmp_path, "UPDATE notes SET value = X'00FF41'")
    with pytest.raises(NotesError, match="not written by this gateway"):
        await shelf.get("key")
