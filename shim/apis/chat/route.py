"""`POST /v1/chat/completions`, streamed and whole."""

from litestar.types import ASGIApp

from shim.apis.chat import CHAT
from shim.http.answering import answer
from shim.http.routing import AnyRequest, DirectPost


@DirectPost("/v1/chat/completions")
async def create_chat_completion(request: AnyRequest) -> ASGIApp:
    """One chat completion."""
    return await answer(request, CHAT)
