"""The filter that ends an answer after a number of tokens.

Rule: as for stop sequences (`stop`): where it ends depends on the text alone, and nothing behind the end is given.
"""

import re
from collections.abc import Callable

from shim.protocol.events import Called, Citation, Event, Failed, Finished, ReasoningDelta, TextDelta
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.held import Held, Said
from shim.protocol.transcript import THOUGHT_BREAK

Count = Callable[[str], int]
"""(text) -> its tokens: never more than it has bytes in UTF-8"""
Cut = Callable[[str, int], str]
"""(text, tokens) -> the longest beginning of whole characters that is no more tokens than that"""
Certain = Callable[[str], int]
"""(text) -> how many of its characters are whole tokens whatever follows; of a text without a seam"""

# Where o200k splits whatever stands around, so that the tokens before and after add up: before a blank that follows
# something, between a line break and what is no blank, before a mark that follows a letter or digit. An apostrophe is
# no such mark ("don't" stays together), nor is "/" after a line break.
SEAM = r"(?:(?<=\S)(?=[ \t])|(?<=[\r\n])(?=[^\s/])|(?<=[^\W_])(?=[.,;:!?()\"、。，；：！？（）「」]))"
_LAST_SEAM = re.compile(f".*{SEAM}", re.DOTALL)
_LONG = 1024  # characters without a seam from which the limit is looked for inside of them
# Characters that are counted at once: 0.05 ms of prose, where a megabyte of it held the event loop for 20.
_AT_ONCE = 2048
# Characters without a seam from which what is certain of them is counted: 1 to 3 ms, where a megabyte of one sign held
# the event loop for 200.
_ENDLESS = 3 * _AT_ONCE
_LONGEST_TOKEN = 128  # bytes; what stands so far before the end is not split otherwise by what follows


class CountedText:
    """The tokens of a text that grows: `settled` ones up to its last seam, and the rest, which may still be split
    otherwise. `length` is the rest's in characters."""

    def __init__(self, count: Count, certain: Certain) -> None:
        self.settled = 0
        self.length = 0
        self._count, self._certain = count, certain
        self._read: list[str] = []  # of the rest: what is known to hold no seam, and what was not looked through yet
        self._unread: list[str] = []
        self._bytes = 0
        self._new = 0  # characters that were not looked through yet
        self._tokens: int | None = None  # the rest's, where it has been counted as it stands
        self._look_at = _LONG
        self._endless_at = _ENDLESS

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
        self._new += len(text)

    def keep_up(self) -> None:
        """Count what has come up to its last seam, if that is much: all at once would hold the event loop."""
        if self._new >= _AT_ONCE:
            self.settled += self._count(self.take_closed())

    def rest(self) -> str:
        """What has come since the last seam."""
        return "".join((*self._read, *self._unread))

    def take_closed(self) -> str:
        """The text up to the last seam, or of one word without an end what is certain of it, to be counted and added to
        `settled`; "" where there is no more of either."""
        unread, self._unread, self._new = "".join(self._unread), [], 0
        # A seam lies between two characters, so the last one that was looked through is needed once more.
        before = self._read[-1][-1] if self._read else ""
        seam = _LAST_SEAM.match(before + unread)
        if seam is not None:
            end = seam.end() - len(before)
            closed, rest = "".join((*self._read, unread[:end])), unread[end:]
            self._endless_at = _ENDLESS
        else:
            self._read += [unread] if unread else []
            if self.length < self._endless_at:
                return ""
            word = "".join(self._read)
            end = self._certain(word)
            closed, rest = word[:end], word[end:]
            self._endless_at = len(rest) + _AT_ONCE  # looked for no sooner, for each look reads all of the rest
            if not closed:
                return ""
        self._read = [rest] if rest else []
        self._bytes = _bytes(rest)
        self.length = len(rest)
        self._tokens = None
        self._look_at = _LONG
        return closed

    def measure(self) -> None:
        """Count what is not counted yet, so that `bound` is exact."""
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


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class TokenLimit(Filter):
    """Ends the answer after `limit` tokens, content and reasoning together (`max_completion_tokens`).

    What it gives counts exactly `limit`, or as near below as whole characters allow. As long as the bytes that have
    come can't be too many tokens, nothing is held, and some thousand characters at a time are counted. Then it is
    counted at seams, and what follows the last seam is held: nearer and nearer to the limit, each seam once. Text of
    one kind is counted when the other begins.
    """

    def __init__(self, limit: int, count: Count, cut: Cut, certain: Certain) -> None:
        self._limit = limit
        self._count, self._cut, self._certain = count, cut, certain
        self._reset()

    def _reset(self) -> None:
        self._content, self._reasoning = (CountedText(self._count, self._certain) for _ in range(2))
        self._open = self._content
        self._held = Held()  # only ever of the open text
        self._thought = False

    def _handle(self, event: Event, given: list[Event]) -> None:
        match event:
            case TextDelta() | Citation():
                given += self._say(self._content, event)
            case ReasoningDelta():
                # The blank line before a new thought is written out here, since it counts.
                joined = ReasoningDelta(THOUGHT_BREAK + event.text) if event.opens and self._thought else event
                self._thought = self._thought or bool(event.text)
                given += self._say(self._reasoning, joined)
            case Called() | Finished() | Failed():
                given += self._close()
                given += [] if self.decided else [event]
            case _:
                given.append(event)

    def _say(self, text: CountedText, event: Said) -> list[Event]:
        given: list[Event] = []
        if text is not self._open:
            given = self._close()
            self._open = text
        if self.decided:
            return given
        self._held.push(event)
        text.add(event.text)
        if not self._fits():
            return [*given, *self._settle()]
        text.keep_up()
        return [*given, *self._held.give_all()]

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
            # The last token may still grow by what follows, so the cut is only sure where more than one lies behind it.
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
