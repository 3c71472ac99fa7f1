"""Text that a filter holds back until it is known whether it lies before the end."""

from collections import deque

from msgspec.structs import replace

from shim.protocol.events import Citation, Event, ReasoningDelta, TextDelta

Said = TextDelta | ReasoningDelta | Citation


class Held:
    """Events of text that are not given yet. `size` is their text's, in characters.

    Text is given in any pieces, a citation only whole: in two it would cite twice.
    """

    def __init__(self) -> None:
        self.size = 0
        self._events: deque[Said] = deque()

    def push(self, event: Said) -> None:
        """Hold an event, behind those that are held already."""
        self._events.append(event)
        self.size += len(event.text)

    def give(self, size: int) -> list[Event]:
        """The first `size` characters, less where that would be half a citation."""
        given, left = self._whole(size)
        # `left` is negative where some of what ought to wait has been given already.
        if left > 0 and self._events and not isinstance(self._events[0], Citation):
            first = self._events[0]
            given.append(replace(first, text=first.text[:left]))
            self._events[0] = replace(first, text=first.text[left:], opens=False)
            self.size -= left
        return given

    def give_all(self) -> list[Event]:
        """All events that are held; then nothing is."""
        given: list[Event] = list(self._events)
        self._events.clear()
        self.size = 0
        return given

    def give_last(self, size: int) -> list[Event]:
        """Exactly the first `size` characters, and nothing ever after."""
        given, left = self._whole(size)
        if left > 0 and self._events:
            given.append(replace(self._events[0], text=self._events[0].text[:left]))
        self._events.clear()
        self.size = 0
        return given

    def _whole(self, size: int) -> tuple[list[Event], int]:
        """The events that lie whole in the first `size` characters, and how many of these are left."""
        given: list[Event] = []
        while self._events and len(self._events[0].text) <= size:
            event = self._events.popleft()
            size -= len(event.text)
            self.size -= len(event.text)
            given.append(event)
        return given, size
