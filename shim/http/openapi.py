"""`GET /openapi.json`: what this gateway takes and gives. It says nothing secret, so no key is asked for."""

from typing import Any

from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim.http.openapi_document import document
from shim.http.provided import TheGateway
from shim.http.responses import json_answer


@get("/openapi.json")
async def get_openapi(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """The document, with the paths as this installation has them."""
    settings = gateway.settings
    return json_answer(request, document(settings.root_path, keyed=bool(settings.authorization)))
