"""`POST /v1/responses`, streamed and whole, and what is asked about responses."""

from typing import Any

import msgspec
from litestar import Request, post
from litestar.response.base import ASGIResponse

from shim.apis.responses import RESPONSES
from shim.apis.responses.read import read_countable
from shim.apis.responses.wire import InputCount
from shim.http.answering import answer
from shim.http.errors import exception_handlers
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import json_answer

_ERRORS = exception_handlers(RESPONSES.refuse)


@post("/v1/responses", status_code=200, exception_handlers=_ERRORS)
async def create_response(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """One response."""
    return await answer(request, gateway, RESPONSES)


@post("/v1/responses/input_tokens", status_code=200, exception_handlers=_ERRORS)
async def count_input_tokens(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """How many tokens a response would be asked with. Nothing goes upstream."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    caller = gateway.caller(RESPONSES.credential(headers))
    prompt = read_countable(await request.body())
    tokens = await while_present(request, gateway.count(prompt, caller))
    return json_answer(request, msgspec.json.encode(InputCount(tokens)))
