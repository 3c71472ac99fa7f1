"""The log of a worker: what is told in one turn of the event loop is written together, when the turn is over.

Rule: a warning is written at once, with what came before it; so is everything where no event loop runs.
"""

import asyncio
import logging
from contextlib import nullcontext, suppress


class GatheringHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers alone
    """Writes to standard error. A write for each line costs a small request 10 microseconds; where many end at once,
    they share one. A thread for it would cost each as much in switches."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._soon: asyncio.Handle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler; the lock is held."""
        try:
            self._lines.append(self.format(record))
        except Exception:  # noqa: BLE001  the edge of logging: it must not fail who logs
            self.handleError(record)
            return
        if record.levelno < logging.WARNING:
            if self._soon is not None:
                return
            try:
                self._soon = asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:
                pass
            else:
                return
        self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        with self.lock or nullcontext():
            lines, self._lines = self._lines, []
            soon, self._soon = self._soon, None
        if soon is not None:
            soon.cancel()
        with suppress(
            OSError, ValueError
        ):  # nobody reads the log any more, or it is closed: there is nowhere to say so
            if lines:
                self.stream.write("\n".join([*lines, ""]))
            super().flush()


class SecondsFormatter(logging.Formatter):
    """The usual line. Its time is made once a second, for `strftime` is most of what a line costs."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")
        self._second, self._text = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  logging's name
        """See logging.Formatter."""
        if (second := int(record.created)) != self._second:
            self._text = super().formatTime(record, "%Y-%m-%d %H:%M:%S")
            self._second = second
        return f"{self._text},{record.msecs:03.0f}"


def set_up(level: str) -> None:
    """What a worker's loggers write to. Once for each process."""
    handler = GatheringHandler()
    handler.setFormatter(SecondsFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])


def flush() -> None:
    """Write what has been gathered: a worker process ends without the farewell of other programs."""
    for handler in logging.getLogger().handlers:
        handler.flush()
