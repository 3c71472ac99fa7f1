"""`/v1/responses`: made, streamed and whole; and those that are kept, asked for again.

Rule: whose a kept response is decides the gateway; to anybody else it is not there (404).
"""

import re
from functools import partial

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from shim.accounts.credentials import Caller
from shim.apis.responses import RESPONSES
from shim.apis.responses.compact import COMPACTION
from shim.apis.responses.item_pages import page_of
from shim.apis.responses.kept import (
    KeptResponse,
    ResponseKeeping,
    ended,
    is_in_background,
    is_under_way,
    read_kept,
)
from shim.apis.responses.read import read_countable
from shim.apis.responses.wire import DeletedResponse, InputCount
from shim.errors import GatewayError, RequestError, UnavailableError
from shim.exchange import ClientCall, Exchange, Gateway
from shim.exchange.jobs import Beat, Opener
from shim.http.answering import ApiCall, answer, beside_others, ending_failed, follow_job, is_large
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import json_answer, request_id
from shim.http.routing import AnyRequest, DirectPost
from shim.keys.keys import KeyLimitError


@DirectPost("/v1/responses")
async def create_response(request: AnyRequest) -> ASGIApp:
    """One response."""
    return await answer(request, RESPONSES)


@post("/v1/responses/input_tokens", status_code=200)
async def count_input_tokens(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """How many tokens a response would be asked with. Nothing goes upstream."""
    caller, body = who_calls(request, gateway), await request.body()
    prompt, names, conversation = await beside_others(read_countable, body)
    # Read twice only by who refers to something: most requests have their whole history with them.
    if names or conversation:
        found = await gateway.found(caller, names, conversation)
        prompt, *_ = await beside_others(partial(read_countable, found=found), body)
    tokens = await while_present(request, gateway.count(prompt, caller, is_large=is_large(body)))
    return json_answer(request, msgspec.json.encode(InputCount(tokens)))


@DirectPost("/v1/responses/compact")
async def compact_response(request: AnyRequest) -> ASGIApp:
    """A history summed up."""
    return await answer(request, COMPACTION)


@get("/v1/responses/{response_id:str}", status_code=200)
async def get_response(request: AnyRequest, gateway: TheGateway, response_id: FromPath[str]) -> ASGIApp:
    """A kept response; with `stream` the events of one in the background, behind `starting_after`."""
    caller = who_calls(request, gateway)
    kept = await _kept(gateway, caller, response_id)
    # Whoever asks brings the credential that going on needs. None is ever written down, so that nobody else could.
    if is_under_way(kept) and await _seen_to(request, gateway, caller, response_id):
        kept = await _kept(gateway, caller, response_id)
    if request.query_params.get("stream", "").lower() not in {"true", "1"}:
        return json_answer(request, bytes(kept.body))
    if not is_in_background(kept) or not kept.streamed:
        text = (
            "Only responses that were created with 'background' and 'stream' can be streamed again: leave 'stream' out."
        )
        raise RequestError(text, param="stream", code="unsupported_parameter")
    after = request.query_params.get("starting_after", "-1")
    # Not more digits than a stream has events: beyond 4,300 of them Python refuses to read a number.
    if not re.fullmatch(r"-1|[0-9]{1,9}", after):
        raise RequestError(
            "'starting_after' must be a number of an event.", param="starting_after", code="invalid_value"
        )

    async def over() -> bool:
        if not is_under_way(await _kept(gateway, caller, response_id)):
            return True
        await _seen_to(request, gateway, caller, response_id)
        return False

    return follow_job(request, gateway, caller, response_id, after=int(after), over=over)


async def _seen_to(request: AnyRequest, gateway: Gateway, caller: Caller, id: str) -> bool:
    """Take a response over whose gateway is gone; whether that had to be."""
    body = await gateway.jobs.request_of(caller, id)
    if body is None:
        return False
    if not is_under_way(await _kept(gateway, caller, id)):
        return True  # it came to its end just now, and left nothing behind
    headers = {name.lower(): value for name, value in request.headers.items()}
    address = gateway.settings.address(f"{request.scope['scheme']}://{headers.get('host') or request.url.netloc}")
    call = ApiCall(gateway, RESPONSES, id=request_id(request), headers=headers, address=address)
    try:
        asked = await call.recall(await beside_others(call.read, body), anew=True)
    except GatewayError:
        asked = None  # its request was lost, or can't be read any more
    keeping = asked.asked.keeping if asked is not None else None
    if asked is None or not isinstance(keeping, ResponseKeeping):
        record = await gateway.kept.find(caller, id)
        if record is not None:
            await gateway.kept.write(caller.scope, id, ended(record, "Nobody goes on with this response."))
        return True
    # Given back, not ended: the next look may find room below the key's limit.
    if not await _entered(call, asked):
        await gateway.jobs.leave(caller, id)
        return False

    def rejoin(call_again: ClientCall, beat: Beat) -> Opener:
        async def open_again(_call: ClientCall) -> Exchange:
            call.exchange = await gateway.rejoin(call_again, beat.conversation or "", passing=beat.passing)
            return call.exchange

        return open_again

    with ending_failed(call.end):
        job = await gateway.jobs.take_over(asked, keeping, id, rejoin)
    if job is None:
        call.end()
    else:
        job.when_over(lambda: call.end(job.error))
    return True


async def _entered(call: ApiCall, asked: ClientCall) -> bool:
    """Whether a response that is taken over counts among the calls of its key that are under way, or its key has no
    such limit. It was let in when it began, so that no other limit is in its way. Where it does not, its conversation
    is let go of."""
    entered = True
    try:
        await call.enter()
    except KeyLimitError as error:
        entered = error.standing.refused != "concurrent"
    except UnavailableError:
        entered = False  # the store of keys is away: whoever looks next tries again
    if not entered and asked.held is not None:
        await asked.held.let_go()
    return entered


@delete("/v1/responses/{response_id:str}", status_code=200)
async def delete_response(request: AnyRequest, gateway: TheGateway, response_id: FromPath[str]) -> ASGIApp:
    """Forget a kept response; one that is under way is ended first, or it would be kept again."""
    caller = who_calls(request, gateway)
    # Ended before it is forgotten: its last words would be written after the removal, and bring it back.
    if is_under_way(await _kept(gateway, caller, response_id)):
        await gateway.jobs.cancel(caller, response_id)
    if not await gateway.kept.delete(caller, response_id):
        raise _unknown(response_id)
    return json_answer(request, msgspec.json.encode(DeletedResponse(response_id)))


@post("/v1/responses/{response_id:str}/cancel", status_code=200)
async def cancel_response(request: AnyRequest, gateway: TheGateway, response_id: FromPath[str]) -> ASGIApp:
    """End what goes on without its client; everything else ends with its connection."""
    caller = who_calls(request, gateway)
    kept = await _kept(gateway, caller, response_id)
    if not is_in_background(kept):
        text = "Only responses that were created with 'background' can be cancelled."
        raise RequestError(text, param="response_id", code="not_background")
    if is_under_way(kept):
        await _seen_to(request, gateway, caller, response_id)
        await gateway.jobs.cancel(caller, response_id)
        kept = await _kept(gateway, caller, response_id)
    return json_answer(request, bytes(kept.body))


@get("/v1/responses/{response_id:str}/input_items", status_code=200)
async def list_input_items(request: AnyRequest, gateway: TheGateway, response_id: FromPath[str]) -> ASGIApp:
    """The items that a kept response was asked with, the newest first unless `order` is `asc`."""
    kept = await _kept(gateway, who_calls(request, gateway), response_id)
    return json_answer(request, msgspec.json.encode(page_of(kept.input, request.query_params)))


def who_calls(request: AnyRequest, gateway: Gateway) -> Caller:
    """By the key of the request. Raises CredentialError."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return gateway.caller(RESPONSES.credential(headers))


async def _kept(gateway: Gateway, caller: Caller, id: str) -> KeptResponse:
    record = await gateway.kept.find(caller, id)
    if record is None:
        raise _unknown(id)
    return read_kept(record)


def _unknown(id: str) -> RequestError:
    return RequestError(
        f"Response with id '{id[:128]}' not found.", param="response_id", code="response_not_found", status=404
    )
