"""The processes that hash where nothing was compiled, and what happens when one of them dies.

Rule: a child never outlives its parent, never answers Ctrl-C, and never competes with the event loop for the CPU. It
waits on a socket, and when the other end is gone it ends.
"""

import contextlib
import marshal
import os
import socket
import subprocess
import sys
import threading
from typing import TypeAlias

from pow.errors import SolverBrokenError

Order: TypeAlias = tuple[bytes, bytes, bytes, bytes, int, int, bytes]
"""The arguments of `find`: all that a child is told."""


class Children:
    """As many processes as there are calls at once. They stay for the next calls, until they are closed.

    Its methods block, so they belong in a thread. Not a ProcessPoolExecutor: that keeps two more processes for as long
    as the program runs (30 MB), and finds out only with a watching thread that its parent was killed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []

    def find(self, *order: *Order) -> int | None:
        """The same as `find` of this process; when the child dies of it, once more in a new one.

        Raises `SolverBrokenError` when the second child dies too.
        """
        with self._lock:
            child = self._idle.pop() if self._idle else None
        failure: Exception | None = None
        for _ in range(2):
            try:
                child = child or _Child()
                answer = child.ask(order)
            except (OSError, EOFError, ValueError) as error:  # it could not start; it died before, between, within
                failure = error
                if child is not None:
                    child.end()
                child = None
            else:
                with self._lock:
                    self._idle.append(child)
                return answer
        raise SolverBrokenError("the proof of work process died twice") from failure

    def close(self) -> None:
        """End the processes that do nothing, which are all when no call is under way."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()


class _Child:
    def __init__(self) -> None:
        ours, its = socket.socketpair()
        with ours, its:
            # Its own group, so that Ctrl-C in the terminal does not reach it; of the environment, what importing takes.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pow.child"],
                stdin=its.fileno(),
                stdout=its.fileno(),
                env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                process_group=0,
            )
            self._stream = ours.makefile("rwb")

    def ask(self, order: Order) -> int | None:
        marshal.dump(order, self._stream)
        self._stream.flush()
        answer: int | None = marshal.load(self._stream)  # noqa: S302  our own child, of the same interpreter
        return answer

    def end(self) -> None:
        with contextlib.suppress(OSError):  # it was killed, and an order is still in the buffer
            self._stream.close()
        self._process.wait()
