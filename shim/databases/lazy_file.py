"""An SQLite file that the first call opens; after a failure the next call opens what is there then.

Rule: errors name the file and never a row.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Concatenate, Generic, Literal, ParamSpec, TypeVar

from shim.databases import DatabaseError
from shim.databases.own_thread import OwnThread
from shim.databases.sqlite import complaint, connect, transaction


class LazyFile:
    """The file, for the one thread it lives in. `tables` make an empty one into one of version `format`;
    `synchronous` is SQLite's word for what a loss of power may take along."""

    def __init__(
        self, path: Path, tables: Sequence[str], format: int, *, synchronous: Literal["FULL", "NORMAL"]
    ) -> None:
        self.path = path
        self._tables, self._format, self._synchronous = tables, format, synchronous
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go; the next call opens it again. Closing again does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def db(self) -> sqlite3.Connection:
        """The connection. Raises sqlite3.Error, OSError, and DatabaseError for a file of a newer version."""
        if self._connection is None:
            connection = connect(self.path)
            with ExitStack() as undo:
                undo.callback(connection.close)
                connection.execute(f"PRAGMA synchronous = {self._synchronous}")
                # At once, because several workers open a new file at the same time.
                with transaction(connection, "BEGIN IMMEDIATE"):
                    (version,) = connection.execute("PRAGMA user_version").fetchone()
                    if version > self._format:
                        text = f"{self.path} was written by a newer chat2api (format {version}): update this one"
                        raise DatabaseError(text)
                    if version < self._format:
                        for statement in (*self._tables, f"PRAGMA user_version = {self._format}"):
                            connection.execute(statement)
                undo.pop_all()
            self._connection = connection
        return self._connection


P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=LazyFile)


class LazyFileThread(Generic[F]):
    """Calls the methods of `file` in a thread called `name`, in the order they were asked for. What fails is raised as
    an `error`, and so is what is asked for after `close`."""

    def __init__(self, file: F, name: str, error: type[Exception]) -> None:
        self._file, self._error = file, error
        self._closed = False
        self._thread: OwnThread[F] = OwnThread(file, name)

    async def run(self, step: Callable[Concatenate[F, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `step(file, ...)` returns."""
        if self._closed:  # whoever comes this late would open the file again, and nobody would close it
            raise self._error(f"{self._file.path} is closed")
        try:
            return await self._thread.run(step, *args, **kwargs)
        except DatabaseError as error:
            raise self._error(str(error)) from None
        except (sqlite3.Error, OSError) as error:
            # A file that was damaged may have been moved away meanwhile: the next call opens what is there then.
            with suppress(sqlite3.Error):
                if not self._closed:  # else it is let go of anyway, and its thread has ended
                    await self._thread.run(LazyFile.close)
            raise self._error(f"{self._file.path} {complaint(error)}") from None  # its text may quote a row

    async def close(self) -> None:
        """Let go for good, after what was asked for before. Closing again does nothing."""
        self._closed = True
        await self._thread.close()
