"""A gateway for as long as a driver of it runs: what settings say, made and closed in one place.

Rule: the app and the mitmproxy addon both get theirs here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from arkose import ArkoseClient
from pow import Solver
from shim import tokenizer
from shim.accounts.installation import installation_id
from shim.accounts.opening import GUESTS, open_pool
from shim.cassettes.format import load_cassettes
from shim.cassettes.transport import ReplayTransport
from shim.exchange.clock import Clock
from shim.exchange.gateway import Gateway
from shim.notes import open_notes
from shim.settings import Settings
from shim.transport import Deadlines, Transport
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver


@asynccontextmanager
async def open_gateway(
    settings: Settings, transport: Transport | None = None, clock: Clock | None = None
) -> AsyncIterator[Gateway]:
    """A gateway while the block runs. `transport` takes the place of the network, `clock` that of time and ids."""
    clock = clock or Clock()
    network = CurlTransport(_deadlines(settings), ca_file=settings.ca_file or None)
    solver = Solver(workers=settings.pow_workers)
    arkose = ArkoseClient(settings.arkose_token_url or None, timeout=settings.arkose_timeout)
    # In a thread, so that a worker serves 0.2 s sooner; who has something to count before it is there waits for it.
    tables = asyncio.get_running_loop().run_in_executor(None, tokenizer.load)
    try:
        driver = Driver(transport or network, solver, arkose)
        async with (
            open_pool(settings, driver) as pool,
            open_pool(settings, driver, name=GUESTS) as guests,
            open_notes(data_dir=settings.data_dir, redis_url=settings.redis_url, keys=settings.store_key) as notes,
        ):
            installation = installation_id(Path(settings.data_dir))
            gateway = Gateway(
                settings, driver, pool=pool, guests=guests, installation=installation, clock=clock, notes=notes
            )
            yield gateway
            await gateway.turns.settled()
    finally:
        await tables
        await solver.close()
        await arkose.close()
        await network.close()


def replay_of(settings: Settings) -> Transport | None:
    """The cassettes of REPLAY in the place of the network, paced as recorded; None without."""
    if not settings.replay:
        return None
    return ReplayTransport(*(cassette for _, cassette in load_cassettes(Path(settings.replay))), paced=True)


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(
        connect=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
    )
