"""The tokens of a long answer, counted while it comes.

    a choice goes on ──each slice of some thousand characters──> AnswerTokens ──at its end──> what is left, in a thread

Rule: no more than a slice is counted on the event loop at a time, and little is left for the end, so that the last
bytes of a long stream come no later than those of a short one.
"""

from shim.protocol.transcript import Transcript
from shim.tokenizer import RunningCount


class AnswerTokens:
    """Those of one choice: its text and its reasoning, not its calls."""

    def __init__(self, said: Transcript) -> None:
        self._said = said
        self._text, self._reasoning = RunningCount(), RunningCount()
        self._read = 0, 0  # how many pieces of each

    def go_on(self) -> None:
        """Count of what has been said, a slice at most of each."""
        text, reasoning = self._said.pieces(*self._read)
        self._read = self._read[0] + len(text), self._read[1] + len(reasoning)
        self._text.add("".join(text))
        self._reasoning.add("".join(reasoning))

    async def total(self) -> tuple[int, int]:
        """The tokens of the text and of the reasoning, all that has been said so far."""
        self.go_on()
        return await self._text.total(), await self._reasoning.total()
