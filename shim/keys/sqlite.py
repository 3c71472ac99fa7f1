"""Keys in a file: `keys.sqlite3` in DATA_DIR, shared by the processes of one machine."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shim.databases.lazy_file import LazyFile, LazyFileThread
from shim.databases.sqlite import transaction
from shim.keys.base import DAY, WINDOW, ApiKey, KeyStoreError, KeyUse, Standing, standing_of

FILE = "keys.sqlite3"
FORMAT = 1

_TABLES = (
    "CREATE TABLE keys (name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, record TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE stamps (stamp INTEGER NOT NULL)",
    "INSERT INTO stamps VALUES (0)",
    "CREATE TABLE requests (id TEXT NOT NULL, began REAL NOT NULL)",
    "CREATE INDEX requests_by_id ON requests (id, began)",
    """CREATE TABLE calls (
        id TEXT NOT NULL, ticket TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (id, ticket)
    ) WITHOUT ROWID""",
    """CREATE TABLE tokens (
        id TEXT NOT NULL, day INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (id, day)
    ) WITHOUT ROWID""",
)


class SqliteKeys:
    """Keys in `data_dir`/keys.sqlite3. Its methods are coroutines around `_KeysFile`'s, run in one thread."""

    def __init__(self, data_dir: str | os.PathLike[str]) -> None:
        self._file = LazyFileThread(_KeysFile(Path(data_dir) / FILE), "keys", KeyStoreError)

    async def close(self) -> None:
        await self._file.close()

    async def stamp(self) -> int:
        return await self._file.run(_KeysFile.stamp)

    async def load(self) -> list[ApiKey]:
        return await self._file.run(_KeysFile.load)

    async def put(self, key: ApiKey, *, replaces: bool) -> bool:
        return await self._file.run(_KeysFile.put, key, replaces=replaces)

    async def remove(self, name: str) -> bool:
        return await self._file.run(_KeysFile.remove, name)

    async def enter(self, key: ApiKey, ticket: str, seconds: float) -> Standing:
        return await self._file.run(_KeysFile.enter, key, ticket, seconds)

    async def leave(self, key: ApiKey, ticket: str, tokens: int) -> None:
        await self._file.run(_KeysFile.leave, key, ticket, tokens)

    async def prolong(self, tickets: Sequence[tuple[str, str]], seconds: float) -> None:
        await self._file.run(_KeysFile.prolong, list(tickets), seconds)

    async def use(self, id: str) -> KeyUse:
        return await self._file.run(_KeysFile.use, id)


class _KeysFile(LazyFile):
    """The same, synchronous, for the one thread it lives in."""

    def __init__(self, path: Path) -> None:
        # A key that was shown must be there after a loss of power; what is counted need not.
        super().__init__(path, _TABLES, FORMAT, synchronous="FULL")

    def stamp(self) -> int:
        (stamp,) = self.db.execute("SELECT stamp FROM stamps").fetchone()
        return int(stamp)

    def load(self) -> list[ApiKey]:
        rows = self.db.execute("SELECT record FROM keys ORDER BY name").fetchall()
        return [msgspec.json.decode(record, type=ApiKey) for (record,) in rows]

    def put(self, key: ApiKey, *, replaces: bool) -> bool:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            there = db.execute("SELECT 1 FROM keys WHERE name = ?", (key.name,)).fetchone() is not None
            if there is not replaces:
                return False
            record = msgspec.json.encode(key).decode()
            db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (key.name, key.id, record))
            db.execute("UPDATE stamps SET stamp = stamp + 1")
        return True

    def remove(self, name: str) -> bool:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            found = db.execute("SELECT id FROM keys WHERE name = ?", (name,)).fetchone()
            if found is None:
                return False
            db.execute("DELETE FROM keys WHERE name = ?", (name,))
            for table in ("requests", "calls", "tokens"):
                db.execute(f"DELETE FROM {table} WHERE id = ?", found)  # noqa: S608  a word of our own
            db.execute("UPDATE stamps SET stamp = stamp + 1")
        return True

    def enter(self, key: ApiKey, ticket: str, seconds: float) -> Standing:
        id = key.id
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            now = time.time()  # only here, where nobody else writes: else what another began would lie ahead of it
            db.execute("DELETE FROM requests WHERE id = ? AND began <= ?", (id, now - WINDOW))
            db.execute("DELETE FROM calls WHERE id = ? AND until <= ?", (id, now))
            (oldest,) = db.execute("SELECT min(began) FROM requests WHERE id = ?", (id,)).fetchone()
            standing = standing_of(key.limits, self._use(id, now), oldest or now, now)
            if standing.refused is None:
                if key.limits.requests_per_minute is not None:
                    db.execute("INSERT INTO requests VALUES (?, ?)", (id, now))
                if key.limits.concurrent is not None:
                    db.execute("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", (id, ticket, now + seconds))
        return standing

    def leave(self, key: ApiKey, ticket: str, tokens: int) -> None:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            today = int(time.time() // DAY)
            db.execute("DELETE FROM calls WHERE id = ? AND ticket = ?", (key.id, ticket))
            if tokens and key.limits.tokens_per_day is not None:
                db.execute("DELETE FROM tokens WHERE id = ? AND day < ?", (key.id, today))
                db.execute(
                    "INSERT INTO tokens VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET used = used + excluded.used",
                    (key.id, today, tokens),
                )

    def prolong(self, tickets: Sequence[tuple[str, str]], seconds: float) -> None:
        with transaction(db := self.db, "BEGIN IMMEDIATE"):
            until = time.time() + seconds
            db.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?)", [(*ticket, until) for ticket in tickets])

    def use(self, id: str) -> KeyUse:
        return self._use(id, time.time())

    def _use(self, id: str, now: float) -> KeyUse:
        (requests, active, tokens) = self.db.execute(
            """SELECT (SELECT count(*) FROM requests WHERE id = ?1 AND began > ?2),
                    (SELECT count(*) FROM calls WHERE id = ?1 AND until > ?3),
                    (SELECT coalesce(sum(used), 0) FROM tokens WHERE id = ?1 AND day = ?4)""",
            (id, now - WINDOW, now, int(now // DAY)),
        ).fetchone()
        return KeyUse(requests, tokens, active)
