"""Solves challenges for an asyncio driver without ever holding up its event loop.

Rule: no hashing in this process. hashlib keeps the GIL for messages this short, so even a thread would make the loop
late; and work is handed out in slices, so that a client who goes away costs at most one.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from pow.challenge import Challenge
from pow.children import Children
from pow.errors import ProofNotSolvedError, SolverBusyError, SolverClosedError
from pow.proof import search

P = ParamSpec("P")
T = TypeVar("T")


class Solver:
    """Solves up to `workers` challenges at a time, `queue` more taking turns with them.

    `attempts` bounds one solve. A slice of `slice_attempts` is the unit of work, about a tenth of a second; after each
    a solve goes to the back of the queue, so that an unlucky challenge does not hold up the others.
    """

    def __init__(
        self, *, workers: int = 1, attempts: int = 2_000_000, slice_attempts: int = 40_000, queue: int = 256
    ) -> None:
        self._workers = workers
        self._attempts = attempts
        self._slice_attempts = slice_attempts
        self._room = workers + queue
        self._solving = 0
        self._closed = False
        # One thread per child, waiting for that child's slice. Its queue is first come, first served, which is what
        # makes the turns fair, and a slice that is cancelled before it starts leaves the queue by itself.
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="pow")
        self._children = Children(workers)

    async def start(self) -> None:
        """Start the processes now (some tenths of a second) instead of at the first challenge."""
        await asyncio.gather(*(self._in_child(os.getpid) for _ in range(self._workers)))

    async def solve(self, challenge: Challenge, config: Sequence[object]) -> str:
        """Return the token for header `openai-sentinel-proof-token` (protocol.md 2.3).

        Raises `ProofNotSolvedError` when the attempts are used up, `SolverBusyError` at once when the queue is full,
        `SolverClosedError` and `SolverBrokenError`. Cancelling it stops the work within one slice.
        """
        with self._place():
            for start in range(0, self._attempts, self._slice_attempts):
                attempts = min(self._slice_attempts, self._attempts - start)
                token = await self._in_child(search, challenge, config, start=start, attempts=attempts)
                if token is not None:
                    return token
        raise ProofNotSolvedError("proof of work not solved")

    async def close(self) -> None:
        """End the processes after the slices they are in; unfinished solves raise `SolverClosedError`."""
        self._closed = True
        await asyncio.to_thread(self._shut_down)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._solving >= self._room:
            raise SolverBusyError("too many proofs of work are waiting")
        self._solving += 1
        try:
            yield
        finally:
            self._solving -= 1

    async def _in_child(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._refuse_when_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._call(function, *args, **kwargs))

    def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._refuse_when_closed()  # again: this turn may have come after close()
        return self._children.call(function, *args, **kwargs)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise SolverClosedError("the proof of work solver is closed")

    def _shut_down(self) -> None:
        self._threads.shutdown()  # drains: a slice in work is finished, the waiting ones are refused
        self._children.close()
