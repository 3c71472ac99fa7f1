"""`POST /v1/images/generations`, `/edits` and `/variations`, streamed and whole."""

from litestar.types import ASGIApp

from shim.apis.images import ImagesApi, ReadImages
from shim.apis.images.read import read_edit, read_generation, read_variation
from shim.http.answering import answer
from shim.http.routing import AnyRequest, DirectPost


@DirectPost("/v1/images/generations")
async def create_image(request: AnyRequest) -> ASGIApp:
    """Pictures of what a prompt says."""
    return await _answer(request, read_generation)


@DirectPost("/v1/images/edits")
async def edit_image(request: AnyRequest) -> ASGIApp:
    """Pictures made of others."""
    return await _answer(request, read_edit)


@DirectPost("/v1/images/variations")
async def vary_image(request: AnyRequest) -> ASGIApp:
    """Pictures like another."""
    return await _answer(request, read_variation)


async def _answer(request: AnyRequest, read: ReadImages) -> ASGIApp:
    return await answer(request, ImagesApi(read, request.headers.get("content-type", "")), is_slow=True)
