"""The log: one form for every line of a process, ours and Granian's, as text or as JSON (LOG_FORMAT).

    2026-11-27 23:01:02,345 INFO chat2api.exchange req_1 api=chat model='gpt-5' slug=gpt-5-2 … status=stop ms=812
    {"time": "2026-11-27T23:01:02.345Z", "level": "info", "logger": "chat2api.exchange", "id": "req_1", …}

Rule: what a line says of a request is in its fields, which are names and plain values; a program that reads the log
needs no pattern. No field holds a token, a cookie, a key or a message's text. What is logged in one turn of the event
loop is written together, when the turn is over; a warning is written at once, with what came before it, and so is
everything where no event loop runs.
"""

import asyncio
import json
import logging
import logging.config
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"

Fields = Mapping[str, str | int | float | bool | None]


def log_fields(log: logging.Logger, level: int, id: str, fields: Fields) -> None:
    """One line about a request. Fields that are None are left out."""
    if log.isEnabledFor(level):
        known: dict[str, Any] = {"id": id}
        text = ""
        for name, value in fields.items():
            if value is None:
                continue
            known[name] = value
            # By its exact type: a line has a dozen values, and asking for each whether it is an instance, in a function
            # of its own, was a quarter of what the line costs.
            kind = type(value)
            if kind is float:
                text += f" {name}={value:.0f}"
            elif kind is int or kind is bool:
                text += f" {name}={value}"
            else:
                shown = str(value)
                # Quoted where it could be taken for more than one field, or for another line.
                plain = shown and " " not in shown and shown[0] not in "'\"" and shown.isprintable()
                text += f" {name}={shown if plain else repr(shown)}"
        log.log(level, "%s%s", id, text, extra={"fields": known})


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
        # A line that is written at once takes those before it along, and leaves nothing for later to write.
        if soon is not None:
            soon.cancel()
        if not lines:  # each write is flushed below
            return
        lines.append("")
        try:
            self.stream.write("\n".join(lines))
            self.stream.flush()
        except (OSError, ValueError):
            # Nobody reads the log any more, or it is closed: there is nowhere to say so.
            pass


class SecondsFormatter(logging.Formatter):
    """The usual line. Its time is made once a second, for `strftime` is most of what a line costs."""

    def __init__(self) -> None:
        super().__init__(_TEXT)
        self._second, self._text = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        """See logging.Formatter, which takes nine calls of functions to the same line."""
        if record.exc_info or record.exc_text or record.stack_info:
            return super().format(record)
        return f"{self.formatTime(record)} {record.levelname} {record.name} {record.getMessage()}"

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802  logging's name
        """See logging.Formatter."""
        if (second := int(record.created)) != self._second:
            self._text = super().formatTime(record, "%Y-%m-%d %H:%M:%S")
            self._second = second
        return f"{self._text},{record.msecs:03.0f}"


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "logger": record.name}
        fields = getattr(record, "fields", None)
        told |= {"message": record.getMessage()} if fields is None else fields
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def logging_config(level: str, form: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`. Granian's loggers are named, because it would give them a form of its own."""
    formatter: dict[str, Any] = (
        {"()": "shim.logs.JsonLines"} if form == "json" else {"()": "shim.logs.SecondsFormatter"}
    )
    ours = {"handlers": ["lines"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": formatter},
        "handlers": {"lines": {"class": "shim.logs.GatheringHandler", "formatter": "lines"}},
        "root": {"handlers": ["lines"], "level": level.upper()},
        "loggers": {"_granian": ours | {"level": level.upper()}, "granian.access": ours | {"level": level.upper()}},
    }


def configure_logs(level: str, form: str) -> None:
    """Set this process's log up."""
    # No form of ours tells thread, process, task or the line that logs: finding them is 20 of the 90 calls of functions
    # that a line is. All of these are the library's own switches.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]  # from Python 3.12 on
    logging.config.dictConfig(logging_config(level, form))


def flush() -> None:
    """Write what has been gathered: a worker process ends without the farewell of other programs."""
    for handler in logging.getLogger().handlers:
        handler.flush()
