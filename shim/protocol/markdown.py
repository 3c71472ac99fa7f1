"""Text, code and what code printed, as one Markdown text.

Rule: a block is opened when its kind begins and closed when anything else comes, or the answer ends. What the text
looks like depends on the events alone, so a streamed answer and a whole one read the same.
"""

from shim.protocol.events import CodeDelta, Delta, ReasoningDelta, TextDelta, ToolOutput

_FENCED = (CodeDelta, ToolOutput)


class MarkdownText:
    """`add` turns one delta into the text to append; `close` ends what is still open."""

    __slots__ = ("_kind", "_last")

    def __init__(self) -> None:
        self._kind: type[Delta] | None = None
        self._last = "\n"

    def add(self, delta: TextDelta | CodeDelta | ToolOutput) -> str:
        """The Markdown for `delta`, with whatever has to be closed and opened before it."""
        text = delta.text
        if delta.opens or type(delta) is not self._kind:
            text = self._leave() + self._enter(delta) + text
            self._kind = type(delta)
        self._last = text
        return text

    def close(self) -> str:
        """What ends an open fence, if one is open."""
        if self._kind not in _FENCED:
            return ""
        self._kind = TextDelta
        return "```" if self._last.endswith("\n") else "\n```"

    def _leave(self) -> str:
        """The end of the block that is open, and a blank line."""
        if self._kind is None:
            return ""
        return self.close() + "\n\n"

    def _enter(self, delta: Delta) -> str:
        match delta:
            case CodeDelta(language=language):
                return f"```{language or 'text'}\n"
            case ToolOutput():
                return "```output\n"
            case TextDelta() | ReasoningDelta():
                return ""
