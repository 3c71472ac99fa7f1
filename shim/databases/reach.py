"""Whether a store can be reached, as it was when it was last asked.

Rule: a store that can be read but not written (its disk or its memory is full) is away until a write works: that it was
read meanwhile says nothing of that.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class Reach:
    """Watches what a store is asked. `error` is what it raises where it can't be reached."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error
        self._unread = self._unwritten = False

    @property
    def is_away(self) -> bool:
        """Whether it could not be read, or not be written, when that was last tried."""
        return self._unread or self._unwritten

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The block reads."""
        try:
            yield
        except self._error:
            self._unread = True
            raise
        self._unread = False

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The block writes. What was written was reached, so it could be read as well."""
        try:
            yield
        except self._error:
            self._unwritten = True
            raise
        self._unread = self._unwritten = False
