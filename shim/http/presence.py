"""Work that is worth doing only as long as the client is there.

Rule: one watcher, which cancels the handler's own task when the client disconnects. Litestar does as much for its own
streams, with a task group each; this is the same at a fraction of the cost, and serves handlers that have not answered
yet, too.
"""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self, TypeVar

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
    with Presence(request.receive):
        return await work


class Presence:
    """A block that is cancelled when the client disconnects, with ClientGoneError raised in its place. Blocks of one
    task may follow each other under one watcher, which the last of them ends: `keep` says that another one comes."""

    __slots__ = ("_kept", "_task", "_watcher")

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  only coroutines get here
        self._task = task
        self._kept = False
        self._watcher = asyncio.ensure_future(_cancel_when_gone(receive, task))

    def keep(self) -> None:
        """Go on watching after this block."""
        self._kept = True

    def __enter__(self) -> Self:
        self._kept = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        gone = self._watcher.done() and not self._watcher.cancelled()
        if error is not None or not self._kept:
            self._watcher.cancel()
        if gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() <= 0:
            raise ClientGoneError("The client closed the connection") from None


async def _cancel_when_gone(receive: Receive, task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
