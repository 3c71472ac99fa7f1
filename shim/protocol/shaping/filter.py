"""A filter: a step between the answer's events and the writer's.

Rule: events in, events out; what comes out depends on the events alone, never on the batches they came in. A filter
that has `decided` has given the last event of its answer, and nothing upstream can still say matters.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from shim.protocol.events import Event


class Filter(ABC):
    """Base of all filters. They set themselves up in `_reset`, which their `__init__` calls last."""

    decided = False
    _repairing = False
    """Whether this is the second answer, asked for because the first was unusable"""

    def receive(self, events: Sequence[Event]) -> list[Event]:
        """The events to pass on for `events`: none, the same or others. Nothing after the filter has decided."""
        given: list[Event] = []
        for event in events:
            if self.decided:
                break
            self._handle(event, given)
        return given

    def restart(self) -> None:
        """After Unusable: what is received from here on is a second answer."""
        self.decided = False
        self._repairing = True
        self._reset()

    @abstractmethod
    def _reset(self) -> None:
        """Forget what has been received."""

    @abstractmethod
    def _handle(self, event: Event, given: list[Event]) -> None:
        """Process one event: append to `given` what is to be passed on."""
