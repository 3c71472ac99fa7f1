"""The filter of stop sequences.

Rule: where the answer ends depends on the text alone, never on the pieces it came in, so a streamed answer and a whole
one end alike; and no text is given that could still turn out to lie behind the end.
"""

from shim.protocol.events import Called, Citation, Event, Failed, Finished, TextDelta
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.held import Held


class StopMatcher:
    """Looks for one stop sequence in a text that comes in pieces (Knuth, Morris and Pratt: each character once)."""

    __slots__ = ("_fallback", "matched", "stop")

    def __init__(self, stop: str) -> None:
        self.stop = stop
        self.matched = 0
        self._fallback = _fallback(stop)

    def find(self, text: str) -> int | None:
        """Where in `text` the first hit ends, or None; `matched` is then how much of a stop the text ends with."""
        stop, fallback, matched, place = self.stop, self._fallback, self.matched, 0
        while place < len(text):
            if not matched:
                # Nearly all text: skipped at the speed of C, not character by character.
                place = text.find(stop[0], place)
                if place < 0:
                    break
            while matched and text[place] != stop[matched]:
                matched = fallback[matched - 1]
            matched += text[place] == stop[matched]
            place += 1
            if matched == len(stop):
                return place
        self.matched = matched
        return None


def _fallback(stop: str) -> list[int]:
    """For each beginning of `stop`: how long the longest shorter beginning is that it ends with."""
    lengths = [0] * len(stop)
    matched = 0
    for place in range(1, len(stop)):
        while matched and stop[place] != stop[matched]:
            matched = lengths[matched - 1]
        matched += stop[place] == stop[matched]
        lengths[place] = matched
    return lengths


class StopSequences(Filter):
    """Ends the answer's text before the first stop sequence in it; reasoning is not searched.

    The first is the one that is complete first, as if the answer came character by character; of those complete at
    once it is the longest. `stops` are not empty.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._reset()

    def _reset(self) -> None:
        self._matchers = [StopMatcher(stop) for stop in self._stops]
        self._held = Held()

    def _handle(self, event: Event, given: list[Event]) -> None:
        match event:
            case TextDelta() | Citation():
                before = self._held.size
                self._held.push(event)
                ends = [(matcher.find(event.text), len(matcher.stop)) for matcher in self._matchers]
                # (where it ends, where it begins): the smallest is complete first, and of those the longest.
                hits = [(end, end - length) for end, length in ends if end is not None]
                if hits:
                    self.decided = True
                    given += [*self._held.give_last(before + min(hits)[1]), Finished("stop")]
                else:
                    # Only the longest beginning of a stop has to wait: the text before it can't become one any more.
                    half = max((matcher.matched for matcher in self._matchers), default=0)
                    given += self._held.give(self._held.size - half)
            case Called() | Finished() | Failed():
                # Text does not continue across these, so a stop sequence that has only begun will never be complete.
                for matcher in self._matchers:
                    matcher.matched = 0
                given += self._held.give_all()
                given.append(event)
            case _:
                given.append(event)
