"""How many answers a worker has open at once (MAX_STREAMS), and the line of those that wait.

Rule: whoever came first is first, and when one ends exactly one is let in. Whoever would wait behind too many others is
told so at once.
"""

import asyncio
from collections import deque

from shim.errors import UnavailableError

_PATIENCE = 30.0  # seconds; then whoever waits is told to ask again


class Line:
    """`most` answers are open, `most_waiting` wait, and no more. In one event loop."""

    def __init__(self, most: int, most_waiting: int, *, patience: float = _PATIENCE) -> None:
        self._most, self._most_waiting, self._patience = most, most_waiting, patience
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.open = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    async def enter(self) -> None:
        """Come in, waiting where it is full. Raises UnavailableError."""
        if self.open < self._most:  # then nobody waits
            self.open += 1
            return
        if len(self._waiting) >= self._most_waiting:
            raise _full()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled():  # it was let in at the very moment it gave up
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise _full() from None
            raise

    def leave(self) -> None:
        """An answer is over: the first of those that wait takes its place."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else it has given up, and does not know it yet
                turn.set_result(None)
                return
        self.open -= 1


def _full() -> UnavailableError:
    return UnavailableError(
        "The gateway has as many answers open as it may (MAX_STREAMS); try again in a moment",
        code="too_many_streams",
        retry_after=1.0,
    )
