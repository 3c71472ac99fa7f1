"""What one choice of an answer has said so far, in the core's words.

Rule: it holds events' contents and no API's structs; each API's writer reads it.
"""

import msgspec

from shim.errors import GatewayError
from shim.protocol.events import (
    Called,
    Citation,
    EndReason,
    Event,
    Failed,
    Finished,
    Link,
    Picture,
    ReasoningDelta,
    Searched,
    TextDelta,
)

THOUGHT_BREAK = "\n\n"
"""What stands between two thoughts where reasoning is one text."""


def thought_piece(event: ReasoningDelta, *, goes_on: bool) -> str:
    """What reasoning adds to a text of thoughts of its own: apart from the thought before where that `goes_on`, and at
    its beginning without a break, which a filter may have written out."""
    if goes_on:
        return THOUGHT_BREAK + event.text if event.opens and event.text else event.text
    return event.text.removeprefix(THOUGHT_BREAK)


class Cited(msgspec.Struct, frozen=True):
    """A page and where the answer cites it: characters (code points) of the text, the end exclusive."""

    start: int
    end: int
    link: Link


class Transcript:
    """Text, reasoning, calls, pictures and citations, the size in characters, and how it ended: `stop` is the stop
    sequence it ended before."""

    def __init__(self) -> None:
        self.finish_reason: EndReason | None = None
        self.stop: str | None = None
        self.error: GatewayError | None = None
        self.size = 0
        self.calls: list[Called] = []
        self.cited: list[Cited] = []
        self.pictures: list[Picture] = []
        self._length = 0  # of the text alone: where the next citation begins
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._asides: list[tuple[int, list[str] | Picture | Searched]] = []  # what stands between pieces of the text

    def add(self, event: Event) -> str:
        """Take one event in. Returns the text it adds, to the reasoning where it is a ReasoningDelta and else to the
        answer; empty where it adds none."""
        if type(event) is TextDelta:  # the hot path: told apart by type alone, and no call of ours
            self._text.append(event.text)
            length = len(event.text)
            self.size += length
            self._length += length
            return event.text
        match event:
            case ReasoningDelta(text=text, opens=opens):
                if not text:
                    return ""
                # The first thought has nothing to stand apart from.
                text = THOUGHT_BREAK + text if opens and self._reasoning else text
                self._reasoning.append(text)
                self._note_thought(event)
                self.size += len(text)
                return text
            case Citation(text=text, links=links):
                # Where the citation's own words stand in the text, as clients index them: in characters of what they
                # got.
                start = self._length
                said = self.add(TextDelta(text))
                self.cited += [Cited(start, self._length, link) for link in links]
                return said
            case Called(name=name, arguments=arguments):
                # Counted as text, for a limit on the answer's size is about memory, whatever the words are for.
                self.calls.append(event)
                self.size += len(name) + len(arguments)
            case Picture():
                self.pictures.append(event)
                self._asides.append((self._length, event))
            case Searched():
                self._asides.append((self._length, event))
            case Finished(reason=reason, stop=stop):
                self.finish_reason, self.stop = reason, stop
            case Failed(error=error):
                self.error = error
        return ""

    @property
    def ended(self) -> bool:
        """Whether its last event has been taken in."""
        return self.finish_reason is not None or self.error is not None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join(self._text)

    @property
    def reasoning(self) -> str:
        """The reasoning's text."""
        return "".join(self._reasoning)

    def pieces(self, text: int, reasoning: int) -> tuple[list[str], list[str]]:
        """What the text and the reasoning have got since each had so many pieces."""
        return self._text[text:], self._reasoning[reasoning:]

    @property
    def asides(self) -> list[tuple[int, str | Picture | Searched]]:
        """The reasoning as it stands between pieces of the text, with pictures and searches, in the order they came:
        how many characters of text came before, and what was thought (or made, or asked) there."""
        return [(length, "".join(aside) if isinstance(aside, list) else aside) for length, aside in self._asides]

    def _note_thought(self, event: ReasoningDelta) -> None:
        before = self._asides[-1] if self._asides else None
        pieces = before[1] if before is not None and before[0] == self._length else None
        goes_on = isinstance(pieces, list)
        if piece := thought_piece(event, goes_on=goes_on):
            if isinstance(pieces, list):
                pieces.append(piece)
            else:
                self._asides.append((self._length, [piece]))
