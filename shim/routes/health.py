"""`GET /healthz`: whether this process serves. It asks nothing of upstream and tells no secret."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from shim import __version__
from shim.routes.answers import json_response


@get("/healthz")
async def healthz(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Alive."""
    return json_response(request, msgspec.json.encode({"status": "ok", "version": __version__}))
