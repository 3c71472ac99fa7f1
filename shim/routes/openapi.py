"""`GET /openapi.json`: what this gateway takes and gives. It says nothing secret, so no key is asked for."""

from typing import Any

from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim.openapi import document
from shim.routes.answers import json_answer
from shim.routes.provided import TheGateway


@get("/openapi.json")
async def get_openapi(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """The document, with the paths as this installation has them."""
    settings = gateway.settings
    return json_answer(request, document(settings.root_path, keyed=bool(settings.authorization)))
