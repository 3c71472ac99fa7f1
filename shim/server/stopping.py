"""A worker that is told to stop (SIGTERM): open answers are ended in time, so that none is cut off without a word.

    SIGTERM ──> no new connections (Granian's own stop) ──SHUTDOWN_TIMEOUT less a moment──> every open answer is ended:
                a stream by an in-band error, whoever waits for a head by a 503 ──> the application closes what it holds

Rule: the main process kills whoever is not gone after SHUTDOWN_TIMEOUT, so the moment is for the log lines, the store
and the children that are still to be closed then.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shim.errors import GatewayError, UnavailableError
from shim.http.presence import interrupt_all

_MOMENT = 2.0  # seconds, or a quarter of a SHUTDOWN_TIMEOUT that is shorter than four of them


def at_once_while_starting() -> None:
    """SIGTERM and SIGINT end the process until it serves. A forked worker has its parent's handlers, which would only
    note the signal for somebody who never looks."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@asynccontextmanager
async def ends_answers(seconds: float) -> AsyncIterator[None]:
    """While the block runs, SIGTERM gives open answers `seconds` to end, all in all."""
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        loop.call_later(seconds - min(_MOMENT, seconds / 4), interrupt_all, _shutting_down)
        # Granian's own handler of this other signal takes no more connections, and waits for those that it has.
        signal.raise_signal(signal.SIGINT)

    loop.add_signal_handler(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _shutting_down() -> GatewayError:
    text = "The gateway is shutting down; ask again in a moment"
    return UnavailableError(text, code="shutting_down", retry_after=1.0)
