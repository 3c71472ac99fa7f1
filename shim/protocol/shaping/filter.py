"""A stage: a step between the answer's events and the renderer's.

Rule: events in, events out; what comes out depends on the events alone, never on the batches they came in. A stage that
has `decided` has given the last event of its answer, and nothing upstream can still say matters.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from shim.protocol.events import Event


class Stage(ABC):
    """Base of all stages. They set themselves up in `_begin`, which their `__init__` calls last."""

    decided = False
    _repairing = False
    """Whether this is the second answer, asked for because the first was unusable"""

    def feed(self, events: Sequence[Event]) -> list[Event]:
        """What `events` come to."""
        given: list[Event] = []
        for event in events:
            if self.decided:
                break
            self._take(event, given)
        return given

    def again(self) -> None:
        """After Unusable: what is fed from here on is a second answer."""
        self.decided = False
        self._repairing = True
        self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Forget what has been fed."""

    @abstractmethod
    def _take(self, event: Event, given: list[Event]) -> None:
        """Take one event in, and add to `given` what comes of it."""
