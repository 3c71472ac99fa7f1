"""Messages to events: what of an answer is shown, each message once, as it grows.

Rules (protocol.md 5): text that was given is never taken back, so of a rewritten message what follows the common
beginning is given; a message that begins closes those before it.
"""

from typing import Any

from shim.chatgpt.stream import Message
from shim.protocol.answer.canvas import Canvas
from shim.protocol.answer.content_types import Reading
from shim.protocol.answer.pictures import Gallery
from shim.protocol.answer.text_filter import SPECIAL, MarkdownTextFilter, PassThrough, TextFilter
from shim.protocol.events import CodeDelta, Event, FileRef, Picture, ReasoningDelta, TextDelta, ToolOutput

_find_special = SPECIAL.search


class RawText:
    """The raw text of a message so far; apart from the message, so that its filter can ask for the length without the
    two knowing each other: what goes in a circle stays until the collector has been through it."""

    __slots__ = ("_pieces", "_text", "append")

    def __init__(self) -> None:
        self._text = ""
        self._pieces: list[str] = []
        self.append = self._pieces.append

    def set(self, text: str) -> None:
        """This is all of it."""
        self._text, self._pieces = text, []
        self.append = self._pieces.append

    def so_far(self) -> str:
        """All of it, joined only when it is asked for."""
        if self._pieces:
            self.set("".join([self._text, *self._pieces]))
        return self._text

    def length(self) -> int:
        """How many characters it has."""
        return len(self.so_far())


class ShownMessage:
    """One message being shown: its raw text so far, and the text filter that makes events of it."""

    __slots__ = ("canvas", "held", "kind", "raw", "text_filter")

    def __init__(self, reading: Reading, file: FileRef, *, joins: bool) -> None:
        self.kind, self.canvas = reading.kind, reading.canvas
        self.raw, self.held = RawText(), ""
        self.text_filter: TextFilter
        if reading.canvas:
            self.text_filter = Canvas()
        elif reading.kind is CodeDelta:
            self.text_filter = PassThrough(CodeDelta("", reading.language, opens=True))
        elif reading.kind is ToolOutput:
            self.text_filter = PassThrough(ToolOutput("", opens=True))
        elif reading.kind is ReasoningDelta:
            # Thoughts have markers too, but name no files and cite by no ranges.
            self.text_filter = MarkdownTextFilter(ReasoningDelta)
        else:
            self.text_filter = MarkdownTextFilter(TextDelta, file, length=self.raw.length, opened=joins)


class Display:
    """The shown side of one answer. `message_id` is the message that answers: the last one of which text or a picture
    was shown. `says_something` is whether anything but reasoning was."""

    def __init__(self) -> None:
        self.message_id: str | None = None
        self.says_something = False
        self.gallery = Gallery()
        self.joins = False  # the next text continues the last one, which was cut for its length
        self._shown: dict[tuple[Any, Any], ShownMessage] = {}
        # Those that may hold something back. Only these are asked for the rest: over all that were ever shown, an
        # answer of many messages would cost the square of their number.
        self._holding: dict[ShownMessage, None] = {}  # an ordered set
        # What grows at the moment: the message, and where the deltas append to it.
        self._live: ShownMessage | None = None
        self._live_root: Any = None
        self._live_path: str | None = None

    def grow(self, root: Any, path: str, text: str) -> list[Event] | None:
        """The events for text that was appended at `path` of `root`; None where that is not the message that grows, and
        the object has to be looked at. The hot path: nothing else to look at, mostly nothing to filter."""
        if path != self._live_path or root is not self._live_root:
            return None
        live = self._live
        if live is None or not text:
            return []
        live.raw.append(text)
        if live.text_filter.clear and _find_special(text) is None:
            return [live.kind(text)]
        self._holding[live] = None
        events = live.text_filter.receive(text)
        self._note(events)
        return events

    def show(self, message: Message, reading: Reading, conversation_id: str | None, root: Any) -> list[Event]:
        """The events for a message as it is now; `root` is the object the deltas go on appending to."""
        key = (message.id if isinstance(message.id, str) else None, message.author.role)
        if reading.kind is TextDelta:
            self.message_id = key[0]
        events: list[Event] = []
        shown = self._shown.get(key)
        if shown is None or shown.kind is not reading.kind or shown.canvas is not reading.canvas:
            events = self.rest()  # a message begins, so that no other is waited for any more
            joins, self.joins = self.joins, self.joins and reading.kind is not TextDelta
            file = FileRef(conversation_id, key[0])
            shown = self._shown[key] = ShownMessage(reading, file, joins=joins and reading.kind is TextDelta)
        now, new = shown.raw.so_far(), ""
        if not now.startswith(reading.text):  # else it is old news, or text taken back, which can't be
            new = _after(now, reading.text, paragraphs=reading.rewrites)
            shown.raw.set(reading.text)
            now = reading.text
        shown.held = reading.held and ("\n\n" if now else "") + reading.held
        shown.text_filter.receive_metadata(message.metadata)
        self._holding[shown] = None
        given = shown.text_filter.receive(new)
        self._note(given)
        events += given
        # A message without text that says it is the end is looked at again: with text, it will be (`is_answer`).
        grows = now == reading.text and (now or message.end_turn is not True)
        self._live, self._live_root, self._live_path = shown, root, reading.grows_at if grows else None
        return events

    def hang(self, pictures: list[Picture]) -> list[Event]:
        """The events for pictures that are shown now."""
        if not pictures:
            return []
        self.says_something = True
        self.message_id = pictures[-1].file.message_id or self.message_id
        return [*self.rest(), *pictures]

    def rest(self) -> list[Event]:
        """What messages hold back, waiting for more of them to come."""
        events: list[Event] = []
        # An end asks more than once, a message that begins mostly for nothing.
        if not self._holding:
            return events
        holding, self._holding = self._holding, {}
        for shown in holding:
            if shown.held:  # nothing has taken its place
                held, shown.held = shown.held, ""
                shown.raw.append(held)
                events += shown.text_filter.receive(held)
            events += shown.text_filter.rest()
        self._note(events)
        return events

    def detach(self) -> None:
        """The object that the deltas append to has changed, or is another stream's."""
        self._live_root = None

    def _note(self, events: list[Event]) -> None:
        """Reasoning alone is no answer."""
        if events and not isinstance(events[0], ReasoningDelta):
            self.says_something = True


def _after(before: str, now: str, *, paragraphs: bool) -> str:
    """The text of `now` that has not been given yet, where `before` has. With `paragraphs` one that was replaced is
    given as a whole, apart from what it replaces (5.2)."""
    if now.startswith(before):
        return now[len(before) :]
    both = enumerate(zip(before, now, strict=False))
    differs = next((place for place, (old, new) in both if old != new), len(now))
    begins = now.rfind("\n\n", 0, differs)
    replaced = before[begins + 2 if begins >= 0 else 0 :].partition("\n\n")[0]
    if not paragraphs or now[begins + 2 if begins >= 0 else 0 :].startswith(replaced):
        return now[differs:]  # nothing was replaced, it grew in the middle
    new = now[begins + 2 if begins >= 0 else 0 :].strip("\n")
    return f"\n\n{new}" if new else ""
