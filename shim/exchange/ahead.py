"""What the next turn of an account in use is admitted with, made while nobody waits for it (REQUIREMENTS_AHEAD).

    a turn is at its head ──begin──> requirements, proof (in a task) ──take──> the next turn of the same account

Rule: one for each account, route and access token, for as long as upstream lets it live, and no more than a bound of
them in all. That it could not be made says nothing: the next turn asks for itself, and is told why.
"""

import asyncio
import time
from collections import OrderedDict

import msgspec

from shim.errors import GatewayError
from shim.exchange.calls import Calls, Route
from shim.protocol.turn.handshake import Clearance, clear

_MOST = 256  # accounts of one worker that there is one for


class _Made(msgspec.Struct, frozen=True):
    clearance: Clearance
    until: float  # by `time.monotonic`


class Ahead:
    """Clearances of one worker that nobody has used yet. `close` gives them up."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._making: OrderedDict[Route, asyncio.Task[_Made | None]] = OrderedDict()

    def begin(self, route: Route) -> None:
        """A turn goes over this route: have the next one's at hand, unless it is."""
        if route in self._making:
            return
        self._making[route] = asyncio.create_task(self._make(route))
        if len(self._making) > _MOST:
            self._making.popitem(last=False)[1].cancel()

    async def take(self, route: Route) -> Clearance | None:
        """The one for a turn that begins now, waited for where it is being made; None where there is none. It is the
        taker's alone."""
        making = self._making.pop(route, None)
        made = await making if making is not None else None
        return made.clearance if made is not None and time.monotonic() < made.until else None

    async def close(self) -> None:
        """Give up all that is being made."""
        making = list(self._making.values())
        self._making.clear()
        for one in making:
            one.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    async def _make(self, route: Route) -> _Made | None:
        began = time.monotonic()
        handshake = clear(route.upstream, self._calls.options, self._calls.moment(route.upstream.identity))
        try:
            cleared = await self._calls.driver.run(handshake, route.connection)
        except GatewayError:
            return None
        return _Made(cleared, began + cleared.seconds)
