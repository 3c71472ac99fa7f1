"""`GET /healthz`: whether this process serves, and whether its store does. It asks nothing of upstream and tells no
secret. A store that is away does not make the process unhealthy: it goes on from memory.
"""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim import __version__
from shim.http.provided import TheGateway
from shim.http.responses import json_answer


@get("/healthz")
async def healthz(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """Alive. `unsaved` counts accounts whose new tokens the store does not have yet (0 is well)."""
    health = gateway.leases.pool.health()
    store = "ok" if health["store"] == "ok" else "away"
    answer = {"status": "ok", "version": __version__, "store": store, "unsaved": health["unsaved"]}
    return json_answer(request, msgspec.json.encode(answer))
