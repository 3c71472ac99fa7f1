"""Whether a place in Markdown text lies in code: in a fence, an indented line, or `between backticks`.

Rule: decided by what stands before the place alone, so that text can be judged as it arrives. Fences are CommonMark's
(0.31.2, section 4.5); backticks count within their line, for a lone one must not hide the rest of an answer.
"""

import re

_OPENS = re.compile(r" {0,3}(`{3,}|~{3,})")
_CLOSES = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*\r?\Z")
_INDENTED = re.compile(r" {0,3}\t| {4}")
_RUNS = re.compile(r"`+|[^`]+")


class CodeFences:
    """Text goes in with `add`; `inside` is about the place right after all text so far."""

    __slots__ = ("_fence", "_line", "_run", "_span")

    def __init__(self) -> None:
        self._fence = ""  # the marks that opened the fence, as far as they have to be met
        self._line: list[str] = []
        self._run = 0  # backticks the line ends with
        self._span = 0  # how many backticks opened the span that is open, 0: none is

    def add(self, text: str) -> None:
        """The next piece of the text, cut anywhere."""
        first, *others = text.split("\n")
        self._read(first)
        for line in others:
            self._end_line()
            self._read(line)

    @property
    def inside(self) -> bool:
        """Whether what comes next (something other than a backtick or a tilde) is code."""
        if self._fence or self._is_in_span():
            return True
        line = "".join(self._line)
        self._line = [line]  # joined once: the question may come again before the line ends
        return bool(_OPENS.match(line) or (_INDENTED.match(line) and line.isspace()))

    def _read(self, text: str) -> None:
        """More of the line that is open: no line break is in `text`."""
        if not text:
            return
        self._line.append(text)
        for run in _RUNS.findall(text):
            if run[0] == "`":
                # Added up, not looked at: the run may go on in the next piece.
                self._run += len(run)
            else:
                self._is_in_span()

    def _is_in_span(self) -> bool:
        """Take the run of backticks that has just ended into account: it opens a span, or closes one of its length."""
        run, self._run = self._run, 0
        if run and self._span in (0, run):
            self._span = 0 if self._span else run
        return self._span > 0

    def _end_line(self) -> None:
        line = "".join(self._line)
        if self._fence:
            # A fence is closed by the same marks, at least as many of them.
            closing = _CLOSES.match(line)
            if closing and closing[1].startswith(self._fence):
                self._fence = ""
        else:
            opening = _OPENS.match(line)
            # Words after backticks have no backtick, or it is a span; after tildes they may.
            if opening and (opening[1][0] == "~" or "`" not in line[opening.end() :]):
                self._fence = opening[1]
        self._line, self._run, self._span = [], 0, 0
