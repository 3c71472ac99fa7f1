"""`GET /healthz` tells of the store and of the tasks in the background, and says no more than that to strangers."""

from types import SimpleNamespace

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from shim import __version__
from shim.accounts.pool import PoolHealth
from shim.accounts.states import State
from shim.exchange import Gateway
from shim.http.health import healthz, readyz

WELL = PoolHealth({"ready": 2}, "ok", 0, {})
WORKING = SimpleNamespace(failing={}, is_away=False)


class Parts(SimpleNamespace):
    """The parts of a gateway that have background tasks."""

    keys = usage = metrics = _notes = WORKING
    failing, away = Gateway.failing, Gateway.away


@pytest.mark.parametrize(
    ("pool", "guests", "told"),
    [
        (WELL, WELL, {"store": "ok", "unsaved": 0, "background": "ok"}),
        (PoolHealth({}, "no route to 10.0.0.7", 3, {}), WELL, {"store": "away", "unsaved": 3, "background": "ok"}),
        (PoolHealth({}, "ok", 0, {"sync": "ValueError"}), WELL, {"store": "ok", "unsaved": 0, "background": "failing"}),
        (WELL, PoolHealth({}, "ok", 0, {"sync": "ValueError"}), {"store": "ok", "unsaved": 0, "background": "failing"}),
    ],
)
def test_what_is_told(pool: PoolHealth, guests: PoolHealth, told: dict[str, object]) -> None:
    leases = SimpleNamespace(pool=SimpleNamespace(health=lambda: pool), guests=SimpleNamespace(health=lambda: guests))
    gateway = Provide(lambda: Parts(leases=leases), sync_to_thread=False)
    with TestClient(Litestar([healthz], dependencies={"gateway": gateway}, logging_config=None)) as client:
        answer = client.get("/healthz")
    away = ["accounts"] if told["store"] == "away" else []
    assert answer.json() == {"status": "ok", "version": __version__, "away": away} | told
    assert "10.0.0.7" not in answer.text


@pytest.mark.parametrize(
    ("counts", "background", "why"),
    [
        ({}, {}, []),  # chats without an account
        ({State.PARKED: 2, State.COOLING: 1}, {}, []),  # it says when it can be used again
        ({State.PARKED: 2, State.EXPIRED: 1}, {}, ["no_account"]),
        ({State.READY: 1}, {"sync": "ValueError"}, ["background_failing"]),
    ],
)
def test_readiness(counts: dict[State, int], background: dict[str, str], why: list[str]) -> None:
    pool = SimpleNamespace(counts=lambda: counts, health=lambda: PoolHealth({}, "no route", 0, background))
    leases = SimpleNamespace(pool=pool, guests=SimpleNamespace(health=lambda: WELL))
    gateway = Provide(lambda: Parts(leases=leases), sync_to_thread=False)
    with TestClient(Litestar([readyz], dependencies={"gateway": gateway}, logging_config=None)) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["why"]) == (503 if why else 200, why)


@pytest.mark.parametrize("which", ["keys", "usage", "metrics"])
def test_a_task_of_the_keys_or_the_usage_that_fails_is_seen(which: str) -> None:
    pool = SimpleNamespace(counts=lambda: {State.READY: 1}, health=lambda: WELL)
    failing = {which: SimpleNamespace(failing={"write": "NotesError"}, is_away=False)}
    gateway = Parts(leases=SimpleNamespace(pool=pool, guests=pool), **failing)
    provided = {"gateway": Provide(lambda: gateway, sync_to_thread=False)}
    with TestClient(Litestar([healthz, readyz], dependencies=provided, logging_config=None)) as client:
        assert client.get("/healthz").json()["background"] == "failing"
        assert client.get("/readyz").status_code == 503
