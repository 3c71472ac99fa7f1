"""`GET /healthz`: whether this process serves, and whether its store and its background tasks do.

It asks nothing of upstream and tells no secret. Neither a store that is away nor a task that fails makes the process
unhealthy: it goes on from memory, and the task is tried again.
"""

from typing import Any, Literal

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim import __version__
from shim.http.openapi import JSON, OpenApiOperation
from shim.http.provided import TheGateway
from shim.http.responses import json_answer


class Health(msgspec.Struct, frozen=True):
    """What `GET /healthz` says. `unsaved` counts accounts whose new tokens the store does not have yet; `background` is
    whether the tasks beside requests do their work."""

    status: Literal["ok"]
    version: str
    store: Literal["ok", "away"]
    unsaved: int
    background: Literal["ok", "failing"]


OPERATION = OpenApiOperation(
    "get",
    "/healthz",
    "health",
    "Whether this process serves.",
    gives={JSON: Health},
    example={JSON: Health("ok", __version__, "ok", 0, "ok")},
    open=True,
)


@get("/healthz")
async def healthz(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """Answer from what is known in this process."""
    pools = [pool.health() for pool in (gateway.leases.pool, gateway.leases.guests)]
    answer = Health(
        status="ok",
        version=__version__,
        store="ok" if pools[0].store == "ok" else "away",
        unsaved=pools[0].unsaved,
        background="failing" if any(health.background for health in pools) else "ok",
    )
    return json_answer(request, msgspec.json.encode(answer))
