"""Several jobs at once, but never more than a few.

Rule: the first failure ends the others, and nothing is left running when this returns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def together(jobs: Iterable[Callable[[], Awaitable[T]]], *, at_once: int) -> list[T]:
    """What the jobs return, in their order. Raises the first failure."""
    gate = asyncio.Semaphore(at_once)

    async def run(job: Callable[[], Awaitable[T]]) -> T:
        async with gate:
            return await job()

    tasks = [asyncio.ensure_future(run(job)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
