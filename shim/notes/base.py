"""What a store of notes does. Both pass the same test suite.

Rules:
* notes are kept by shelf, and each shelf has its own bound: one use never pushes out the notes of another;
* a note ends by itself, and where there are too many on a shelf, those that were written longest ago make room;
* what is written survives a `kill -9`, but need not survive a loss of power;
* nothing is opened before it is needed, and a store that was away is tried again with the next call;
* a store that can't be reached or read raises NotesError. What that means (a saving lost, a request refused) is for
  whoever keeps notes there to say.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import msgspec

from shim.errors import UnavailableError


class NotesError(Exception):
    """The store can't be reached or read. The text names it without credentials."""


class NoteTooLargeError(NotesError):
    """The value is longer than its shelf takes."""


class Note(msgspec.Struct, frozen=True):
    """A note of a page."""

    key: str
    value: bytes


class NoteStore(Protocol):
    """Notes that outlive the process, as bytes. Times are in seconds. All raise NotesError."""

    async def close(self) -> None:
        """Let go for good, after what was asked for before: later calls raise what they raise where the store is away.
        Closing again does nothing."""
        ...

    async def put(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> None:
        """Note `value` under `key`, in the place of what is there; then at most `most` notes stay on the shelf."""
        ...

    async def add(self, shelf: str, key: str, value: bytes, seconds: float, most: int) -> bool:
        """The same where nothing is noted under `key`, atomically over all processes; whether it was so."""
        ...

    async def get(self, shelf: str, key: str) -> bytes | None:
        """What is noted under `key`; None where nothing is, or is any more."""
        ...

    async def delete(self, shelf: str, key: str) -> bool:
        """Forget a note; whether there was one."""
        ...

    async def page(self, shelf: str, prefix: str, after: str | None, limit: int, *, backwards: bool) -> list[Note]:
        """At most `limit` notes whose keys begin with `prefix`, in the order of their keys (by code point; or against
        it), those that come after the key `after`."""
        ...


@contextmanager
def needed(what: str) -> Iterator[None]:
    """Around what is done with notes that a call can't do without: their failure is told to the client, as the reason
    for `what` ("... can't be had just now"). Raises UnavailableError."""
    try:
        yield
    except NotesError as error:
        raise UnavailableError(f"{what}: {error}") from None
