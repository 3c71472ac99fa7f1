"""Solves challenges for an asyncio driver without holding up its event loop.

An easy challenge is solved at once where it stands: handing it to somebody else costs ten times what it is worth. A
hard one goes to workers, slice by slice: to threads where the compiled solver is here, which lets other threads run
meanwhile; to processes otherwise, because hashlib keeps the GIL for messages this short.
"""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pow.challenge import Challenge
from pow.children import Children
from pow.errors import ProofNotSolvedError, SolverBusyError, SolverClosedError
from pow.hashing import LANES, SECONDS_PER_ATTEMPT, Find, find_nicely
from pow.proof import Search

EASY_SECONDS = 0.001
"""Challenges that take no longer on average are easy. It is also how long the event loop waits for one at a time."""
SLICE_SECONDS = 0.1
"""How long a worker keeps to one hard challenge while others wait. A slice costs 0.1 ms of the loop's time."""
IDLE_SECONDS = 10.0
"""How long processes stay when there is nothing to do. Starting one takes 0.1 s."""


class Solver:
    """Solves any number of easy challenges, and hard ones with `workers` threads or processes (0: one for each core).

    Hard ones take turns: after each slice a solve goes to the back of the queue, so that one that is unlucky or very
    hard does not hold up the others. One that would have to wait for more than `patience` seconds is refused at once.
    `attempts` bounds one solve; by default one in four million of the challenges 000032 stays unsolved (with two
    million attempts it was one in 440).
    """

    def __init__(
        self,
        *,
        workers: int = 0,
        attempts: int = 5_000_000,
        slice_attempts: int = int(SLICE_SECONDS / SECONDS_PER_ATTEMPT),
        patience: float = 60.0,
        idle: float = IDLE_SECONDS,
        in_threads: bool = LANES > 0,
    ) -> None:
        self._workers = workers or cores()
        self._attempts = attempts
        self._slice_attempts = slice_attempts
        self._patience = patience
        self._idle = idle
        self._closed = False
        self._expected: list[float] = []  # attempts that each hard solve under way has still to make, on average
        self._pace = SECONDS_PER_ATTEMPT  # what they really take, with all else that this machine does
        self._rest: asyncio.TimerHandle | None = None
        # With processes, one thread for each, which waits for its slice. The executor's queue is first come, first
        # served, which is what makes the turns fair, and a slice that is cancelled before it starts leaves the queue by
        # itself. It starts its threads when they are needed.
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="pow")
        self._children = Children()
        self._find: Find = find_nicely if in_threads else self._children.find
        self._has_children = not in_threads

    async def solve(self, challenge: Challenge, config: Sequence[object]) -> str:
        """Return the token for header `openai-sentinel-proof-token` (protocol.md 2.3).

        Raises `ProofNotSolvedError` when the attempts are used up, `SolverBusyError` at once when too many wait,
        `SolverClosedError` and `SolverBrokenError`; `ValueError` for a config that is none. Cancelling it stops the
        work within one slice.
        """
        search = Search(challenge, config)
        if challenge.expected_attempts * SECONDS_PER_ATTEMPT <= EASY_SECONDS:
            # So easy that a thread would cost more than the proof.
            for start, stop in self._slices(int(EASY_SECONDS / SECONDS_PER_ATTEMPT)):
                token = search.run(start, stop)
                if token is not None:
                    return token
                await asyncio.sleep(0)  # an unlucky one: everybody else first
            raise ProofNotSolvedError("proof of work not solved")
        with self._place(min(challenge.expected_attempts, self._attempts)):
            loop = asyncio.get_running_loop()
            for start, stop in self._slices(self._slice_attempts):
                token, seconds = await loop.run_in_executor(self._threads, self._work, search, start, stop)
                if token is not None:
                    return token
                self._pace += (seconds / (stop - start) - self._pace) / 8  # smooth: the machine's load comes and goes
        raise ProofNotSolvedError("proof of work not solved")

    async def close(self) -> None:
        """Return when the slices that workers are in have ended; unfinished solves raise `SolverClosedError`."""
        self._closed = True
        if self._rest is not None:
            self._rest.cancel()
        # Drains: a slice in work is finished, the waiting ones are refused.
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._children.close)

    def _slices(self, size: int) -> Iterator[tuple[int, int]]:
        for start in range(0, self._attempts, size):
            self._refuse_when_closed()
            yield start, min(start + size, self._attempts)

    @contextmanager
    def _place(self, expected: float) -> Iterator[None]:
        """Be among those whose turns come. Who takes turns with us gets as many slices as they need, at most as many as
        we do."""
        wait = sum(min(other, expected) for other in self._expected) * self._pace / self._workers
        if wait > self._patience:
            raise SolverBusyError("too many proofs of work are waiting", retry_after=wait - self._patience)
        self._expected.append(expected)
        try:
            yield
        finally:
            self._expected.remove(expected)
            if not self._expected and self._has_children and not self._closed:
                if self._rest is not None:
                    self._rest.cancel()
                self._rest = asyncio.get_running_loop().call_later(self._idle, self._let_go)

    def _work(self, search: Search, start: int, stop: int) -> tuple[str | None, float]:
        self._refuse_when_closed()  # again: this turn may have come after close()
        began = time.perf_counter()
        return search.run(start, stop, self._find), time.perf_counter() - began

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise SolverClosedError("the proof of work solver is closed")

    def _let_go(self) -> None:
        if not self._expected:
            self._threads.submit(self._children.close)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
