"""`POST /v1/images/generations`, `/edits` and `/variations`, streamed and whole."""

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from shim.apis.images import ImagesApi, ReadImages
from shim.apis.images.read import read_edit, read_generation, read_variation
from shim.http.answering import answer


@post("/v1/images/generations", status_code=200)
async def create_image(request: Request[Any, Any, Any]) -> ASGIApp:
    """Pictures of what a prompt says."""
    return await _answer(request, read_generation)


@post("/v1/images/edits", status_code=200)
async def edit_image(request: Request[Any, Any, Any]) -> ASGIApp:
    """Pictures made of others."""
    return await _answer(request, read_edit)


@post("/v1/images/variations", status_code=200)
async def vary_image(request: Request[Any, Any, Any]) -> ASGIApp:
    """Pictures like another."""
    return await _answer(request, read_variation)


async def _answer(request: Request[Any, Any, Any], read: ReadImages) -> ASGIApp:
    return await answer(request, ImagesApi(read, request.headers.get("content-type", "")), is_slow=True)
