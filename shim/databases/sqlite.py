"""SQLite as our stores use it: a file of its owner's only, in WAL mode, in which what is deleted is overwritten.

It must be on a local disk: SQLite's shared memory does not work over a network file system.
"""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

# Our own transactions take milliseconds; only a stranger's (a backup's, a shell's) take longer than this.
BUSY_SECONDS = 5.0


def connect(path: Path) -> sqlite3.Connection:
    """A connection for the thread that calls; the file is made where there is none. Raises sqlite3.Error and OSError,
    of which `complaint` says what a person can do."""
    _make_private(path)
    # No isolation level, because the module would begin and end transactions of its own between ours.
    # The timeout is SQLite's own wait for other processes' writes.
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    with ExitStack() as undo:
        undo.callback(connection.close)
        _use_wal(connection)
        # Otherwise secrets that were removed, or sealed since, stay in the free pages of the file.
        connection.execute("PRAGMA secure_delete = ON")
        undo.pop_all()
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection, begin: Literal["BEGIN", "BEGIN IMMEDIATE"]) -> Iterator[None]:
    """Everything in the block, or nothing of it."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _make_private(path: Path) -> None:
    """An empty file for its owner only, or an existing one made so. SQLite gives `-wal` and `-shm` the file's mode.

    An existing file is not opened here: closing it would drop the locks that this process has on it (POSIX).
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    for one in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        with suppress(FileNotFoundError):
            if stat.S_IMODE(one.stat().st_mode) & 0o077:
                one.chmod(0o600)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turning WAL on does not wait for others that do the same (busy_timeout is not heeded), so it is tried again."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def complaint(error: sqlite3.Error | OSError) -> str:
    """What is wrong and what to do, after the file's name."""
    if isinstance(error, OSError):
        return f"can't be used: {error.strerror}"
    # The module's own errors have no name of SQLite's.
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return _COMPLAINTS.get(_code(error), f"can't be used ({name})")


def _code(error: sqlite3.Error) -> int:
    # The low byte is the primary code, the rest says which of its cases it is.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_DAMAGED = (
    "is damaged or no SQLite file: stop all processes that use it, move it and its -wal and -shm away, "
    "and put a copy back or begin anew"
)
_COMPLAINTS = {
    sqlite3.SQLITE_BUSY: f"is kept busy by another process for more than {BUSY_SECONDS:g} s",
    sqlite3.SQLITE_CANTOPEN: "can't be opened: look at the folder's owner and mode",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_FULL: "can't be written: the disk is full",
    sqlite3.SQLITE_IOERR: "can't be read or written: the disk fails",
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: "can't be written: look at its owner and mode",
}
