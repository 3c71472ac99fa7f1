"""What a request may end an answer with: its stop sequences, and a number of tokens.

Rule: a stage takes the answer's events in and gives them out again, ended where the limit falls. Where that is depends
on the text alone, never on the pieces it came in, so a streamed answer and a whole one end alike; and no text is given
that could still turn out to lie behind the end. Once a stage has `decided`, nothing upstream can say matters any more.
"""

import re
from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from shim.protocol.events import Called, Citation, Event, Failed, Finished, ReasoningDelta, TextDelta
from shim.protocol.shaping.filter import Stage

Count = Callable[[str], int]
"""(text) -> its tokens: never more than it has bytes in UTF-8"""
Cut = Callable[[str, int], str]
"""(text, tokens) -> the longest beginning of whole characters that is no more tokens than that"""

Said = TextDelta | ReasoningDelta | Citation

_BETWEEN_THOUGHTS = "\n\n"  # what `Transcript` puts before a thought that opens
# Where o200k splits whatever stands around, so that the tokens before and after add up: before a blank that follows
# something, between a line break and what is no blank, before a mark that follows a letter or digit. An apostrophe is
# no such mark ("don't" stays together), nor is "/" after a line break.
SEAM = r"(?:(?<=\S)(?=[ \t])|(?<=[\r\n])(?=[^\s/])|(?<=[^\W_])(?=[.,;:!?()\"、。，；：！？（）「」]))"
_LAST_SEAM = re.compile(f".*{SEAM}", re.DOTALL)
_LONG = 1024  # characters without a seam from which the limit is looked for inside of them
_LONGEST_TOKEN = 128  # bytes; what stands so far before the end is not split otherwise by what follows


class Held:
    """Events of text that are not given yet. `size` is their text's, in characters.

    Text is given in any pieces, a citation only whole: in two it would cite twice.
    """

    def __init__(self) -> None:
        self.size = 0
        self._events: deque[Said] = deque()

    def push(self, event: Said) -> None:
        """Hold one more."""
        self._events.append(event)
        self.size += len(event.text)

    def give(self, size: int) -> list[Event]:
        """The first `size` characters, less where that would be half a citation."""
        given, left = self._whole(size)
        if left > 0 and self._events and not isinstance(self._events[0], Citation):
            first = self._events[0]
            given.append(replace(first, text=first.text[:left]))
            self._events[0] = replace(first, text=first.text[left:], opens=False)
            self.size -= left
        return given

    def give_all(self) -> list[Event]:
        """Everything."""
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


class StopSequences(Stage):
    """Ends the answer's text before the first stop sequence in it; reasoning is not searched.

    The first is the one that is complete first, as if the answer came character by character; of those complete at
    once it is the longest. `stops` are not empty.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._begin()

    def _begin(self) -> None:
        self._matchers = [StopMatcher(stop) for stop in self._stops]
        self._held = Held()

    def _take(self, event: Event, given: list[Event]) -> None:
        match event:
            case TextDelta() | Citation():
                given += self._search(event)
                return
            case Called() | Finished() | Failed():  # no text goes on over these
                for matcher in self._matchers:
                    matcher.matched = 0
                given += self._held.give_all()
        given.append(event)

    def _search(self, event: TextDelta | Citation) -> list[Event]:
        before = self._held.size
        self._held.push(event)
        ends = [(matcher.find(event.text), len(matcher.stop)) for matcher in self._matchers]
        hits = [(end, end - length) for end, length in ends if end is not None]
        if hits:
            self.decided = True
            return [*self._held.give_last(before + min(hits)[1]), Finished("stop")]
        half = max((matcher.matched for matcher in self._matchers), default=0)
        return self._held.give(self._held.size - half)


class CountedText:
    """The tokens of a text that grows: `settled` ones up to its last seam, and the rest, which may still be split
    otherwise. `length` is the rest's in characters."""

    def __init__(self, count: Count) -> None:
        self.settled = 0
        self.length = 0
        self._count = count
        self._read: list[str] = []  # of the rest: what is known to hold no seam, and what was not looked through yet
        self._unread: list[str] = []
        self._bytes = 0
        self._tokens: int | None = None  # the rest's, where it has been counted as it stands
        self._look_at = _LONG

    @property
    def bound(self) -> int:
        """The most tokens it can be."""
        return self.settled + (self._bytes if self._tokens is None else self._tokens)

    def add(self, text: str) -> None:
        """More text. No more work than measuring it."""
        self._unread.append(text)
        self._bytes += _bytes(text)
        self._tokens = None
        self.length += len(text)

    def rest(self) -> str:
        """What has come since the last seam."""
        return "".join((*self._read, *self._unread))

    def take_closed(self) -> str:
        """The text up to the last seam, to be counted and added to `settled`; "" where there is no new seam."""
        unread, self._unread = "".join(self._unread), []
        before = self._read[-1][-1] if self._read else ""
        seam = _LAST_SEAM.match(before + unread)
        if seam is None:
            self._read += [unread] if unread else []
            return ""
        end = seam.end() - len(before)
        closed = "".join((*self._read, unread[:end]))
        self._begin_rest(unread[end:])
        return closed

    def measure(self) -> None:
        """Make `bound` exact."""
        if self._tokens is None:
            self.settled += self._count(self.take_closed())
            self._tokens = self._count(self.rest())

    def is_long(self) -> bool:
        """Whether so much has come without a seam that the limit has to be looked for in it: asked at 1024 characters
        and each time these have doubled, so that all the looking is linear."""
        if self.length < self._look_at:
            return False
        self._look_at = 2 * self.length
        return True

    def _begin_rest(self, text: str) -> None:
        """Begin anew after a seam, with `text` read already."""
        self._read = [text] if text else []
        self._unread = []
        self._bytes = _bytes(text)
        self._tokens = None
        self._look_at = _LONG
        self.length = len(text)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class TokenLimit(Stage):
    """Ends the answer after `limit` tokens, content and reasoning together (`max_completion_tokens`).

    What it gives counts exactly `limit`, or as near below as whole characters allow. As long as the bytes that have
    come can't be too many tokens, nothing is counted. Then it is counted at seams, and what follows the last seam is
    held: nearer and nearer to the limit, each seam once. Text of one kind is counted when the other begins.
    """

    def __init__(self, limit: int, count: Count, cut: Cut) -> None:
        self._limit = limit
        self._count, self._cut = count, cut
        self._begin()

    def _begin(self) -> None:
        self._content, self._reasoning = CountedText(self._count), CountedText(self._count)
        self._open = self._content
        self._held = Held()  # only ever of the open text
        self._thought = False

    def _take(self, event: Event, given: list[Event]) -> None:
        match event:
            case TextDelta() | Citation():
                given += self._say(self._content, event)
            case ReasoningDelta():
                given += self._say(self._reasoning, self._joined(event))
            case Called() | Finished() | Failed():
                given += self._close()
                given += [] if self.decided else [event]
            case _:
                given.append(event)

    def _joined(self, event: ReasoningDelta) -> ReasoningDelta:
        """With the blank line before a new thought written out, since it counts."""
        joined = ReasoningDelta(_BETWEEN_THOUGHTS + event.text) if event.opens and self._thought else event
        self._thought = self._thought or bool(event.text)
        return joined

    def _say(self, text: CountedText, event: Said) -> list[Event]:
        given: list[Event] = []
        if text is not self._open:
            given = self._close()
            self._open = text
        if self.decided:
            return given
        self._held.push(event)
        text.add(event.text)
        return [*given, *(self._held.give_all() if self._fits() else self._settle())]

    def _fits(self) -> bool:
        """Whether all that has come is surely no more than the limit."""
        return self._content.bound + self._reasoning.bound <= self._limit

    def _room(self) -> int:
        """Tokens left for what follows the open text's last seam."""
        other = self._reasoning if self._open is self._content else self._content
        other.measure()
        return self._limit - other.bound - self._open.settled

    def _settle(self) -> list[Event]:
        """Count the open text up to its last seam, and give it."""
        text, room = self._open, self._room()
        closed = text.take_closed()
        tokens = self._count(closed)
        if tokens > room:
            return self._end(self._cut(closed, room), len(closed) + text.length)
        text.settled += tokens
        room -= tokens
        if self._fits():
            return self._held.give_all()
        if not room:
            return self._end("", text.length)
        if text.is_long():
            rest = text.rest()
            kept = self._cut(rest, room)
            if len(kept) + _LONGEST_TOKEN < len(rest):
                return self._end(kept, len(rest))
        return self._held.give(self._held.size - text.length)

    def _close(self) -> list[Event]:
        """Count the open text as it stands, and give all of it."""
        if self._fits():
            return self._held.give_all()
        given = self._settle()
        if self.decided:
            return given
        self._open.measure()
        if self._fits():
            return [*given, *self._held.give_all()]
        rest = self._open.rest()
        return [*given, *self._end(self._cut(rest, self._room()), len(rest))]

    def _end(self, kept: str, length: int) -> list[Event]:
        """The end: `kept` is what may be given of the last `length` characters of the open text."""
        already = length - self._held.size
        self.decided = True
        return [*self._held.give_last(len(kept) - already), Finished("length")]
