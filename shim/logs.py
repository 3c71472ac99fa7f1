"""The log: one form for every line of a process, ours and Granian's, as text or as JSON (LOG_FORMAT).

    2026-11-27 23:01:02,345 INFO chat2api.exchange req_1 api=chat model='gpt-5' slug=gpt-5-2 … status=stop ms=812
    {"time": "2026-11-27T23:01:02.345Z", "level": "info", "logger": "chat2api.exchange", "id": "req_1", …}

Rule: what a line says of a request is in its fields, which are names and plain values; a program that reads the log
needs no pattern. No field holds a token, a cookie, a key or a message's text.
"""

import json
import logging
import logging.config
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Fields = Mapping[str, str | int | float | bool | None]


def log_fields(log: logging.Logger, level: int, id: str, fields: Fields) -> None:
    """One line about a request. Fields that are None are left out."""
    if log.isEnabledFor(level):
        known = {name: value for name, value in fields.items() if value is not None}
        log.log(level, "%s %s", id, _as_text(known), extra={"fields": {"id": id, **known}})


def _as_text(fields: Fields) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in fields.items())


def _shown(value: Any) -> str:
    """Quoted where it could be taken for more than one field, or for another line."""
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    return text if text.isprintable() and text and " " not in text and text[0] not in "'\"" else repr(text)


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


def logging_config(level: str, form: str, handler: str = "logging.StreamHandler") -> dict[str, Any]:
    """For `logging.config.dictConfig`; `handler` is the class that writes the lines. Granian's loggers are named, because
    it would give them a form of its own."""
    formatter: dict[str, Any] = (
        {"()": "shim.logs.JsonLines"} if form == "json" else {"()": "shim.server.logs.SecondsFormatter"}
    )
    ours = {"handlers": ["lines"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": formatter},
        "handlers": {"lines": {"class": handler, "formatter": "lines"}},
        "root": {"handlers": ["lines"], "level": level.upper()},
        "loggers": {"_granian": ours | {"level": level.upper()}, "granian.access": ours | {"level": level.upper()}},
    }


def configure_logs(level: str, form: str, handler: str = "logging.StreamHandler") -> None:
    """Set this process's log up."""
    logging.config.dictConfig(logging_config(level, form, handler))
