"""Work that is worth doing only as long as the client is there, and this gateway goes on.

Rule: one watcher, which cancels the handler's own task when the client disconnects. Litestar does as much for its own
streams, with a task group each; this is the same at a fraction of the cost, and serves handlers that have not answered
yet, too. The same block is what a gateway that stops can interrupt: `interrupt_all`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from litestar import Request
from litestar.types import Receive

from shim.errors import GatewayError

T = TypeVar("T")


class ClientGoneError(GatewayError):
    """The client hung up before its answer began; nobody reads this."""

    status = 499
    code = "client_gone"


class _Open:
    """What one loop has open: the tasks, and what each of those that were interrupted has to raise."""

    def __init__(self) -> None:
        self.tasks: dict[asyncio.Task[Any], GatewayError | None] = {}
        self.ending: Callable[[], GatewayError] | None = None


# By loop and not by application: what is open ends with its process, and a process has one loop that serves.
_open: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Open]" = WeakKeyDictionary()


def interrupt_all(error: Callable[[], GatewayError]) -> None:
    """Every block of `present` in this loop raises such an error, now and from now on."""
    opened = _open.setdefault(asyncio.get_running_loop(), _Open())
    opened.ending = error
    for task, interrupted in opened.tasks.items():
        if interrupted is None:
            opened.tasks[task] = error()
            task.cancel()


async def while_present(request: Request[Any, Any, Any], work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled at once when the client disconnects (then ClientGoneError).

    Call it after the request body has been read: from then on the only message left is the disconnect.
    """
    with present(request.receive):
        return await work


@contextmanager
def present(receive: Receive) -> Iterator[None]:
    """The block is cancelled when the client disconnects, and ClientGoneError raised in its place; or what the gateway
    says when it ends."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  only coroutines get here
    opened = _open.setdefault(asyncio.get_running_loop(), _Open())
    if opened.ending is not None:
        raise opened.ending()
    watcher = asyncio.ensure_future(_cancel_when_gone(receive, task))
    opened.tasks[task] = None
    try:
        yield
    except asyncio.CancelledError:
        if (interrupted := opened.tasks[task]) is not None and task.uncancel() == 0:
            raise interrupted from None
        if not watcher.done() or watcher.cancelled() or task.uncancel() > 0:
            raise
        raise ClientGoneError("The client closed the connection") from None
    finally:
        watcher.cancel()
        del opened.tasks[task]


async def _cancel_when_gone(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
