"""Text, code, what code printed, pictures and files, as one Markdown text.

Rule: a block is opened when its kind begins and closed when anything else comes, or the answer ends. What the text
looks like depends on the events alone, not on how they were cut, so a streamed answer and a whole one read the same.

A fence has three backticks, for that is what every client knows, and is written before its code is known. So a line of
code that would close it (nothing but backticks, three or more, indented by no more than three spaces) is indented by
four spaces more: then Markdown takes it for what it is, a line of code.
"""

import re
from collections.abc import Callable, Sequence

from shim.protocol.events import (
    Citation,
    CodeDelta,
    Event,
    FileLink,
    FileRef,
    Finished,
    Picture,
    TextDelta,
    ToolOutput,
)
from shim.protocol.shaping.filter import Filter

_FENCED = (CodeDelta, ToolOutput)
_CLOSES = re.compile(r"^ {0,3}`{3,}[ \t]*\r?$", re.MULTILINE)
_MAY_CLOSE = re.compile(r"^ {0,3}(?:`+[ \t]*\r?)?\Z")
_LANGUAGE = re.compile(r"[\w+#.-]{1,32}", re.ASCII)
_IN_TITLE = str.maketrans({"[": r"\[", "]": r"\]", "\n": " ", "\r": " "})


class Markdown(Filter):
    """Makes all text of the answer plain `TextDelta`s.

    `link` gives the address under which a client can have a file. Citations, reasoning, calls and the end pass through;
    without `pictures` so do these, for an API that has a place for them.
    """

    def __init__(self, link: Callable[[FileRef], str], *, pictures: bool = True) -> None:
        self._link, self._pictures = link, pictures
        self._reset()

    def _reset(self) -> None:
        self._kind: type[Event] | None = None
        self._fence = _Fence()

    def restart(self) -> None:
        """A second answer is written below the first: what it says is one text with what was given already."""

    def receive(self, events: Sequence[Event]) -> list[Event]:
        """The events for `events`: the same list where it is plain text within one message, which is nearly always."""
        # The hot path of a chat's stream: no new list, no new events.
        if self._kind is TextDelta and isinstance(events, list):
            for event in events:
                if type(event) is not TextDelta or event.opens:
                    break
            else:
                return events
        written: list[Event] = []
        for event in events:
            if self._kind is TextDelta and type(event) is TextDelta and event.text and not event.opens:
                written.append(event)
            else:
                self._handle(event, written)
        return written

    def _handle(self, event: Event, given: list[Event]) -> None:
        match event:
            case CodeDelta() | ToolOutput():
                text = self._turn_to(event, opens=event.opens) + self._fence.add(event.text)
            case TextDelta():
                text = self._turn_to(event, opens=event.opens) + event.text
            case Picture() if not self._pictures:
                text, self._kind = self._close(), None
            case Picture(file=file):
                title = (file.title or "image").translate(_IN_TITLE)
                text = f"{self._turn_to(event, opens=True)}![{title}]({self._link(file)})"
            case FileLink() | Citation():
                # Both stand within text: they leave a code block, but open no paragraph of their own.
                text = self._turn_to(_TEXT) + (self._link(event.file) if isinstance(event, FileLink) else "")
            case Finished():
                text = self._close()
            case _:
                text = ""
        if text:
            given.append(TextDelta(text))
        if not isinstance(event, _WRITTEN) or (type(event) is Picture and not self._pictures):
            given.append(event)

    def _turn_to(self, event: Event, *, opens: bool = False) -> str:
        """Close the open block and open one for `event`, unless it belongs to the open one."""
        if not opens and type(event) is self._kind:
            return ""
        left = f"{self._close()}\n\n" if self._kind is not None else ""
        self._kind = type(event)
        match event:
            case CodeDelta(language=language):
                # The language is upstream's word: whatever could break out of the fence's first line is not repeated.
                return left + self._fence.begin(language if _LANGUAGE.fullmatch(language) else "text")
            case ToolOutput():
                return left + self._fence.begin("output")
            case _:
                return left

    def _close(self) -> str:
        """What ends an open fence, if one is open."""
        if self._kind not in _FENCED:
            return ""
        self._kind = TextDelta  # a second answer may follow the end, and must not close the fence once more
        return self._fence.end()


class _Fence:
    """One block at a time. The line that is being written is held as long as it may turn out to be one that closes."""

    def __init__(self) -> None:
        self._held = ""
        self._at_line_start = True

    def begin(self, info: str) -> str:
        self._held, self._at_line_start = "", True
        return f"```{info}\n"

    def add(self, code: str) -> str:
        code, self._held = self._held + code, ""
        head, line_end, line = code.rpartition("\n")
        starts = self._at_line_start or bool(line_end)
        if starts and line and _MAY_CLOSE.match(line):
            self._held, code = line, head + line_end
        if code:
            code, self._at_line_start = self._harmless(code), code.endswith("\n")
        return code

    def end(self) -> str:
        rest, self._held = self._harmless(self._held), ""
        return f"{rest}```" if self._at_line_start and not rest else f"{rest}\n```"

    def _harmless(self, code: str) -> str:
        """`code` without a line that closes the fence. Where it does not begin a line, its first one can't."""
        if "```" not in code:
            return code
        first = 0 if self._at_line_start else code.find("\n") + 1 or len(code)
        return code[:first] + _CLOSES.sub(lambda line: "    " + line[0], code[first:])


_TEXT = TextDelta("")
_WRITTEN = (TextDelta, CodeDelta, ToolOutput, Picture, FileLink)
