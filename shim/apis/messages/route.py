"""`POST /v1/messages`, streamed and whole, and `POST /v1/messages/count_tokens`."""

import msgspec
from litestar import post
from litestar.types import ASGIApp

from shim.apis.messages import MESSAGES, MessagesApi
from shim.apis.messages.read import read_countable
from shim.apis.messages.wire import TokenCount
from shim.http.answering import answer, beside_others, is_large
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import json_answer, request_id
from shim.http.routing import AnyRequest, DirectPost


@DirectPost("/v1/messages")
async def create_message(request: AnyRequest) -> ASGIApp:
    """One message."""
    return await answer(request, MessagesApi(request_id(request)))


@post("/v1/messages/count_tokens", status_code=200)
async def count_message_tokens(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """How many tokens a message would be asked with. Nothing goes upstream."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    caller = gateway.caller(MESSAGES.credential(headers))
    prompt = await beside_others(read_countable, body := await request.body())
    tokens = await while_present(request, gateway.count(prompt, caller, is_large=is_large(body)))
    return json_answer(request, msgspec.json.encode(TokenCount(tokens)))
