"""`POST /v1/completions`, streamed and whole."""

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from shim.apis.completions import COMPLETIONS
from shim.http.answering import answer


@post("/v1/completions", status_code=200)
async def create_completion(request: Request[Any, Any, Any]) -> ASGIApp:
    """One text completion."""
    return await answer(request, COMPLETIONS)
