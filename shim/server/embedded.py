"""The whole application inside another process, for a driver that shares its gateway: the mitmproxy addon.

Rule: one gateway, so that what either of them learns of the accounts the other knows, and nothing is counted twice.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec

from shim.app import create_app
from shim.exchange import Gateway
from shim.exchange.assembly import open_gateway
from shim.exchange.driving import replay_of
from shim.http.tickets import Inside
from shim.server.granian import serve_app
from shim.settings import Settings


class Embedded(msgspec.Struct, frozen=True):
    """A running application: its gateway, its port on loopback, and where tickets for it are had."""

    gateway: Gateway
    port: int
    inside: Inside


@asynccontextmanager
async def serve_embedded(settings: Settings) -> AsyncIterator[Embedded]:
    """Serve in the running loop, on any free port, until the block is left."""
    async with open_gateway(settings, replay_of(settings)) as gateway:
        inside = Inside(cast("Any", create_app(settings, gateway=gateway)))
        async with serve_app(inside) as port:
            yield Embedded(gateway, port, inside)
