"""`POST /v1/chat/completions`, streamed and whole."""

from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from shim.apis.chat import CHAT
from shim.http.answering import answer


@post("/v1/chat/completions", status_code=200)
async def create_chat_completion(request: Request[Any, Any, Any]) -> ASGIApp:
    """One chat completion."""
    return await answer(request, CHAT)
