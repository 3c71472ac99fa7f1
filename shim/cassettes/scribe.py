"""Writes a cassette beside the traffic: scrubbing and the file are one thread's work, so that no flow waits for them.

Rule: at most `_WAITING` calls wait to be written. When more end at once the newest are left out, and the log says so.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from shim.cassettes.format import CassetteWriter
from shim.cassettes.recording import Heard, Recording

log = logging.getLogger(__name__)

_WAITING = 64


class Scribe:
    """One cassette file being written. `close` waits for what is still to be written."""

    def __init__(self, path: Path, *, redact: bool = False) -> None:
        self._recording = Recording(redact=redact)
        self._writer = CassetteWriter(path, redacted=redact)
        self._thread = ThreadPoolExecutor(1, "scribe")
        self._waiting: set[Future[None]] = set()

    def write(self, heard: Heard) -> None:
        """Add a call that has ended."""
        self._waiting = {one for one in self._waiting if not one.done()}
        if len(self._waiting) >= _WAITING:
            log.warning("recording falls behind: one call was left out")
            return
        future = self._thread.submit(self._write, heard)
        self._waiting.add(future)
        future.add_done_callback(_tell)

    def close(self) -> None:
        """Write the rest."""
        self._thread.shutdown()

    def _write(self, heard: Heard) -> None:
        self._writer.add(self._recording.interaction(heard))


def _tell(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None:
        # Its text may quote what was being scrubbed.
        log.error("a call could not be written to the cassette: %s", type(error).__name__)
