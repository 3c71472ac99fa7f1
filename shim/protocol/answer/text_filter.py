"""A message's raw text becomes events: what is plain goes through, what upstream means for its own page is replaced.

Rule: the events depend on the text alone, never on how it was cut into pieces. So what may yet become something is
held: a marker until it is closed and its source is known, an address until it ends. Whatever is held is given up in the
end: after a bounded length, with the message, with the stream.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol
from urllib.parse import unquote

import msgspec

from shim.chatgpt.stream import Metadata
from shim.protocol.answer.citations import CLOSE, OPEN, Sources, without_marks
from shim.protocol.events import Citation, CodeDelta, Event, FileLink, FileRef, ReasoningDelta, TextDelta, ToolOutput

SPECIAL = re.compile("[(<【\ue200-\ue206]")
"""Where something other than plain text may begin. Text without any of these may go past a filter that is `clear`."""

PATIENCE = 240
"""How much further text (characters) waits behind a closed marker whose source is not known yet."""

# What is held is given up from this length on, or one odd character would hold back the rest of the answer.
_MAX_MARKER = 16 * 1024
# Longer than paths in a sandbox are; what is held back is not shown meanwhile.
_MAX_ADDRESS = 1024
_SCHEME = "sandbox:"
_MADE_FILES = "/mnt/data/"
# The target of a link ends where Markdown ends it: `(...)` at white space or the closing bracket, `<...>` at `>`.
_BARE = r"/(?:[^\s()<>\ue200-\ue206]|\([^\s()<>\ue200-\ue206]*\))*"
_QUOTED = r"/[^\n<>\ue200-\ue206]*"
_TARGET = {
    "(": re.compile(rf"\(sandbox:({_BARE})(?=[\s)<>])"),
    "<": re.compile(rf"<sandbox:({_QUOTED})(?=[\n<>])"),
}
_UNENDED = {
    "(": re.compile(rf"\(sandbox:{_BARE}(?:\([^\s()<>\ue200-\ue206]*)?\Z"),
    "<": re.compile(rf"<sandbox:{_QUOTED}\Z"),
}
# The citations of 2023: `【4:0†name】`, and everything that may become one.
_OLD_MARKER = re.compile(r"【\d{1,6}(?::\d{1,6})?†[^【】\n]{0,256}】")
_OLD_BEGINNING = re.compile(r"【(?:\d{1,6}(?::(?:\d{1,6})?)?(?:(?<=\d)†[^【】\n]{0,256})?)?\Z")


class TextFilter(Protocol):
    """Takes a message's raw text in pieces and gives events."""

    clear: bool
    """Nothing is held and the first piece is out, so that a plain piece (see `SPECIAL`) may pass it by."""

    def receive_metadata(self, metadata: Metadata) -> None:
        """The newest metadata of the message. Events that they settle come from the next `receive`."""

    def receive(self, text: str) -> list[Event]:
        """The events for more text; `text` may be empty, for what new metadata have settled."""

    def rest(self) -> list[Event]:
        """The events for what is held, at the end of the message."""


class PassThrough:
    """Code and what it printed: as it is, in pieces of one kind."""

    clear = False  # every piece is an event of its own kind, so none may pass by as a bare text

    def __init__(self, piece: CodeDelta | ToolOutput) -> None:
        self._piece = piece

    def receive_metadata(self, metadata: Metadata) -> None:
        """Nothing about code is in the metadata."""

    def receive(self, text: str) -> list[Event]:
        """`text` as one piece. The first has the language and opens the block."""
        text = without_marks(text)
        if not text:
            return []
        first, self._piece = self._piece, msgspec.structs.replace(self._piece, opens=False)
        return [msgspec.structs.replace(first, text=text)]

    def rest(self) -> list[Event]:
        """Nothing is ever held."""
        return []


class _Found(NamedTuple):
    """What begins at a place: it reaches to `end`, `text` of it is plain, and `event` stands after that."""

    end: int
    text: str = ""
    event: Event | None = None


class MarkdownTextFilter:
    """Text for people. `file` is where its links to files lead; without it (reasoning, documents) there are none, and
    nothing is cited: markers just vanish. `length` tells how many characters the message has so far. `opened` says
    that the text goes on with another message's."""

    def __init__(
        self,
        kind: type[TextDelta | ReasoningDelta],
        file: FileRef | None = None,
        *,
        length: Callable[[], int] = int,
        opened: bool = False,
    ) -> None:
        self.clear = opened
        self._kind = kind
        self._file = file
        self._length = length
        self._opened = opened
        self._held = ""
        self._sources = Sources()

    def receive_metadata(self, metadata: Metadata) -> None:
        """What the metadata say of sources."""
        self._sources.receive(metadata)

    def receive(self, text: str) -> list[Event]:
        """The events for `text` and for what had been held before it."""
        self._held += text
        return self._give(last=False) if self._held else []

    def rest(self) -> list[Event]:
        """The events for what is held: an open marker is dropped, the rest is made the best of."""
        return self._give(last=True) if self._held else []

    def _give(self, *, last: bool) -> list[Event]:
        """Everything decided leaves; the first undecided place keeps itself and all behind it waiting."""
        held, at = self._held, 0
        plain: list[str] = []
        events: list[Event] = []
        while special := SPECIAL.search(held, at):
            plain.append(held[at : special.start()])
            at = special.start()
            found: _Found | None
            match held[at]:
                case "(" | "<":
                    found = self._address(held, at, last=last)
                case "【":
                    found = self._old_marker(held, at, last=last)
                case "\ue200":
                    found = self._marker(held, at, last=last)
                case _:
                    found = _Found(at + 1)  # the end of a marker that never began
            if found is None:
                break
            plain.append(found.text)
            at = found.end
            if found.event is not None:
                self._say("".join(plain), events)
                plain.clear()
                if isinstance(found.event, Citation) and not found.event.text:
                    continue  # a source without words, of which nothing is shown
                if not self._opened:  # a message opens with text, even if there is none before its first link
                    events.append(TextDelta("", opens=True))
                    self._opened = True
                events.append(found.event)
        else:
            plain.append(held[at:])
            at = len(held)
        self._say("".join(plain), events)
        self._held = held[at:]
        self.clear = self._opened and not self._held
        return events

    # What begins at the special character `held[at]`; None as long as that is not known.

    def _address(self, held: str, at: int, *, last: bool) -> _Found | None:
        bracket = held[at]
        beginning = held[at + 1 : at + 1 + len(_SCHEME)]
        if self._file is None or not _SCHEME.startswith(beginning):
            return _Found(at + 1, bracket)
        # At the end of the message an address ends as well: a line break stands for that.
        match = _TARGET[bracket].match(f"{held}\n" if last else held, at)
        if match and len(match[0]) <= _MAX_ADDRESS and _is_made(path := unquote(match[1])):
            return _Found(match.end(), bracket, FileLink(msgspec.structs.replace(self._file, sandbox_path=path)))
        undecided = len(held) == at + 1 + len(beginning) or _UNENDED[bracket].match(held, at)
        if last or match or not undecided or len(held) - at > _MAX_ADDRESS:
            return _Found(at + 1, bracket)
        return None

    def _old_marker(self, held: str, at: int, *, last: bool) -> _Found | None:
        if match := _OLD_MARKER.match(held, at):
            # The ranges of 2023 count from the beginning of the message, of which `held` is the end.
            start = self._length() - len(held) + at
            citation = self._sources.ranged(start, start + len(match[0]))
            if citation is None and not last and len(held) - match.end() < PATIENCE and self._file is not None:
                return None
            return _Found(match.end(), event=citation)
        if not last and _OLD_BEGINNING.match(held, at):
            return None
        return _Found(at + 1, held[at])

    def _marker(self, held: str, at: int, *, last: bool) -> _Found | None:
        limit = at + _MAX_MARKER
        close, again = held.find(CLOSE, at, limit), held.find(OPEN, at + 1, limit)
        if again != -1 and not -1 < close < again:
            return _Found(again)  # it never closed: the next one begins
        if close == -1:
            return _Found(min(len(held), limit)) if last or len(held) >= limit else None
        end, marker = close + 1, held[at : close + 1]
        if self._file is None:
            return _Found(end)  # no sources belong to this text, so there is nothing to wait for
        citation = self._sources.settled(marker)
        if citation is None:
            if not last and len(held) - end < PATIENCE:
                return None
            citation = self._sources.best(marker)
        return _Found(end, event=citation)

    def _say(self, text: str, events: list[Event]) -> None:
        if text:
            events.append(self._kind(text, opens=not self._opened))
            self._opened = True


def _is_made(path: str) -> bool:
    """Whether a path of the sandbox is one that the assistant makes files at. A link is a promise that there is a file,
    and signed by us, so it is made for nothing else: not for `/etc`, not for a way out by `..`."""
    return path.startswith(_MADE_FILES) and ".." not in path.split("/") and path.isprintable()
