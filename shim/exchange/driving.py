"""What makes the calls to upstream: the network, proofs of work and the operator's token service, as one driver.

    Driver ──calls──> TapedTransport ──> WatchedTransport ──> CurlTransport, or cassettes in its place
       ├────proofs──> WatchedSolver ──> Solver
       └────tokens──> ArkoseClient

Rule: tapes stand outermost, so that a recording has what upstream said, and counts what it cost.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from arkose import ArkoseClient
from pow import Solver
from shim.cassettes.format import load_cassettes
from shim.cassettes.taping import TapedTransport
from shim.cassettes.transport import ReplayTransport
from shim.metrics.metrics import Metrics
from shim.metrics.watched import WatchedSolver, WatchedTransport
from shim.settings import Settings
from shim.transport import Deadlines, Transport
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver


@asynccontextmanager
async def open_driver(
    settings: Settings, metrics: Metrics, transport: Transport | None = None
) -> AsyncIterator[Driver]:
    """A driver while the block runs. `transport` takes the place of the network."""
    deadlines = Deadlines(
        connect=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
    )
    network = CurlTransport(deadlines, ca_file=settings.ca_file or None)
    solver = Solver(workers=settings.pow_workers)
    arkose = ArkoseClient(settings.arkose_token_url or None, timeout=settings.arkose_timeout)
    try:
        sending = TapedTransport(WatchedTransport(transport or network, metrics))
        yield Driver(sending, WatchedSolver(solver, metrics), arkose)
    finally:
        await solver.close()
        await arkose.close()
        await network.close()


def replay_of(settings: Settings) -> Transport | None:
    """The cassettes of REPLAY in the place of the network, paced as recorded; None without."""
    if not settings.replay:
        return None
    return ReplayTransport(*(cassette for _, cassette in load_cassettes(Path(settings.replay))), paced=True)
