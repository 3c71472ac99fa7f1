"""`GET /healthz` tells of the store and of the tasks in the background, and says no more than that to strangers."""

from types import SimpleNamespace

import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from shim import __version__
from shim.accounts.pool import PoolHealth
from shim.http.health import healthz

WELL = PoolHealth({"ready": 2}, "ok", 0, {})


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
    gateway = Provide(lambda: SimpleNamespace(leases=leases), sync_to_thread=False)
    with TestClient(Litestar([healthz], dependencies={"gateway": gateway})) as client:
        answer = client.get("/healthz")
    assert answer.json() == {"status": "ok", "version": __version__} | told
    assert "10.0.0.7" not in answer.text
