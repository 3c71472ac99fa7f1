"""A worker that hangs is seen and replaced by the main process.

    worker: its event loop adds one to a number in a file, every second
    main process: a number that stands still for WORKER_TIMEOUT ──> SIGKILL ──> Granian starts another worker

Rules:
* time counts only while the main process itself is awake, so that a machine (or container) that slept wakes up with the
  workers it had;
* a worker that has not begun to count is still starting, and is left alone; so is one whose disk is full, until it can
  count again.
"""

import asyncio
import logging
import os
import signal
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

log = logging.getLogger("chat2api")

_FOLDER = "CHAT2API_HEARTBEATS"  # from the main process to its workers
# WORKER_TIMEOUT is counted in looks of the main process, and not by a clock: after a machine has slept for an hour no
# worker counts as hung.
_BEAT_SECONDS = 1.0


@asynccontextmanager
async def beating() -> AsyncIterator[None]:
    """While the block runs, this process's loop shows that it does, if anybody looks."""
    folder = os.environ.get(_FOLDER)
    if not folder:
        yield
        return
    task = asyncio.create_task(_beat(Path(folder, str(os.getpid()))))
    try:
        yield
    finally:
        task.cancel()


async def _beat(path: Path) -> None:
    number = 0
    try:
        while True:
            number += 1
            try:
                _write(path, number)
            except OSError:
                # A full disk, which is told of elsewhere. A number that stands still would say that this worker hangs.
                with suppress(OSError):
                    os.unlink(path)
            await asyncio.sleep(_BEAT_SECONDS)
    finally:
        with suppress(OSError):
            os.unlink(path)  # who ends well does not hang, however long the rest takes


def _write(path: Path, number: int) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(file, number.to_bytes(8), 0)
    finally:
        os.close(file)


@contextmanager
def replaces_hung(workers: Callable[[], Iterable[int]], seconds: float) -> Iterator[None]:
    """While the block runs, those of `workers` (process ids) that hang for `seconds` are killed; 0: never."""
    if not seconds:
        yield
        return
    try:
        made = tempfile.TemporaryDirectory(prefix="chat2api-workers-", ignore_cleanup_errors=True)
    except OSError as error:  # no reason to serve nobody
        log.warning("workers that hang are not replaced, for there is no temporary folder: %s", error.strerror)
        yield
        return
    with made as folder:
        os.environ[_FOLDER] = folder
        over = threading.Event()
        watching = threading.Thread(target=_watch, args=(Path(folder), workers, seconds, over), daemon=True)
        watching.start()
        try:
            yield
        finally:
            over.set()
            watching.join()
            del os.environ[_FOLDER]


def _watch(folder: Path, workers: Callable[[], Iterable[int]], seconds: float, over: threading.Event) -> None:
    silent = Silences(seconds)
    while not over.wait(_BEAT_SECONDS):
        for pid in silent.look({pid: beat for pid in workers() if (beat := _beat_of(folder / str(pid)))}):
            log.error("worker %d has done nothing for %g seconds (WORKER_TIMEOUT): it is replaced", pid, seconds)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            (folder / str(pid)).unlink(missing_ok=True)


def _beat_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


class Silences:
    """How often in a row each worker's number stood still. It is looked at once a second, of the main process's own."""

    def __init__(self, seconds: float) -> None:
        self._most = seconds / _BEAT_SECONDS
        self._last: dict[int, tuple[bytes, int]] = {}

    def look(self, beats: dict[int, bytes]) -> list[int]:
        """The workers that have been silent for too long, each told once."""
        last, self._last = self._last, {}
        hung = []
        for pid, beat in beats.items():
            before, times = last.get(pid, (b"", 0))
            times = times + 1 if beat == before else 0
            if times >= self._most:
                hung.append(pid)
            else:
                self._last[pid] = beat, times
        return hung
