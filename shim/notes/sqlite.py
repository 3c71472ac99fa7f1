"""Notes in a file: `notes.db` in DATA_DIR, shared by the processes of one machine.

It is not the accounts' file: notes come and go by the thousand and may be lost, accounts must not wait for that, and a
notes file that is damaged can simply be removed. Every call runs in the store's one thread, in the order it was made.
"""

import os
import time
from pathlib import Path

from shim.databases.lazy_file import LazyFile, LazyFileThread
from shim.databases.sqlite import transaction
from shim.notes.base import Note, NotesError

FILE = "notes.db"
FORMAT = 1
SWEPT_AT_ONCE = 500
"""Ended notes that one write removes: the first one after a long rest must not hold up the others."""

_TABLES = (
    # A note that is written again gets a new place, so that those written longest ago have the lowest.
    """CREATE TABLE notes (
        place INTEGER PRIMARY KEY AUTOINCREMENT,
        shelf TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, until REAL NOT NULL, UNIQUE (shelf, key)
    )""",
    "CREATE INDEX notes_by_end ON notes (until)",
    "CREATE INDEX notes_by_place ON notes (shelf, place)",
    # Counted by triggers, as counting twenty thousand rows at every write would cost more than the write.
    "CREATE TABLE shelves (shelf TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TRIGGER note_written AFTER INSERT ON notes BEGIN
        INSERT INTO shelves VALUES (new.shelf, 1) ON CONFLICT (shelf) DO UPDATE SET count = count + 1;
    END""",
    """CREATE TRIGGER note_removed AFTER DELETE ON notes BEGIN
        UPDATE shelves SET count = count - 1 WHERE shelf = old.shelf;
    END""",
)


class SqliteNotes:
    """Notes in `data_dir`/notes.db."""

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self._file = LazyFileThread(_NotesFile(Path(data_dir) / FILE), "notes", NotesError)

    async def close(self) -> None:
        await self._file.close()

    async def put(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> None:
        await self._file.run(_NotesFile.write, shelf, key, value, seconds, most, replace=True)

    async def add(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> bool:
        return await self._file.run(_NotesFile.write, shelf, key, value, seconds, most, replace=False)

    async def get(self, shelf: str, key: str) -> bytes | None:
        return await self._file.run(_NotesFile.get, shelf, key)

    async def delete(self, shelf: str, key: str) -> bool:
        return await self._file.run(_NotesFile.delete, shelf, key)

    async def page(self, shelf: str, prefix: str, after: str | None, limit: int, *, backwards: bool) -> list[Note]:
        return await self._file.run(_NotesFile.page, shelf, prefix, after, limit, backwards=backwards)


class _NotesFile(LazyFile):
    """The same, synchronous, for the one thread it lives in."""

    def __init__(self, path: Path) -> None:
        # A loss of power may take the last notes with it (see `base`); in return no write waits for the disk.
        super().__init__(path, _TABLES, FORMAT, synchronous="NORMAL")

    def write(self, shelf: str, key: str, value: bytes, seconds: float, most: int, *, replace: bool) -> bool:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            now = time.time()  # only here, where nobody else writes
            db.execute(_SWEEP, (now, SWEPT_AT_ONCE))
            # Where nothing is to be replaced, a note that has ended (the sweep may have left it) is as good as none.
            db.execute(
                "DELETE FROM notes WHERE shelf = ? AND key = ? AND (? OR until <= ?)", (shelf, key, replace, now)
            )
            written = db.execute(_INSERT, (shelf, key, value, now + seconds)).rowcount
            (count,) = db.execute("SELECT count FROM shelves WHERE shelf = ?", (shelf,)).fetchone()
            db.execute(_MAKE_ROOM, (shelf, max(0, count - most)))
        return written == 1

    def get(self, shelf: str, key: str) -> bytes | None:
        query = "SELECT value FROM notes WHERE shelf = ? AND key = ? AND until > ?"
        found = self.db.execute(query, (shelf, key, time.time())).fetchone()
        return None if found is None else bytes(found[0])

    def delete(self, shelf: str, key: str) -> bool:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            there = self.get(shelf, key) is not None  # one that has ended was none
            db.execute("DELETE FROM notes WHERE shelf = ? AND key = ?", (shelf, key))
        return there

    def page(self, shelf: str, prefix: str, after: str | None, limit: int, *, backwards: bool) -> list[Note]:
        # Text is ordered by its bytes in UTF-8, which is by code point, and no text has a code point above the last.
        order, beyond = ("DESC", "<") if backwards else ("ASC", ">")
        query = f"""SELECT key, value FROM notes WHERE shelf = ? AND key >= ? AND key < ? AND until > ?
            AND (? IS NULL OR key {beyond} ?) ORDER BY key {order} LIMIT ?"""  # noqa: S608  two words of our own
        values = (shelf, prefix, prefix + chr(0x10FFFF), time.time(), after, after, limit)
        return [Note(key, bytes(value)) for key, value in self.db.execute(query, values).fetchall()]


_INSERT = "INSERT INTO notes (shelf, key, value, until) VALUES (?, ?, ?, ?) ON CONFLICT (shelf, key) DO NOTHING"
_SWEEP = "DELETE FROM notes WHERE place IN (SELECT place FROM notes WHERE until <= ? LIMIT ?)"
_MAKE_ROOM = "DELETE FROM notes WHERE place IN (SELECT place FROM notes WHERE shelf = ? ORDER BY place LIMIT ?)"
