"""What the tests of the accounts page share: the page in an application of its own, on a pool they can reach into.

Rule: everything that is sent as a credential is also looked for in everything that comes back.
"""

import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.di import Provide

from shim.accounts.account import Account
from shim.accounts.pool import AccountPool, PoolOptions
from shim.accounts.states import Refused
from shim.accounts.stores.sqlite import SqliteStore
from shim.accounts.views import AccountView
from shim.apis import openai_errors
from shim.apis.admin.door import COOKIE, CSRF, Door
from shim.apis.admin.route import admin_router
from shim.errors import UpstreamError
from shim.http.errors import exception_handlers
from shim.http.routing import Routes
from shim.notes import open_notes
from shim.settings import Settings
from shim.standin import make_access_token
from shim.standin.server import serve_app
from shim.usage import CallBook

KEY = "the-admin-key-of-these-tests"


async def no_exchange(_account: Account) -> Any:
    raise UpstreamError("these tests renew nothing")


@dataclass
class Time:
    """The time, moved on by hand."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@dataclass
class Prober:
    """Finds every account parked. What the handlers ask of a gateway is here as well."""

    pool: AccountPool
    usage: CallBook
    probed: list[str] = field(default_factory=list)

    async def probe(self, id: str) -> AccountView | None:
        self.probed.append(id)
        self.pool.report(id, Refused("account_deactivated"))
        return self.pool.view(id)


@dataclass
class Site:
    """The served page."""

    app: Litestar
    base_url: str
    pool: AccountPool
    prober: Prober
    time: Time
    key: str

    def client(self, **headers: str) -> httpx.AsyncClient:
        """Nobody in particular."""
        return httpx.AsyncClient(base_url=self.base_url, headers=headers, trust_env=False, timeout=20)

    def script(self) -> httpx.AsyncClient:
        """A script with the key."""
        return self.client(authorization=f"Bearer {self.key}")

    def from_address(self, address: str) -> httpx.AsyncClient:
        """A client whose socket is at `address`, straight into the application."""
        transport = httpx.ASGITransport(self.app, client=(address, 40000))
        return httpx.AsyncClient(transport=transport, base_url=self.base_url, trust_env=False)

    async def log_in(self, client: httpx.AsyncClient) -> httpx.AsyncClient:
        """The same client, with a session and the header that goes with it."""
        if self.key:
            answer = await client.post("tokens/login", json={"key": self.key})
        else:
            answer = await client.get("tokens/session")
        assert answer.status_code == 200, answer.text
        client.headers[CSRF] = answer.json()["csrf"]
        assert COOKIE in client.cookies
        return client

    async def add(self, *names: str) -> list[str]:
        """The ids of new accounts with these names."""
        report = await self.pool.add("\n".join(make_access_token(name, "plus") for name in names))
        return list(report.added)


MakeSite = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture
def make_site(tmp_path: Path) -> MakeSite:
    """`async with make_site(admin_key="", api_prefix="") as site`."""
    numbers = itertools.count()

    @asynccontextmanager
    async def make(admin_key: str = KEY, **more: Any) -> AsyncIterator[Site]:
        settings = Settings(admin_key=admin_key, **more)
        clock = Time()
        pool = AccountPool(
            SqliteStore(tmp_path / f"data-{next(numbers)}"),
            no_exchange,
            PoolOptions(),
            holder="tests",
            clock=clock,
            new_id=lambda: str(next(numbers)),
        )
        await pool.open()
        try:
            async with open_notes(data_dir=tmp_path / f"notes-{next(numbers)}") as notes:
                prober = Prober(pool, CallBook(notes))
                app = make_app(settings, pool, prober, clock)
                async with serve_app(app) as port:
                    base_url = f"http://127.0.0.1:{port}{settings.root_path}"
                    yield Site(app, base_url, pool, prober, clock, admin_key)
        finally:
            await pool.close()

    return make


def make_app(settings: Settings, pool: AccountPool, prober: Prober, clock: Time) -> Litestar:
    return Litestar(
        route_handlers=[
            Routes(settings.root_path or "/", route_handlers=[admin_router(settings, Door(settings, clock))])
        ],
        dependencies={
            "pool": Provide(lambda: pool, sync_to_thread=False),
            "prober": Provide(lambda: prober, sync_to_thread=False),
            "gateway": Provide(lambda: prober, sync_to_thread=False),
        },
        exception_handlers=exception_handlers(lambda _scope: openai_errors.refuse),
        openapi_config=None,
        request_max_body_size=settings.max_request_bytes,
        logging_config=None,
    )


@pytest.fixture
async def site(make_site: MakeSite) -> AsyncIterator[Site]:
    """With an admin key."""
    async with make_site() as made:
        yield made


@pytest.fixture
async def open_site(make_site: MakeSite) -> AsyncIterator[Site]:
    """Without one: this machine only."""
    async with make_site(admin_key="") as made:
        yield made
