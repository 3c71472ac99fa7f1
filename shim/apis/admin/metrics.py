"""`GET /metrics`: what Prometheus reads, behind `door.Door.guard_reader`."""

from typing import Any

from litestar import Request, get
from litestar.types import ASGIApp
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from shim.apis.admin.door import Door
from shim.http.provided import TheGateway
from shim.http.responses import BytesResponse, answer_headers
from shim.http.routing import Routes


def metrics_router(door: Door) -> Routes:
    """The one path."""
    return Routes("/", route_handlers=[metrics], guards=[lambda connection, _handler: door.guard_reader(connection)])


@get("/metrics")
async def metrics(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIApp:
    """Everything that was counted, of all workers."""
    headers = answer_headers(request, {"content-type": CONTENT_TYPE_PLAIN_0_0_4, "cache-control": "no-store"})
    return BytesResponse(await gateway.metrics.text(), headers)
