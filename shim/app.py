"""The Litestar application: routes, the exception map, and a lifespan that makes and closes what they share."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide

from arkose import ArkoseClient
from pow import Solver
from shim import tokenizer
from shim.accounts.installation import installation_id
from shim.accounts.opening import GUESTS, open_roster
from shim.accounts.roster import Roster
from shim.exchange import Clock, Gateway
from shim.routes.admin import admin_router
from shim.routes.chat import create_chat_completion
from shim.routes.errors import EXCEPTION_HANDLERS
from shim.routes.health import healthz
from shim.routes.models import get_model, list_models
from shim.settings import Settings, load_settings
from shim.transport import Deadlines, Transport
from shim.transport.curl import CurlTransport
from shim.transport.driver import Driver

_ROUTES = (create_chat_completion, list_models, get_model, healthz)


def create_app(settings: Settings, *, transport: Transport | None = None, clock: Clock | None = None) -> Litestar:
    """The application. `transport` takes the place of the network, `clock` that of time and ids."""
    state: dict[str, Gateway] = {}

    async def provide_gateway() -> Gateway:
        return state["gateway"]

    async def provide_roster() -> Roster:
        return state["gateway"].seats.pool

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        async with _gateway(settings, transport, clock) as gateway:
            state["gateway"] = gateway
            yield

    return Litestar(
        route_handlers=[Router(settings.root_path or "/", route_handlers=[*_ROUTES, admin_router(settings)])],
        dependencies={"gateway": Provide(provide_gateway), "roster": Provide(provide_roster)},
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[lifespan],
        cors_config=_cors(settings),
        openapi_config=None,
        request_max_body_size=settings.max_request_bytes,
        logging_config=None,
    )


def from_environment() -> Litestar:
    """What each Granian worker runs: settings are in the environment by then."""
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    return create_app(settings)


@asynccontextmanager
async def _gateway(settings: Settings, transport: Transport | None, clock: Clock | None) -> AsyncIterator[Gateway]:
    clock = clock or Clock()
    network = CurlTransport(_deadlines(settings), ca_file=settings.ca_file or None)
    solver = Solver(workers=settings.pow_workers)
    arkose = ArkoseClient(settings.arkose_token_url or None, timeout=settings.arkose_timeout)
    tokenizer.load()
    await solver.start()
    try:
        driver = Driver(transport or network, solver, arkose)
        async with open_roster(settings, driver) as pool, open_roster(settings, driver, name=GUESTS) as guests:
            installation = installation_id(Path(settings.data_dir))
            yield Gateway(settings, driver, pool=pool, guests=guests, installation=installation, clock=clock)
    finally:
        await solver.close()
        await arkose.close()
        await network.close()


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(
        connect=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
    )


def _cors(settings: Settings) -> CORSConfig | None:
    """Off by default: an open gateway on loopback would let any web page read chats."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_headers=["*"],
        expose_headers=["x-request-id", "x-chat2api-ignored", "retry-after", "x-should-retry"],
    )
