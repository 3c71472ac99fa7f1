"""Strings that grow over the events of a stream, each put together again (protocol.md 5.1, 5.2).

A delta appends to a string, and a snapshot repeats it with more at its end, so a secret may lie across events, and its
beginning may stand alone in one of them.

Rule: a string is judged by what it became. Each place it was seen in gets its share of the edits.
"""

from collections.abc import Iterator, Sequence

from shim.cassettes import rules
from shim.cassettes.edits import Edit, within
from shim.cassettes.literals import Literal, Path

_PATCH, _APPEND = "patch", "append"
Position = tuple[str, Path]  # the channel of the delta, and where in its message


class Occurrence:
    """A literal that shows a part of a string, and the edits of that part."""

    __slots__ = ("edits", "literal")

    def __init__(self, literal: Literal, edits: list[Edit]) -> None:
        self.literal, self.edits = literal, edits


class GrowingString:
    """One string as it became, and where parts of it were seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = ""
        self._seen: list[tuple[Literal, int, int]] = []

    def goes_on_with(self, text: str) -> bool:
        """Whether `text` is this string again, as it was or grown."""
        # Names and ids don't grow: a longer one at the same place is another.
        return rules.rule_of(self.path) == "text" and (text.startswith(self.text) or self.text.startswith(text))

    def repeat(self, literal: Literal) -> None:
        """A literal shows the string from its beginning."""
        text = literal.value or ""
        self._seen.append((literal, 0, len(text)))
        if len(text) > len(self.text):
            self.text = text

    def append(self, literal: Literal) -> None:
        """A literal adds to the end of the string."""
        text = literal.value or ""
        self._seen.append((literal, len(self.text), len(self.text) + len(text)))
        self.text += text

    def occurrences(self, edits: Sequence[Edit]) -> Iterator[Occurrence]:
        """Every place with its share of the edits of `text`."""
        for literal, start, end in self._seen:
            yield Occurrence(literal, within(edits, start, end))


class _Delta:
    """What delta events inherit from the one before (protocol.md 5.2 rule 1)."""

    def __init__(self) -> None:
        # Read here a second time, and not by the machine's Patcher: this has literals at their places in a text that is
        # to be
        # kept byte for byte, also of streams that broke off or that no machine could follow.
        self.c, self.p, self.o = "0", "", "add"

    def read(self, event: list[Literal]) -> dict[int, tuple[str, str]]:
        """Take over what this event says; returns (path, operation) by place in its batch."""
        batch: dict[int, tuple[str, str]] = {}
        for one in event:
            match one.path:
                case ("p",):
                    self.p = one.value or ""
                case ("o",):
                    self.o = one.value or ""
                case ("c",):
                    self.c = one.source  # a number, which has no text
                case ("v", int(place), "p" | "o" as name) if not one.is_key:
                    p, o = batch.get(place, ("", _APPEND))
                    batch[place] = (one.value or "", o) if name == "p" else (p, one.value or "")
        return batch


def growing_strings(events: Sequence[list[Literal]]) -> list[GrowingString]:
    """All string values in these events as they became, in the order in which they began."""
    found: list[GrowingString] = []
    running: dict[Position, GrowingString] = {}
    delta = _Delta()
    for event in events:
        # Events that are no deltas have no `v`, and no channel: whole messages are snapshots of one text.
        is_delta = any(one.path[:1] == ("v",) for one in event)
        batch = delta.read(event) if is_delta else {}
        channel = delta.c if is_delta else ""
        for one in event:
            if one.is_key or one.value is None:
                continue
            path, grows = _place(one.path, delta, batch) if is_delta else (one.path, False)
            place = (channel, path)
            # What is appended to a list comes without its index: then the newest string of that name is the one that
            # grows.
            unnumbered = (channel, tuple(step for step in path if isinstance(step, str) and not step.isdecimal()))
            string = running.get(place) or (running.get(unnumbered) if grows else None)
            if string is not None and grows:
                string.append(one)
            elif string is not None and string.goes_on_with(one.value):
                string.repeat(one)
            else:
                string = GrowingString(path)
                string.append(one)
                found.append(string)
            running[place] = running[unnumbered] = string
    return found


def _place(path: Path, delta: _Delta, batch: dict[int, tuple[str, str]]) -> tuple[Path, bool]:
    """Where in the message a value of a delta event lies, and whether it is appended there to a string."""
    match path:
        case ("v", int(place), "v", *rest) if delta.o == _PATCH:
            p, o = batch.get(place, ("", _APPEND))
        case ("v", *rest) if delta.o != _PATCH:
            p, o = delta.p, delta.o
        case _:
            return path, False
    # `p` is a JSON Pointer (RFC 6901): what stands before its first slash is empty.
    steps = (int(step) if step.isdecimal() else step for step in p.split("/")[1:])
    return (*steps, *rest), o == _APPEND and not rest
