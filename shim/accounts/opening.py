"""Putting an account pool together from the settings, with its store and its renewals: for the server, the command line
and tests."""

import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from arkose import ArkoseClient
from pow import ClientProfile, Solver
from shim.accounts.account import Account
from shim.accounts.credentials import identity_of
from shim.accounts.installation import installation_id
from shim.accounts.leases import Fetch, Leases, list_key
from shim.accounts.pool import AccountPool, PoolOptions
from shim.accounts.renewal import RunsHandshakes, exchange_by
from shim.accounts.states import AccountEvent
from shim.accounts.stores.choose import open_store
from shim.protocol.turn.renewal import TokenEndpoints
from shim.random_ids import random_hex
from shim.settings import Settings
from shim.transport import ConnectionKey, Deadlines
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver
from shim.transport.failover import FailoverList

POOL = "accounts"
GUESTS = "guests"


@asynccontextmanager
async def open_pool(
    settings: Settings,
    driver: RunsHandshakes | None = None,
    *,
    name: str = POOL,
    background: bool = True,
    heard: Callable[[AccountEvent], None] = lambda _event: None,
) -> AsyncIterator[AccountPool]:
    """The pool called `name`, loaded. Without a `driver` it makes connections of its own. `heard` is told what becomes
    of renewals. Raises StoreError."""
    # A command of the terminal: its calls are few, and nobody else is there to share connections with.
    if driver is None:
        async with (
            own_driver(settings) as made,
            open_pool(settings, made, name=name, background=background) as pool,
        ):
            yield pool
        return
    pool = make_pool(settings, driver, name, heard)
    try:
        await pool.open(background=background)
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def open_leases(
    settings: Settings,
    driver: RunsHandshakes,
    *,
    fetch: Fetch,
    clock: Callable[[], float],
    heard: Callable[[AccountEvent], None],
) -> AsyncIterator[Leases]:
    """The pool, the guests beside it (callers with tokens of their own), and who lends the accounts of both. `fetch`
    asks upstream for the models of one. Raises StoreError."""
    async with (
        open_pool(settings, driver, heard=heard) as pool,
        open_pool(settings, driver, name=GUESTS, heard=heard) as guests,
    ):
        yield Leases(
            pool,
            guests,
            fetch=fetch,
            installation=installation_id(Path(settings.data_dir)),
            clock=clock,
            default_model=settings.default_model or None,
            conversation_only=settings.conversation_only,
        )


def make_pool(
    settings: Settings,
    driver: RunsHandshakes,
    name: str,
    heard: Callable[[AccountEvent], None] = lambda _event: None,
) -> AccountPool:
    """A pool that is not loaded yet."""
    profile = ClientProfile(user_agent=settings.user_agent)
    # One name for all gateways of this folder: upstream sees one client that comes back, as from one browser.
    installation = installation_id(Path(settings.data_dir))
    origins, proxies = FailoverList(settings.chatgpt_base_url), FailoverList(settings.proxy_url)

    def endpoints(account: Account) -> TokenEndpoints:
        origin = origins.pick(account.id, time.time()) or ""
        return TokenEndpoints(settings.oauth_url, origin, profile, settings.oauth_client_id)

    def connection(account: Account) -> ConnectionKey:
        # Guests share their connections to the login server: it may never accept them, and a lane of one's own stays.
        key = GUESTS if name == GUESTS else list_key(identity_of(account, installation))
        return ConnectionKey(key, account.proxy_url or proxies.pick(key, time.time()))

    store = open_store(
        redis_url=settings.redis_url, data_dir=Path(settings.data_dir), keys=settings.store_key, name=name
    )
    options = PoolOptions(
        limit=settings.account_limit,
        shared=bool(settings.redis_url) or settings.workers > 1,
        # What a turn waits for an account is part of its time to the first byte.
        patience=min(settings.first_byte_timeout, 30.0),
        renewal=settings.first_byte_timeout,
    )
    place = f"{socket.gethostname()}:{os.getppid()}"  # workers have their main process in common
    return AccountPool(
        store,
        exchange_by(driver, endpoints, connection, time.time),
        options,
        holder=f"{place}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
        is_dead=lambda holder: _is_dead(holder, place),
        heard=heard,
        clock=time.time,
        new_id=random_hex,  # of a slot
    )


def _is_dead(holder: str, place: str) -> bool:
    """Whether the process that a holder is named after was a worker below our own main process, and is gone. Of a
    process elsewhere that can't be told, and its claims soon end by themselves."""
    where, _, named = holder.rpartition(":")[0].rpartition(":")
    # Process ids mean something on their own machine alone, and below the same main process: others may have got them
    # anew.
    if where != place or not named.isdecimal():
        return False
    try:
        os.kill(int(named), 0)
    except ProcessLookupError:
        return True
    # There is such a process, of somebody else's.
    except PermissionError:
        pass
    return False


@asynccontextmanager
async def own_driver(settings: Settings) -> AsyncIterator[Driver]:
    """A driver for commands of the terminal, which renew accounts but make no turns."""
    deadlines = Deadlines(connect=settings.connect_timeout, first_byte=30, idle=30, total=60)
    transport = CurlTransport(deadlines, ca_file=settings.ca_file or None)
    try:
        yield Driver(transport, Solver(), ArkoseClient(None))
    finally:
        await transport.close()
