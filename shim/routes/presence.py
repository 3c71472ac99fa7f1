"""Work that is worth doing only as long as the client is there.

Litestar cancels a stream when its client goes, but leaves a handler running that has not answered yet.
"""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar import Request

from shim.errors import GatewayError

T = TypeVar("T")


class ClientGoneError(GatewayError):
    """The client hung up before its answer began; nobody reads this."""

    status = 499
    code = "client_gone"


async def while_present(request: Request[Any, Any, Any], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled at once when the client disconnects (then ClientGoneError).

    Call it after the request body has been read: from then on the only message left is the disconnect.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError("The client closed the connection")
    finally:
        for one in (task, watch):
            one.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
