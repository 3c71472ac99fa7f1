"""The store in a file: SQLite in DATA_DIR, shared by the server's processes and the command line of one machine.

Rules:
* every call runs in the store's one thread, in the order it was made, so neither the event loop nor SQLite waits for
  the other;
* what must last is committed with `synchronous=FULL`. WAL with NORMAL would survive `kill -9` too, but not a power
  failure, and a rotated refresh token that is lost is a lost account: upstream has forgotten the one before.
  Claims, locks and uses may be lost with the power, so they do without the wait for the disk.
"""

import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from shim.accounts.account import Account, Condition
from shim.accounts.stores.base import Change, StoreEmptiedError, StoreError
from shim.accounts.stores.records import (
    Known,
    encode_account,
    encode_condition,
)
from shim.accounts.stores.sealing import Sealing
from shim.databases.own_thread import OwnThread
from shim.databases.sqlite import complaint, connect, transaction

KEPT_CHANGES = 10_000
"""A process that has missed more than these compares everything instead."""

# Each entry brings a file one version on (PRAGMA user_version). Entries are never changed, only added.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE accounts (
            place INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            version INTEGER NOT NULL,
            account TEXT NOT NULL,
            condition TEXT NOT NULL,
            last_used REAL NOT NULL DEFAULT 0,
            turns INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, writer TEXT NOT NULL)",
        """CREATE TABLE claims (
            id TEXT NOT NULL, lease TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (id, lease)
        ) WITHOUT ROWID""",
        "CREATE INDEX claims_by_end ON claims (until)",
        "CREATE TABLE locks (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
    ),
    (
        # A note that is replaced gets a new place, so that the oldest ones have the lowest.
        """CREATE TABLE notes (
            place INTEGER PRIMARY KEY AUTOINCREMENT,
            key TEXT NOT NULL UNIQUE ON CONFLICT REPLACE,
            value TEXT NOT NULL,
            until REAL NOT NULL
        )""",
        "CREATE INDEX notes_by_end ON notes (until)",
    ),
    ("DROP TABLE notes",),  # they have a file of their own now, and were never owed
)

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Account, Condition]


class SqliteStore:
    """Accounts in `data_dir`/`name`.sqlite3. Its methods are coroutines around `_File`'s, run in one thread."""

    def __init__(
        self, data_dir: str | os.PathLike[str], sealing: Sealing | None = None, *, name: str = "accounts"
    ) -> None:
        self._path = Path(data_dir) / f"{name}.sqlite3"
        self._file: OwnThread[_File] = OwnThread(_File(self._path, sealing or Sealing()), "accounts-store")

    async def open(self) -> None:
        await self.close()
        self._file.open()
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.close)
            await self._run(_File.open)
            undo.pop_all()

    async def close(self) -> None:
        await self._file.close()

    async def load(self) -> list[Row]:
        return await self._run(_File.load)

    async def add(self, accounts: Sequence[Account]) -> list[bool]:
        return await self._run(_File.add, list(accounts))

    async def save_account(self, account: Account) -> bool:
        return await self._run(_File.save_account, account)

    async def save_condition(self, id: str, condition: Condition) -> None:
        await self._run(_File.save_condition, id, condition)

    async def add_uses(self, uses: Mapping[str, tuple[float, int]]) -> None:
        await self._run(_File.add_uses, dict(uses))

    async def remove(self, ids: Sequence[str] | None) -> int:
        return await self._run(_File.remove, None if ids is None else list(ids))

    async def changes(self) -> list[Change]:
        return await self._run(_File.changes)

    async def claim(self, id: str, lease: str, limit: int, seconds: float) -> bool:
        return await self._run(_File.claim, id, lease, limit, seconds)

    async def release(self, id: str, lease: str) -> None:
        await self._run(_File.release, id, lease)

    async def prolong(self, claims: Sequence[tuple[str, str]], seconds: float) -> None:
        await self._run(_File.prolong, list(claims), seconds)

    async def release_held_by(self, holds: Callable[[str], bool]) -> int:
        return await self._run(_File.release_held_by, holds)

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        return await self._run(_File.lock, name, holder, seconds)

    async def unlock(self, name: str, holder: str) -> None:
        await self._run(_File.unlock, name, holder)

    async def _run(self, step: "Callable[Concatenate[_File, P], T]", *args: P.args, **kwargs: P.kwargs) -> T:
        # Without it a call that comes after the end would begin the thread again, and nobody would end that.
        if not self._file.is_open:
            raise StoreError(f"{self._path} is not open")
        try:
            return await self._file.run(step, *args, **kwargs)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path} {complaint(error)}") from None  # its text may quote a row


class _File:
    """The same, synchronous, for the one thread it lives in."""

    def __init__(self, path: Path, sealing: Sealing) -> None:
        self._path = path
        self._sealing = sealing
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._start_over()

    def open(self) -> None:
        self._start_over()
        self._connection = connect(self._path)
        # After it is opened: another process may put a new file there at any time, and that one has to be noticed.
        self._inode = self._path.stat().st_ino
        # All of it in one transaction: a start that is killed half-way leaves the file at its old version.
        with self._writing(durable=True):
            version = self._number("PRAGMA user_version")
            if version > len(MIGRATIONS):
                raise StoreError(f"{self._path} was written by a newer chat2api (format {version}): update this one")
            for statement in (one for steps in MIGRATIONS[version:] for one in steps):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def load(self) -> list[Row]:
        # Asked before the rows are read: what is committed in between is looked at once more, never missed.
        version = self._number("PRAGMA data_version")
        with transaction(self._db, "BEGIN"):
            seen, rows = self._number("SELECT max(sequence) FROM changes"), self._rows()
        self._known.reset(rows)
        self._data_version, self._seen = version, seen
        return rows

    def add(self, accounts: Sequence[Account]) -> list[bool]:
        with self._writing(durable=True):
            added = []
            for account in accounts:
                text = encode_account(self._sealing.seal(account))
                added.append(self._change(_ADD, account.id, account.version, text, _NEW) == 1)
            self._note(account.id for account, new in zip(accounts, added, strict=True) if new)
        for account, new in zip(accounts, added, strict=True):
            if new:
                self._known.put_account(account)
        return added

    def save_account(self, account: Account) -> bool:
        with self._writing(durable=True):
            statement = "UPDATE accounts SET account = ?, version = ? WHERE id = ? AND version = ?"
            text = encode_account(self._sealing.seal(account))
            saved = self._change(statement, text, account.version, account.id, account.version - 1) == 1
            if saved:
                self._note([account.id])
            else:
                # Somebody was first, or this very account is kept already: a call whose answer was lost, made again.
                saved = any(account == kept for kept, _ in self._rows(account.id))
        if saved:
            self._known.put_account(account)
        return saved

    def save_condition(self, id: str, condition: Condition) -> None:
        with self._writing(durable=True):
            # Somebody may have removed it meanwhile; others need not look at what is gone.
            if self._change("UPDATE accounts SET condition = ? WHERE id = ?", encode_condition(condition), id):
                self._note([id])
        self._known.put_condition(id, condition)

    def add_uses(self, uses: Mapping[str, tuple[float, int]]) -> None:
        # What others have counted stays: it is added to, and the later time counts.
        statement = "UPDATE accounts SET last_used = max(last_used, ?), turns = turns + ? WHERE id = ?"
        with self._writing():
            self._db.executemany(statement, [(last, turns, id) for id, (last, turns) in uses.items()])

    def remove(self, ids: Sequence[str] | None) -> int:
        with self._writing(durable=True):
            if ids is None:
                ids = [id for (id,) in self._db.execute("SELECT id FROM accounts ORDER BY place")]
            gone = [id for id in ids if self._change("DELETE FROM accounts WHERE id = ?", id)]
            self._note(gone)
        self._known.drop(gone)
        return len(gone)

    def changes(self) -> list[Change]:
        try:
            is_replaced = self._path.stat().st_ino != self._inode
        except FileNotFoundError:
            is_replaced = True
        if is_replaced:  # what is written to the old file would be written for nobody
            return self._start_again()
        version = self._number("PRAGMA data_version")
        if version == self._data_version:
            return []  # no other connection has committed anything
        with transaction(self._db, "BEGIN"):
            first, last = self._db.execute("SELECT min(sequence), max(sequence) FROM changes").fetchone()
            # A gap: more has changed than is kept, and some of it is no longer listed.
            if first is not None and first > self._seen + 1:
                news = self._known.news_of_all(self._rows())
            else:
                ids = [id for (id,) in self._db.execute(_CHANGED_BY_OTHERS, (self._seen, self._writer))]
                news = self._known.news(ids, [row for id in ids for row in self._rows(id)])
            self._seen = last or 0
        self._data_version = version
        return news

    def claim(self, id: str, lease: str, limit: int, seconds: float) -> bool:
        with self._writing():
            now = time.time()  # only here, where nobody else writes
            # Swept by whoever claims, so that a process that was killed holds no turn for longer than its claims last.
            self._change("DELETE FROM claims WHERE until <= ?", now)
            # A call whose answer was lost is made again: the same lease must not count twice.
            prolonged = self._change("UPDATE claims SET until = ? WHERE id = ? AND lease = ?", now + seconds, id, lease)
            if prolonged:
                return True
            if self._number("SELECT count(*) FROM claims WHERE id = ?", id) >= limit:
                return False
            self._change("INSERT INTO claims VALUES (?, ?, ?)", id, lease, now + seconds)
            return True

    def release(self, id: str, lease: str) -> None:
        with self._writing():
            self._change("DELETE FROM claims WHERE id = ? AND lease = ?", id, lease)

    def prolong(self, claims: Sequence[tuple[str, str]], seconds: float) -> None:
        with self._writing():
            until = time.time() + seconds
            statement = "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)"
            self._db.executemany(statement, [(id, lease, until) for id, lease in claims])

    def release_held_by(self, holds: Callable[[str], bool]) -> int:
        with self._writing():
            leases = [lease for (lease,) in self._db.execute("SELECT DISTINCT lease FROM claims")]
            gone = [(lease,) for lease in leases if holds(lease.partition("/")[0])]
            self._db.executemany("DELETE FROM claims WHERE lease = ?", gone)
            return len(gone)

    def lock(self, name: str, holder: str, seconds: float) -> bool:
        statement = """INSERT INTO locks VALUES (?, ?, ?) ON CONFLICT (name)
            DO UPDATE SET until = excluded.until WHERE holder = excluded.holder"""
        with self._writing():
            now = time.time()
            self._change("DELETE FROM locks WHERE until <= ?", now)
            return self._change(statement, name, holder, now + seconds) == 1

    def unlock(self, name: str, holder: str) -> None:
        with self._writing():
            self._change("DELETE FROM locks WHERE name = ? AND holder = ?", name, holder)

    # --- the pieces ---------------------------------------------------------------------------------------------------

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path} is not open")
        return self._connection

    def _start_over(self) -> None:
        """Forget all cached state, as in a fresh process."""
        self._writer = uuid.uuid4().hex
        self._known = Known()
        self._seen = 0
        self._data_version = -1
        self._synchronous = ""

    def _start_again(self) -> list[Change]:
        """Go on with the file that is there now. Raises StoreEmptiedError where that is a new one."""
        known = self._known
        self.close()
        self.open()
        self._known = known
        rows = self._rows()
        if not rows and len(known):
            raise StoreEmptiedError(f"{self._path} was deleted")
        return known.news_of_all(rows)

    def _note(self, ids: Iterable[str]) -> None:
        """Tell the other processes, and forget what is long ago."""
        self._db.executemany("INSERT INTO changes (id, writer) VALUES (?, ?)", [(id, self._writer) for id in ids])
        oldest = self._number("SELECT max(sequence) FROM changes") - KEPT_CHANGES
        self._change("DELETE FROM changes WHERE sequence <= ?", oldest)

    def _rows(self, id: str | None = None) -> list[Row]:
        # Closed even where a row can't be read: an open cursor would go on looking at the file as it was.
        with closing(self._db.execute(_ALL) if id is None else self._db.execute(_ONE, (id,))) as rows:
            return self._known.read(rows, self._sealing.unseal)

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[None]:
        # It can't be set within a transaction, and is only set where it differs: it is a statement of its own.
        wanted = "FULL" if durable else "NORMAL"
        if self._synchronous != wanted:
            self._db.execute(f"PRAGMA synchronous = {wanted}")
            self._synchronous = wanted
        with transaction(self._db, "BEGIN IMMEDIATE"):
            yield

    def _change(self, statement: str, *values: str | float) -> int:
        """How many rows it changed."""
        return self._db.execute(statement, values).rowcount

    def _number(self, statement: str, *values: str) -> int:
        (number,) = self._db.execute(statement, values).fetchone()
        return int(number or 0)


_ADD = "INSERT OR IGNORE INTO accounts (id, version, account, condition) VALUES (?, ?, ?, ?)"
_ALL = "SELECT id, account, condition, last_used, turns FROM accounts ORDER BY place"
_ONE = "SELECT id, account, condition, last_used, turns FROM accounts WHERE id = ?"
_CHANGED_BY_OTHERS = """SELECT id FROM changes WHERE sequence > ? AND writer <> ?
    GROUP BY id ORDER BY max(sequence)"""
_NEW = encode_condition(Condition())
