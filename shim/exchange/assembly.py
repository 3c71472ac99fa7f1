"""A gateway for as long as a driver of it runs: what settings say, made and closed in one place.

Rule: the app and the mitmproxy addon both get theirs here.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from arkose import ArkoseClient
from pow import Solver
from shim import tokenizer
from shim.accounts.installation import installation_id, link_secret
from shim.accounts.leases import Leases
from shim.accounts.opening import GUESTS, open_pool
from shim.accounts.pool import AccountPool
from shim.accounts.states import AccountEvent, RenewalDropped, RenewalFailed, RenewalRefused, Renewed
from shim.cassettes.format import load_cassettes
from shim.cassettes.taping import TapedTransport
from shim.cassettes.transport import ReplayTransport
from shim.exchange.affinity import MOST_SESSIONS, Affinity
from shim.exchange.audio import Audio
from shim.exchange.calls import Calls
from shim.exchange.clock import Clock
from shim.exchange.continuations import Continuations
from shim.exchange.conversations import Conversations
from shim.exchange.gateway import Gateway
from shim.exchange.jobs import Jobs
from shim.exchange.kept import KeptAnswers
from shim.exchange.line import Line
from shim.exchange.links import Links
from shim.exchange.sockets import Sockets
from shim.exchange.stored_files import StoredFiles
from shim.exchange.tapes import Tapes
from shim.exchange.turns import Turns
from shim.files.intake import Files
from shim.files.kept import MOST_FILES, KeptFiles
from shim.keys import ApiKeys, open_keys
from shim.metrics.metrics import Metrics, OpenCounts
from shim.metrics.traces import Traces, open_traces
from shim.metrics.watched import WatchedSolver, WatchedTransport
from shim.notes import Notes, open_notes
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.schemas import validate
from shim.settings import Settings
from shim.transport import ConnectionKey, Deadlines, Transport
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver
from shim.transport.websocket import CurlWebSocket, FrameSocket
from shim.usage import CallBook, open_book

_RENEWED: dict[type[AccountEvent], str] = {
    Renewed: "renewed",
    RenewalFailed: "failed",
    RenewalRefused: "refused",
    RenewalDropped: "dropped",
}
_TEN_YEARS = 10 * 366 * 86400.0  # seconds


@asynccontextmanager
async def open_gateway(
    settings: Settings, transport: Transport | None = None, clock: Clock | None = None
) -> AsyncIterator[Gateway]:
    """A gateway while the block runs. `transport` takes the place of the network, `clock` that of time and ids."""
    clock = clock or Clock()
    deadlines = Deadlines(
        connect=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
    )
    network = CurlTransport(deadlines, ca_file=settings.ca_file or None)
    solver = Solver(workers=settings.pow_workers)
    arkose = ArkoseClient(settings.arkose_token_url or None, timeout=settings.arkose_timeout)
    # In a thread, so that a worker serves 0.2 s sooner; who has something to count before it is there waits for it.
    tables = asyncio.get_running_loop().run_in_executor(None, tokenizer.load)
    try:
        metrics, traces = Metrics(), open_traces(os.environ)
        sending = TapedTransport(WatchedTransport(transport or network, metrics))
        driver = Driver(sending, WatchedSolver(solver, metrics), arkose)
        heard = partial(_heard, metrics)
        async with (
            open_pool(settings, driver, heard=heard) as pool,
            open_pool(settings, driver, name=GUESTS, heard=heard) as guests,
            open_notes(data_dir=settings.data_dir, redis_url=settings.redis_url, keys=settings.store_key) as notes,
            open_keys(data_dir=settings.data_dir, redis_url=settings.redis_url) as keys,
            open_book(notes, clock=clock.now) as usage,
        ):
            secret = await _link_secret(settings, notes)
            gateway = _gateway(
                settings,
                clock,
                driver,
                pool=pool,
                guests=guests,
                notes=notes,
                keys=keys,
                usage=usage,
                secret=secret,
                metrics=metrics,
                traces=traces,
            )
            metrics.open(partial(_counts, gateway))
            try:
                yield gateway
                await gateway.jobs.close()
                await gateway.turns.settled()
                await gateway.kept.settled()
                await gateway.conversations.settled()
                await gateway.affinity.settled()
                await gateway.tapes.close()
            finally:
                await metrics.close()
                if traces is not None:
                    await traces.close()
    finally:
        await tables
        await solver.close()
        await arkose.close()
        await network.close()


def _gateway(
    settings: Settings,
    clock: Clock,
    driver: Driver,
    *,
    pool: AccountPool,
    guests: AccountPool,
    notes: Notes,
    keys: ApiKeys,
    usage: CallBook,
    secret: str,
    metrics: Metrics,
    traces: Traces | None,
) -> Gateway:
    calls = Calls(settings, driver, clock)
    leases = Leases(
        pool,
        guests,
        fetch=calls.models,
        installation=installation_id(Path(settings.data_dir)),
        clock=clock.now,
        default_model=settings.default_model or None,
        conversation_only=settings.conversation_only,
    )

    async def open_socket(url: str, headers: dict[str, str], connection: ConnectionKey) -> FrameSocket:
        return await CurlWebSocket.open(
            url,
            headers,
            proxy=connection.proxy,
            ca_file=settings.ca_file or None,
            connect_timeout=settings.connect_timeout,
        )

    files = Files(settings, driver, clock=clock.now)
    kept = KeptFiles(notes.shelf("files", most=MOST_FILES), secret, new_id=clock.new_id)
    turns = Turns(settings, calls, leases, files, clock=clock, sockets=Sockets(calls, open_socket))
    answers = KeptAnswers(notes)
    return Gateway(
        settings,
        clock,
        calls=calls,
        keys=keys,
        usage=usage,
        leases=leases,
        files=files,
        stored_files=StoredFiles(kept, leases, calls, clock),
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
        affinity=Affinity(notes.shelf("sessions", most=MOST_SESSIONS), leases, clock),
        tapes=Tapes(notes, clock=clock.now, new_id=clock.new_id),
        notes=notes,
        line=Line(_share(settings.max_streams, settings), _share(settings.max_waiting, settings)),
        filter_needs=FilterDependencies(tokenizer.count, tokenizer.cut, clock.new_id, validate),
    )


def _share(number: int, settings: Settings) -> int:
    """What one worker has of what all may have together."""
    return -(-number // settings.workers)


def _heard(metrics: Metrics, event: AccountEvent) -> None:
    outcome = _RENEWED.get(type(event))
    if outcome is not None:
        metrics.renewed(outcome)


def _counts(gateway: Gateway) -> OpenCounts:
    pool, line = gateway.leases.pool, gateway.line
    accounts = {state.value: number for state, number in pool.counts().items()}
    is_store_well = pool.health().store == "ok"
    return OpenCounts(line.open, line.waiting, pool.waiting, accounts, len(gateway.failing), is_store_well)


async def _link_secret(settings: Settings, notes: Notes) -> str:
    """That of all who share the store: with Redis it is noted there, by whoever is first. Raises NotesError."""
    own = link_secret(Path(settings.data_dir))
    if not settings.redis_url:
        return own
    shelf = notes.shelf("links")
    await shelf.add("secret", own.encode(), _TEN_YEARS)
    kept = await shelf.get("secret")
    return kept.decode() if kept is not None else own


def replay_of(settings: Settings) -> Transport | None:
    """The cassettes of REPLAY in the place of the network, paced as recorded; None without."""
    if not settings.replay:
        return None
    return ReplayTransport(*(cassette for _, cassette in load_cassettes(Path(settings.replay))), paced=True)
