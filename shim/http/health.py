"""`GET /healthz`: whether this process serves, and whether its store does. It asks nothing of upstream and tells no
secret. A store that is away does not make the process unhealthy: it serves from memory.
"""

from typing import Any, Literal, cast

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim import __version__
from shim.http.openapi import JSON, OpenApiOperation
from shim.http.provided import TheGateway
from shim.http.responses import json_answer


class Health(msgspec.Struct, frozen=True):
    """What `GET /healthz` says. `unsaved` counts accounts whose new tokens the store does not have yet."""

    status: Literal["ok"]
    version: str
    store: Literal["ok", "away"]
    unsaved: int


OPERATION = OpenApiOperation(
    "get",
    "/healthz",
    "health",
    "Whether this process serves.",
    gives={JSON: Health},
    example={JSON: Health("ok", __version__, "ok", 0)},
    open=True,
)


@get("/healthz")
async def healthz(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """Answer from what is known in this process."""
    health = gateway.seats.pool.health()
    answer = Health("ok", __version__, "ok" if health["store"] == "ok" else "away", cast("int", health["unsaved"]))
    return json_answer(request, msgspec.json.encode(answer))
