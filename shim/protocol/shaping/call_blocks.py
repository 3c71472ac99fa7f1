"""Text with blocks of calls in it, taken apart as it arrives (the form is described in docs/tools.md).

    TEXT ──`<tool_call_KEY>` outside code──> BLOCK ──`</tool_call_KEY>` outside a JSON string──> TEXT
     └── `<tool_result` after a block: what the model made up ──> ENDED

Rules: text is passed on at once; only what may yet begin a marker, and the white space before it, is held back. KEY is
random and another one for each request, so that whoever writes a web page or a tool's result that the model repeats
can't write a call.
"""

import re

import msgspec

from shim.protocol.shaping.code_fences import CodeFences

# Models now and then put white space inside the marks.
_OPENING = re.compile(r"<\s{0,8}(?:tool_call(?P<call>\w{0,32})\s{0,8}>|tool_result)")
_ENDING = re.compile(r"<\s{0,8}(?:/\s{0,8}tool_call(?P<closes>\w{0,32})|tool_call(?P<opens>\w{0,32}))\s{0,8}>")
_ANY_MARK = re.compile(r"<(?=\s{0,8}/?\s{0,8}tool_(?:call|result))", re.IGNORECASE)
_MOST_BLANKS = 3 * 8  # in one mark
_MOST_SPACE = 256  # more of it is text: what is held back is looked at again with every piece
_SPACE = re.compile(r"\s+")
_IN_STRING = re.compile(r'["\\\n]')
_OUTSIDE = re.compile(r'["<]')


class Marks(msgspec.Struct, frozen=True):
    """The marks of one request. `key` is the random part of them; without one they are bare."""

    key: str = ""

    @property
    def suffix(self) -> str:
        """What the key adds to the name of a mark."""
        return f"_{self.key}" if self.key else ""

    @property
    def call_opens(self) -> str:
        """The line before a call."""
        return f"<tool_call{self.suffix}>"

    @property
    def call_closes(self) -> str:
        """The line after it."""
        return f"</tool_call{self.suffix}>"

    @property
    def result_opens(self) -> str:
        """What the line before a result begins with; its attributes follow."""
        return f"<tool_result{self.suffix}"

    @property
    def result_closes(self) -> str:
        """The line after it."""
        return f"</tool_result{self.suffix}>"


def without_marks(text: str) -> str:
    """A text that the model reads and has not written, with whatever looks like a mark made to look like none."""
    return _ANY_MARK.sub(r"<\\", text)


class Block(msgspec.Struct, frozen=True):
    """What stands between two marks. Not `closed`: the answer ended first."""

    body: str
    closed: bool = True


class CallBlocks:
    """Takes text with `add`, gives text and blocks in their order; `close` gives what was held back."""

    def __init__(self, marks: Marks = Marks()) -> None:  # noqa: B008  frozen
        self.ended = False
        self.unread = ""  # what came behind the end
        self._marks = marks
        self._held = ""
        self._code = CodeFences()
        self._body: _BlockBody | None = None
        self._had_block = False
        self._after_block = False

    @property
    def in_block(self) -> bool:
        """Whether a block is open."""
        return self._body is not None

    def add(self, text: str) -> list[str | Block]:
        """What `text` completes. Nothing follows once it has `ended`."""
        pieces: list[str | Block] = []
        rest: str | None = text
        while rest and not self.ended:
            if self._body is None:
                rest = self._add_text(rest, pieces)
                continue
            body = self._body
            rest = body.add(rest)
            if rest is not None:  # the block ends here, and text goes on behind it, outside of any fence
                pieces.append(Block(body.text))
                self._body, self._code = None, CodeFences()
                self._had_block = self._after_block = True
        self.unread = rest or ""
        return pieces

    def flush(self) -> list[str | Block]:
        """The text held back, where something comes that is not text, so that it can't become a mark any more."""
        pieces: list[str | Block] = []
        held, self._held = self._held, ""
        self._code.add(held)
        self._say(held, pieces)
        return pieces

    def close(self) -> list[str | Block]:
        """The end of the answer: the block that is still open, or the text held back."""
        if self._body is None:
            return self.flush()
        block, self._body = Block(self._body.text, closed=False), None
        return [block]

    def _add_text(self, text: str, pieces: list[str | Block]) -> str | None:
        """Returns what belongs to the block that begins in `text`, if one does."""
        data = self._held + text
        passed, opening = self._scan(data)
        if opening is None:
            self._held = data[passed:]
            self._say(data[:passed], pieces)
            return None
        self._held = ""
        self._say(data[: _before_space(data, passed)], pieces)
        self.ended = opening["call"] is None
        self._body = None if self.ended else _BlockBody(self._marks)
        return data[opening.end() :]

    def _scan(self, data: str) -> tuple[int, re.Match[str] | None]:
        """How much of `data` is text for certain, and the mark behind it. The fences are told of that text."""
        told, ours = 0, self._marks.suffix
        for mark in _OPENING.finditer(data):
            self._code.add(data[told : mark.start()])
            told = mark.start()
            if not self._code.inside and (self._had_block if mark["call"] is None else mark["call"] == ours):
                return told, mark
        # All but a beginning of a mark at the end, and white space before it.
        last = data.rfind("<")
        may_open = last >= 0 and _may_become(data[last:], self._marks.call_opens, Marks().result_opens)
        passed = max(told, _before_space(data, last if may_open else len(data)))
        self._code.add(data[told:passed])
        return passed, None

    def _say(self, text: str, pieces: list[str | Block]) -> None:
        """White space right after a block goes with the block."""
        text = text.lstrip() if self._after_block else text
        if text:
            self._after_block = False
            pieces.append(text)


class _BlockBody:
    """The inside of a block: it ends with its closing mark, or where the next block opens. Marks in JSON strings are
    text; a string ends with its line at the latest, for JSON knows no line break in one."""

    __slots__ = ("_buffer", "_in_string", "_marks", "_pieces")

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._pieces: list[str] = []
        self._buffer = ""  # what may be the beginning of a mark or of an escape
        self._in_string = False

    @property
    def text(self) -> str:
        return "".join(self._pieces) + self._buffer

    def add(self, text: str) -> str | None:
        """Returns what follows the end, or None where there is no end yet."""
        data, place = self._buffer + text, 0
        while (found := (_IN_STRING if self._in_string else _OUTSIDE).search(data, place)) is not None:
            place = found.start()
            ending = _ENDING.match(data, place)
            # A closing mark may be without its key: what opened the block had it, and models forget.
            if ending and (ending["closes"] in {"", self._marks.suffix} or ending["opens"] == self._marks.suffix):
                self._pieces.append(data[:place])
                self._buffer = ""
                return data[place if ending["closes"] is None else ending.end() :]
            if self._is_open_ended(data, place):
                self._pieces.append(data[:place])
                self._buffer = data[place:]
                return None
            if data[place] in '"\n':
                self._in_string = data[place] == '"' and not self._in_string
            place += 2 if data[place] == "\\" else 1  # with what it escapes
        self._pieces.append(data)
        self._buffer = ""
        return None

    def _is_open_ended(self, data: str, place: int) -> bool:
        """Whether what begins at `place` needs more text to be understood."""
        if data[place] == "\\":
            return place + 1 == len(data)
        marks = self._marks
        return data[place] == "<" and _may_become(
            data[place:], marks.call_closes, Marks().call_closes, marks.call_opens
        )


def _may_become(text: str, *marks: str) -> bool:
    """Whether `text` is the beginning of one of `marks`."""
    if len(text) > max(map(len, marks)) + _MOST_BLANKS:
        return False
    squeezed = _SPACE.sub("", text)
    return any(mark.startswith(squeezed) for mark in marks)


def _before_space(data: str, end: int) -> int:
    """Where the white space before `end` begins."""
    return max(len(data[:end].rstrip()), end - _MOST_SPACE)
