"""The main process once workers run: it starts them, replaces those that end or hang, and stops them.

    SIGTERM, SIGINT ──> every worker is told to end (SIGTERM); who has not after SHUTDOWN_TIMEOUT is killed
    SIGHUP ──> one after the other another worker is started, and a moment later the one that it replaces told to end
    a worker that ended untold, or hung and was killed ──> another in its place; if that ends at once, too, all is over

Rules:
* it imports next to nothing, for what it holds is there a second time in each worker;
* a signal is only noted where it arrives (Python's wakeup file), and handled in the one loop.
"""

import logging
import math
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import TypeAlias

from shim.server.heartbeats import BEAT_SECONDS

log = logging.getLogger("chat2api")

UNUSABLE = 78
"""What a worker ends with that has said why it can't serve, so that there is no use in another one (sysexits.h)."""

# A worker that takes over has so long to begin before the other one is told to end. One that has taken over and fails
# within a little more than that would do so again.
_TAKEOVER_SECONDS = 3.5
_SOON_SECONDS = 5.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Work: TypeAlias = Callable[[int, bool], None]
"""What a worker does in its process, told its place and whether it is the first that is there."""


class Supervisor:
    """Keeps `workers` processes that do `work`; gives those it stops `patience` seconds. `hung` says, asked once a
    second, which of some process ids hang."""

    def __init__(
        self, work: Work, workers: int, *, patience: float, hung: Callable[[Iterable[int]], list[int]]
    ) -> None:
        # The default of Python 3.14, a server that forks the others, would be one process more.
        forks = multiprocessing.get_start_method() == "fork"
        self._context = multiprocessing.get_context("fork") if forks else multiprocessing.get_context("spawn")
        self._work, self._patience, self._hung = work, patience, hung
        self._places = range(1, workers + 1)
        self._workers: dict[int, _Worker] = {}
        self._leaving: list[_Worker] = []
        self._to_replace: list[int] = []  # the places that a reload has still before it
        self._status: int | None = None  # what to exit with, once all is to end
        self._looked = time.monotonic()  # for those that hang

    def run(self) -> int:
        """Return the status to exit with, when all workers have ended after a signal or for good."""
        with _noted_signals() as signals:
            for place in self._places:
                self._start(place, first=True)
            while self._workers or self._leaving:
                self._wait(signals)
                # Before those that have ended: Ctrl-C reaches all processes, and a worker may be faster than we are.
                with suppress(BlockingIOError):
                    for number in os.read(signals, 4096):
                        self._handle(number)
                self._see_who_has_ended()
                self._see_who_hangs()
                self._go_on_with_a_reload()
                self._tell_who_leaves()
        return self._status or 0

    def _wait(self, signals: int) -> None:
        """Until something has happened, or is to be done."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        for worker in (*self._workers.values(), *self._leaving):
            poll.register(worker.process.sentinel, select.POLLIN)
        due = min((worker.due for worker in self._leaving), default=math.inf)
        poll.poll(max(0.0, min(BEAT_SECONDS, due - time.monotonic())) * 1000)

    def _handle(self, number: int) -> None:
        if self._status is not None:
            return
        if number != signal.SIGHUP:
            log.info("Shutting down")
            self._end(0)
        else:
            log.info("HUP signal received, gracefully respawning workers")
            self._to_replace = [*self._places]

    def _end(self, status: int) -> None:
        self._status = status
        self._to_replace.clear()
        self._leaving += self._workers.values()
        self._workers.clear()
        for worker in self._leaving:
            if not worker.told:
                worker.due = time.monotonic()

    def _start(self, place: int, *, first: bool = False) -> None:
        process = self._context.Process(target=_begin, args=(self._work, place, first), daemon=True)
        # Until the new process handles them itself: with what it has from us it would note them in our own file.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        self._workers[place] = _Worker(place, process, first)

    def _see_who_has_ended(self) -> None:
        for worker in self._leaving[:]:
            if worker.process.exitcode is not None:
                self._leaving.remove(worker)
                log.info("Stopped worker-%d", worker.place)
        for worker in [*self._workers.values()]:
            if worker.process.exitcode is None:
                continue
            if self._workers.pop(worker.place, None) is None:
                return  # all is to end since
            if worker.process.exitcode == UNUSABLE:
                self._end(1)
                continue
            log.error("Unexpected exit from worker-%d (%d)", worker.place, worker.process.exitcode)
            if not worker.first and time.monotonic() - worker.born <= _SOON_SECONDS:
                log.error("Worker crash loop detected, exiting")
                self._end(1)
            else:
                self._start(worker.place)

    def _see_who_hangs(self) -> None:
        now = time.monotonic()
        if now - self._looked < BEAT_SECONDS:
            return
        self._looked = now
        pids = [worker.process.pid for worker in self._workers.values() if worker.process.pid is not None]
        for pid in self._hung(pids):
            os.kill(pid, signal.SIGKILL)

    def _go_on_with_a_reload(self) -> None:
        """Only one at a time, so that there is never more than one worker too many."""
        if self._to_replace and not self._leaving:
            place = self._to_replace.pop(0)
            old = self._workers.pop(place)
            self._start(place)
            old.due = time.monotonic() + _TAKEOVER_SECONDS
            self._leaving.append(old)

    def _tell_who_leaves(self) -> None:
        now = time.monotonic()
        for worker in self._leaving:
            if now < worker.due:
                continue
            if worker.told:
                log.warning("Killing worker-%d after it refused to gracefully stop", worker.place)
                worker.process.kill()
            else:
                worker.process.terminate()
            worker.told, worker.due = True, now + self._patience


class _Worker:
    def __init__(self, place: int, process: BaseProcess, first: bool) -> None:
        self.place, self.process, self.first = place, process, first
        self.born = time.monotonic()
        self.told = False  # to end
        self.due = math.inf  # when it is to be told that, or to be killed


@contextmanager
def _noted_signals() -> Iterator[int]:
    """While the block runs, their numbers can be read from the file that it yields, one byte each."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)


def _begin(work: Work, place: int, first: bool) -> None:
    """The first that a worker's process does: until it serves, SIGTERM and SIGINT end it at once."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # of a terminal that is closed: the main process replaces it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    work(place, first)
