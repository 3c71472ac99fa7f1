"""`POST /v1/completions`, streamed and whole."""

from litestar.types import ASGIApp

from shim.apis.completions import COMPLETIONS
from shim.http.answering import answer
from shim.http.routing import AnyRequest, DirectPost


@DirectPost("/v1/completions")
async def create_completion(request: AnyRequest) -> ASGIApp:
    """One text completion."""
    return await answer(request, COMPLETIONS)
