"""Writes a cassette in a thread of its own, so that no flow waits for scrubbing or for the disk.

Rule: at most `_WAITING` calls wait to be written. If more end at once, the newest are dropped and the log says so.
"""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from shim.cassettes.format import CassetteWriter
from shim.cassettes.recording import CapturedCall, Recording

log = logging.getLogger(__name__)

# Calls, each with bodies of up to `MAX_BODY_BYTES`: what a slow disk may cost in memory.
_WAITING = 64


class BackgroundWriter:
    """One cassette file being written. `close` waits until everything is on disk."""

    def __init__(self, path: Path, *, redact: bool = False) -> None:
        self.path = path
        self.written = self.left_out = 0  # calls
        self._recording = Recording(redact=redact)
        self._writer = CassetteWriter(path, redacted=redact)
        # One thread: the pseudonyms are numbered in the order of the calls, and the file has one end to write at.
        self._thread = ThreadPoolExecutor(1, "cassette-writer")
        self._waiting: set[Future[None]] = set()

    def write(self, call: CapturedCall) -> None:
        """Add a call that has ended."""
        self._waiting = {one for one in self._waiting if not one.done()}
        if len(self._waiting) >= _WAITING:
            log.warning("recording falls behind: one call was left out")
            self.left_out += 1
            return
        future = self._thread.submit(lambda: self._writer.add(self._recording.interaction(call)))
        self._waiting.add(future)
        future.add_done_callback(self._count)

    def close(self) -> str:
        """Finish writing and end the thread; what there is now, as a sentence."""
        self._thread.shutdown()
        left_out = f", {self.left_out} left out" if self.left_out else ""
        if not self.written:
            return f"recorded nothing: no call of ChatGPT's API ended here{left_out}"
        return f"recorded {self.written} call{'s' * (self.written != 1)} in {self.path}{left_out}"

    def _count(self, future: "Future[None]") -> None:
        error = future.exception()
        if error is None:
            self.written += 1
            return
        self.left_out += 1
        # Its text may quote what was being scrubbed.
        log.error("a call could not be written to the cassette: %s", type(error).__name__)
