"""The processes that do the hashing, and what happens when one of them dies.

Rule: a child never outlives its parent, never answers Ctrl-C, and never competes with the event loop for the CPU.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import ParamSpec, TypeVar

from pow.errors import SolverBrokenError

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 10


class Children:
    """A process pool that is started by the first call and replaced when it breaks.

    Its methods block, so they belong in a thread: starting a process takes some tenths of a second.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a picklable function in a child; when that child dies, once more in a new one.

        Raises `SolverBrokenError` when the second child dies too, and whatever the function raises.
        """
        pool = self._open_pool()
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool:
            pool = self._replacement_of(pool)
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise SolverBrokenError("the proof of work process died twice") from error

    def close(self) -> None:
        """Let the running calls finish, then end the processes."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _open_pool(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = _new_pool(self._count)
            return self._pool

    def _replacement_of(self, broken: ProcessPoolExecutor) -> ProcessPoolExecutor:
        """Every call in a pool breaks at once; only the first of them replaces it."""
        with self._lock:
            if self._pool is broken or self._pool is None:
                self._pool = _new_pool(self._count)
            return self._pool


def _new_pool(count: int) -> ProcessPoolExecutor:
    # Not "fork": this process has threads, and a fork would copy its sockets and secrets.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(count, multiprocessing.get_context(method), initializer=_enter_child)


def _enter_child() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's child waits on a queue whose other end it holds too, so it would never notice that its parent died."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
