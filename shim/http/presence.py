"""Work that is worth doing only as long as the client is there.

Rule: one watcher, which cancels the handler's own task when the client disconnects. Litestar does as much for its own
streams, with a task group each; this is the same at a fraction of the cost, and serves handlers that have not answered
yet, too.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from litestar import Request
from litestar.types import Receive

from shim.errors import GatewayError

T = TypeVar("T")


class ClientGoneError(GatewayError):
    """The client hung up before its answer began; nobody reads this."""

    status = 499
    code = "client_gone"


async def while_present(request: Request[Any, Any, Any], work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled at once when the client disconnects (then ClientGoneError).

    Call it after the request body has been read: from then on the only message left is the disconnect.
    """
    with present(request.receive):
        return await work


@contextmanager
def present(receive: Receive) -> Iterator[None]:
    """The block is cancelled when the client disconnects, and ClientGoneError raised in its place."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  only coroutines get here
    watcher = asyncio.ensure_future(_cancel_when_gone(receive, task))
    try:
        yield
    except asyncio.CancelledError:
        if not watcher.done() or watcher.cancelled() or task.uncancel() > 0:
            raise
        raise ClientGoneError("The client closed the connection") from None
    finally:
        watcher.cancel()


async def _cancel_when_gone(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
