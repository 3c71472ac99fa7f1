"""`GET /healthz`: whether this process serves, and whether its store and its background tasks do.
`GET /readyz`: whether it is worth sending requests to.

It asks nothing of upstream and tells no secret. Neither a store that is away nor a task that fails makes the process
unhealthy: it goes on from memory, and the task is tried again.
"""

from typing import Any, Literal

import msgspec
from litestar import Request, get
from litestar.types import ASGIApp

from shim import __version__
from shim.accounts.states import State
from shim.http.openapi import JSON, OpenApiOperation
from shim.http.provided import TheGateway
from shim.http.responses import json_answer


class Health(msgspec.Struct, frozen=True):
    """What `GET /healthz` says. `away` names the stores that can't be read, or not be written (their disk or memory is
    full): of `accounts`, of `keys`, of `notes` (what is kept of answers, files and usage); `store` is that of accounts.
    `unsaved` counts accounts whose new tokens the store does not have yet; `background` is whether the tasks beside
    requests do their work."""

    status: Literal["ok"]
    version: str
    store: Literal["ok", "away"]
    away: list[str]
    unsaved: int
    background: Literal["ok", "failing"]


OPERATION = OpenApiOperation(
    "get",
    "/healthz",
    "health",
    "Whether this process serves.",
    gives={JSON: Health},
    example={JSON: Health("ok", __version__, "ok", [], 0, "ok")},
    open=True,
)


class Readiness(msgspec.Struct, frozen=True):
    """What `GET /readyz` says. A balancer goes by its status, 200 or 503; `why` is for people: `no_account` (every
    account of the pool is parked or expired), `background_failing` (a task beside requests does not do its work)."""

    status: Literal["ready", "not_ready"]
    why: list[Literal["no_account", "background_failing"]]


READY_OPERATION = OpenApiOperation(
    "get",
    "/readyz",
    "readiness",
    "Whether this process is worth sending requests to; 503 where it is not.",
    gives={JSON: Readiness},
    example={JSON: Readiness("ready", [])},
    open=True,
)

# An account that only rests comes back by itself, so that a gateway whose accounts all rest stays in service.
_UNUSABLE = frozenset({State.PARKED, State.EXPIRED, State.PAUSED})


@get("/healthz")
async def healthz(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIApp:
    """Answer from what is known in this process."""
    health = gateway.leases.pool.health()
    answer = Health(
        status="ok",
        version=__version__,
        store="ok" if health.store == "ok" else "away",
        away=gateway.away,
        unsaved=health.unsaved,
        background="failing" if gateway.failing else "ok",
    )
    return json_answer(request, msgspec.json.encode(answer))


@get("/readyz")
async def readyz(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIApp:
    """Answer from what is known in this process. A store that is away is no reason: all gateways that share it would be
    taken away at once, while each goes on from memory."""
    why: list[Literal["no_account", "background_failing"]] = []
    counts = gateway.leases.pool.counts()
    if sum(counts.values()) and not sum(number for state, number in counts.items() if state not in _UNUSABLE):
        why.append("no_account")
    if gateway.failing:
        why.append("background_failing")
    answer = Readiness("not_ready" if why else "ready", why)
    return json_answer(request, msgspec.json.encode(answer), status=503 if why else 200)
