"""A synchronous object that lives in a thread of its own, because a connection belongs to the thread that made it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar


class Closable(Protocol):
    """What can live there."""

    def close(self) -> None:
        """Close it; closing again does nothing."""
        ...


P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C", bound=Closable)


class OwnThread(Generic[C]):
    """Calls `inhabitant`'s methods in its thread (`name`), in the order they were asked for. Not open at first."""

    def __init__(self, inhabitant: C, name: str) -> None:
        self._inhabitant, self._name = inhabitant, name
        self._thread: ThreadPoolExecutor | None = None

    def open(self) -> ThreadPoolExecutor:
        """The thread, which is begun where it isn't there."""
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix=self._name)
        return self._thread

    @property
    def is_open(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None

    async def run(self, step: Callable[Concatenate[C, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `step(inhabitant, ...)` returns. Raises what it raises."""
        work = partial(step, self._inhabitant, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self.open(), work)

    async def close(self) -> None:
        """Close the inhabitant, after what was asked before, and end the thread; closing again does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            closing = thread.submit(self._inhabitant.close)
            # Waiting here would hold up the loop; what was asked for before is done all the same.
            thread.shutdown(wait=False)
            await asyncio.wrap_future(closing)
