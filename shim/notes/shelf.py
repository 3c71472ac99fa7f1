"""Shelves of notes: the bounds, and the sealing of what is kept (STORE_KEY)."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from shim.databases import DatabaseError
from shim.databases.keys import Box, box_of
from shim.databases.reach import Reach
from shim.notes.base import Note, NotesError, NoteStore, NoteTooLargeError

# Of a shelf whose user names no bounds of its own: at most 1.3 GB, were every note as long as may be.
MAX_NOTES = 20_000
MAX_NOTE_BYTES = 64 * 1024
# Of a page, which is held in memory as a whole and, with Redis, read by one script that the others wait for.
MAX_PAGE = 1000
# The first byte of what is kept, so that STORE_KEY can be set later on.
_PLAIN, _SEALED = b"p", b"s"


class Shelf:
    """The notes of one use. See `NoteStore` for what each call does."""

    def __init__(self, store: NoteStore, reach: Reach, box: Box | None, name: str, *, most: int, largest: int) -> None:
        self._store, self._reach, self._box, self._name = store, reach, box, name
        self._most, self._largest = most, largest

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Note `value` under `key` for so long, in the place of what is there. Raises NotesError, and NoteTooLargeError
        for more than the shelf takes of one note."""
        sealed = self._seal(value)
        with self._reach.writing():
            await self._store.put(self._name, key, sealed, seconds, self._most)

    async def add(self, key: str, value: bytes, seconds: float) -> bool:
        """The same where nothing is noted under `key`; whether it was so."""
        sealed = self._seal(value)
        with self._reach.writing():
            return await self._store.add(self._name, key, sealed, seconds, self._most)

    async def get(self, key: str) -> bytes | None:
        """What is noted under `key`, or None. Raises NotesError, too where it was sealed with a key not known here."""
        with self._reach.reading():
            kept = await self._store.get(self._name, key)
        return None if kept is None else self._unseal(kept)

    async def delete(self, key: str) -> bool:
        """Forget a note; whether there was one. Raises NotesError."""
        with self._reach.writing():
            return await self._store.delete(self._name, key)

    async def page(
        self, prefix: str = "", *, after: str | None = None, limit: int = 100, backwards: bool = False
    ) -> list[Note]:
        """Notes by the order of their keys; the key of the last one is the `after` of the next page. Raises
        NotesError."""
        most = max(0, min(limit, MAX_PAGE))
        with self._reach.reading():
            kept = await self._store.page(self._name, prefix, after, most, backwards=backwards)
        return [Note(note.key, self._unseal(note.value)) for note in kept]

    def _seal(self, value: bytes) -> bytes:
        if len(value) > self._largest:
            raise NoteTooLargeError(f"a note of {self._name} has {len(value)} bytes, and may have {self._largest}")
        return _PLAIN + value if self._box is None else _SEALED + self._box.encrypt(value)

    def _unseal(self, kept: bytes) -> bytes:
        kind, rest = kept[:1], kept[1:]
        if kind == _PLAIN:  # with a key as well: it was kept before there was one
            return rest
        if kind != _SEALED:
            raise NotesError("the store of notes holds what was not written by this gateway")
        if self._box is None:
            raise NotesError("the notes are sealed: set STORE_KEY to the key they were sealed with")
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  only where there are keys

        try:
            return self._box.decrypt(rest)
        except InvalidToken:
            raise NotesError("a note is damaged, or sealed with another key: add that key to STORE_KEY") from None


class Notes:
    """All the shelves of one store. `keys` seal the values: the first one seals, all of them open."""

    def __init__(self, store: NoteStore, keys: Sequence[str] = ()) -> None:
        self._store, self._reach = store, Reach(NotesError)
        self._box = box_of(keys) if keys else None

    def shelf(self, name: str, *, most: int = MAX_NOTES, largest: int = MAX_NOTE_BYTES) -> Shelf:
        """The notes of one use: at most `most` of them, of at most `largest` bytes each. The name is a word of lower
        case letters, and is part of what is stored."""
        return Shelf(self._store, self._reach, self._box, name, most=most, largest=largest)

    @property
    def is_away(self) -> bool:
        """Whether the store could not be read, or not be written, when that was last tried."""
        return self._reach.is_away


@asynccontextmanager
async def open_notes(
    *, data_dir: str | os.PathLike[str], redis_url: str = "", keys: Sequence[str] = ()
) -> AsyncIterator[Notes]:
    """Notes while the block runs: in Redis where there is an address for it, else in a file in DATA_DIR. Neither is
    touched before the first note. Raises NotesError for an address or a key that can't be used."""
    store: NoteStore
    try:
        if redis_url:
            from shim.notes.redis import RedisNotes  # noqa: PLC0415  redis-py takes a while to import

            store = RedisNotes(redis_url)
        else:
            from shim.notes.sqlite import SqliteNotes  # noqa: PLC0415

            store = SqliteNotes(data_dir)
        notes = Notes(store, keys)
    except DatabaseError as error:
        raise NotesError(str(error)) from None
    try:
        yield notes
    finally:
        await store.close()
