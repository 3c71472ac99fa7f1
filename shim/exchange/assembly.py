"""A gateway for as long as a driver of it runs: what settings say, made and closed in one place.

Each room opens what is its own, from the bottom up, since each needs those below it: what calls upstream, the accounts
that calls are made with, the stores, and then what an exchange is made of.

Rule: the app and the mitmproxy addon both get theirs here.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from shim import tokenizer
from shim.accounts.opening import open_leases
from shim.exchange.affinity import Affinity
from shim.exchange.audio import Audio
from shim.exchange.calls import Calls
from shim.exchange.clock import Clock
from shim.exchange.continuations import Continuations
from shim.exchange.conversations import Conversations
from shim.exchange.driving import open_driver
from shim.exchange.gateway import Gateway
from shim.exchange.jobs import Jobs
from shim.exchange.kept import KeptAnswers
from shim.exchange.line import Line
from shim.exchange.links import Links, shared_secret
from shim.exchange.sockets import Sockets
from shim.exchange.stored_files import StoredFiles
from shim.exchange.tapes import Tapes
from shim.exchange.turns import Turns
from shim.files.intake import Files
from shim.files.kept import KeptFiles
from shim.keys import open_keys
from shim.metrics.metrics import Metrics
from shim.metrics.traces import open_traces
from shim.notes import open_notes
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.schemas import validate
from shim.settings import Settings
from shim.transport import Transport
from shim.transport.websocket import CurlWebSocket
from shim.usage import open_book

# After which a gateway has begun to serve, and has answered who waited for that. When the tokenizer's tables were made
# beside the start, some of what the start makes lay among what they take meanwhile, and kept 9 MB of it.
_SETTLED_SECONDS = 0.25


@asynccontextmanager
async def open_gateway(
    settings: Settings, transport: Transport | None = None, clock: Clock | None = None
) -> AsyncIterator[Gateway]:
    """A gateway while the block runs. `transport` takes the place of the network, `clock` that of time and ids."""
    clock = clock or Clock()

    def share(number: int) -> int:
        return -(-number // settings.workers)  # a limit is that of all workers together: each has its part, rounded up

    # Later, so that a worker serves 0.2 s sooner; who has something to count before it is there waits for it.
    tables = asyncio.create_task(_make_tables())
    try:
        metrics, traces = Metrics(), open_traces(os.environ)
        async with open_driver(settings, metrics, transport) as driver:
            calls = Calls(settings, driver, clock)
            async with (
                open_leases(settings, driver, fetch=calls.models, clock=clock.now, heard=metrics.heard) as leases,
                open_notes(data_dir=settings.data_dir, redis_url=settings.redis_url, keys=settings.store_key) as notes,
                open_keys(data_dir=settings.data_dir, redis_url=settings.redis_url) as keys,
                open_book(notes, clock=clock.now) as usage,
            ):
                # Before anything that makes ids or links with it: a gateway that shares the notes must read both.
                secret = await shared_secret(settings, notes)
                # What a turn is made of, and what it brings along.
                files = Files(settings, driver, clock=clock.now)
                connect = partial(
                    CurlWebSocket.open, ca_file=settings.ca_file or None, connect_timeout=settings.connect_timeout
                )
                turns = Turns(settings, calls, leases, files, clock=clock, sockets=Sockets(calls, connect))
                # What outlives a call, for any gateway on the same store.
                answers = KeptAnswers(notes)
                gateway = Gateway(
                    settings,
                    clock,
                    calls=calls,
                    keys=keys,
                    usage=usage,
                    leases=leases,
                    files=files,
                    stored_files=StoredFiles(KeptFiles(notes, secret, new_id=clock.new_id), leases, calls, clock),
                    audio=Audio(turns, calls),
                    turns=turns,
                    continuations=Continuations(settings, leases, turns, notes),
                    links=Links(secret),
                    kept=answers,
                    conversations=Conversations(notes, clock),
                    jobs=Jobs(
                        answers,
                        notes,
                        clock,
                        most_bytes=settings.max_bytes_under_way,
                        longest=settings.background_timeout,
                    ),
                    metrics=metrics,
                    traces=traces,
                    affinity=Affinity(notes, leases, clock),
                    tapes=Tapes(notes, clock=clock.now, new_id=clock.new_id),
                    notes=notes,
                    line=Line(share(settings.max_streams), share(settings.max_waiting)),
                    filter_needs=FilterDependencies(
                        tokenizer.count, tokenizer.cut, tokenizer.certain, clock.new_id, validate
                    ),
                )
                # From here on the worker shows what it has; before, there was nothing to look at.
                metrics.open(gateway.counts)
                try:
                    yield gateway
                    await gateway.settle()
                finally:
                    await metrics.close()
                    if traces is not None:
                        await traces.close()
    finally:
        tables.cancel()
        await asyncio.wait({tables})


async def _make_tables() -> None:
    await asyncio.sleep(_SETTLED_SECONDS)
    await asyncio.to_thread(tokenizer.load)
