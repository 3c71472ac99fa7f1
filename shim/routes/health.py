"""`GET /healthz`: whether this process serves. It asks nothing of upstream and tells no secret."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim import __version__
from shim.routes.answers import json_answer


@get("/healthz")
async def healthz(request: Request[Any, Any, Any]) -> ASGIResponse:
    """Alive."""
    return json_answer(request, msgspec.json.encode({"status": "ok", "version": __version__}))
