"""Work that is worth doing only as long as the client is there, and this gateway goes on.

Rule: one watcher, which cancels the handler's own task when the client disconnects. Litestar does as much for its own
streams, with a task group each; this is the same at a fraction of the cost, and serves handlers that have not answered
yet, too. The same block is what a gateway that stops can interrupt: `interrupt_all`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakKeyDictionary

from shim.errors import GatewayError

if TYPE_CHECKING:  # the main process, which serves nothing, gets here as well: 20 MB of Litestar would stay in it
    from litestar import Request
    from litestar.types import Receive

T = TypeVar("T")

# Seconds until somebody watches over the client. What is answered at once needs nobody: a watcher is a task and two
# messages that go through Granian's thread, 9 % of the CPU of a small request. Of a client who went before he is told
# all the same, as the disconnect waits to be asked for.
_UNWATCHED_SECONDS = 0.05


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
    """Every block of `Presence` in this loop raises such an error, now and from now on."""
    opened = _open.setdefault(asyncio.get_running_loop(), _Open())
    opened.ending = error
    for task, interrupted in opened.tasks.items():
        if interrupted is None:
            opened.tasks[task] = error()
            task.cancel()


async def while_present(request: "Request[Any, Any, Any]", work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled at once when the client disconnects (then ClientGoneError).

    Call it after the request body has been read: from then on the only message left is the disconnect.
    """
    with Presence(request.receive):
        return await work


class Presence:
    """A block that is cancelled when the client disconnects, with ClientGoneError raised in its place; or what the
    gateway says when it ends. Blocks of one task may follow each other under one watcher, which the last of them ends:
    `keep` says that another one comes."""

    __slots__ = ("_kept", "_opened", "_task", "_timer", "_watcher")

    def __init__(self, receive: "Receive") -> None:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101  only coroutines get here
        self._task, self._kept = task, False
        try:
            self._opened = _open[loop]
        except KeyError:
            self._opened = _open[loop] = _Open()
        if self._opened.ending is not None:
            raise self._opened.ending()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = loop.call_later(_UNWATCHED_SECONDS, self._watch, receive)
        self._opened.tasks[task] = None

    def keep(self) -> None:
        """Go on watching after this block."""
        self._kept = True

    def __enter__(self) -> Self:
        self._kept = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None and self._kept:
            return
        # Asked before it is cancelled here: a watcher that is done by itself has seen the client go.
        watcher, gone = self._watcher, False
        if watcher is not None:
            gone = watcher.done() and not watcher.cancelled()
            watcher.cancel()
        self._timer.cancel()
        interrupted = self._opened.tasks.pop(self._task)
        if not isinstance(error, asyncio.CancelledError):
            return
        # Where somebody else has cancelled the task too, it is theirs to end, and no error of ours may hide that.
        if interrupted is not None and self._task.uncancel() == 0:
            raise interrupted from None
        if gone and self._task.uncancel() <= 0:
            raise ClientGoneError("The client closed the connection") from None

    def _watch(self, receive: "Receive") -> None:
        self._watcher = asyncio.get_running_loop().create_task(_cancel_when_gone(receive, self._task))


async def _cancel_when_gone(receive: "Receive", task: "asyncio.Task[Any]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()
