"""Recordings of the next calls, below `/tokens/api/recordings`: ordered, listed, downloaded, forgotten."""

import re
from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from shim.errors import RequestError
from shim.exchange.tapes import MOST_CASSETTES, MOST_MINUTES, RecordingOrder, TakenRecording
from shim.http.provided import TheGateway
from shim.http.responses import JSON, BytesResponse, answer_headers, json_answer
from shim.http.routing import AnyRequest

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller may order; see RecordingOrder."""

    key: _Word | None = None
    account: _Word | None = None
    model: _Word | None = None
    api: _Word | None = None
    failed: bool | None = None
    minutes: Annotated[int, msgspec.Meta(ge=1, le=MOST_MINUTES)] = 10
    count: Annotated[int, msgspec.Meta(ge=1, le=MOST_CASSETTES)] = 1


class OrderView(msgspec.Struct, frozen=True):
    """An order, whether it still stands, and what was recorded for it."""

    order: RecordingOrder
    standing: bool
    recordings: list[TakenRecording]


class OrderList(msgspec.Struct, frozen=True):
    """All orders of the last day, the newest end first."""

    orders: list[OrderView]


@get("/api/recordings")
async def list_recordings(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """The orders, and what was recorded."""
    views = []
    for order in await gateway.tapes.orders():
        taken = await gateway.tapes.taken(order.id)
        standing = order.until > gateway.clock.now() and len(taken) < order.count
        views.append(OrderView(order, standing, taken))
    return json_answer(request, msgspec.json.encode(OrderList(views)))


@post("/api/recordings", status_code=201)
async def order_recording(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Record the next calls that are as wanted. Raises RequestError."""
    try:
        given = msgspec.json.decode(await request.body() or b"{}", type=OrderRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"This is no order for a recording: {error}", code="invalid_recording") from None
    until = gateway.clock.now() + given.minutes * 60.0
    wanted = RecordingOrder("", until, given.count, given.key, given.account, given.model, given.api, given.failed)
    order = await gateway.tapes.order(wanted)
    return json_answer(request, msgspec.json.encode(OrderView(order, standing=True, recordings=[])), status=201)


@get("/api/recordings/{order_id:str}/{call_id:str}")
async def get_cassette(
    request: AnyRequest, gateway: TheGateway, order_id: FromPath[str], call_id: FromPath[str]
) -> ASGIApp:
    """A cassette, as a file. Raises RequestError (404)."""
    found = await gateway.tapes.cassette(order_id, call_id)
    if found is None:
        raise _not_found()
    name = re.sub(r"[^A-Za-z0-9_.-]", "", call_id)[:80]
    headers = answer_headers(request, {"content-disposition": f'attachment; filename="{name}.json"'})
    return BytesResponse(found, headers | JSON)


@delete("/api/recordings/{order_id:str}", status_code=200)
async def forget_recording(request: AnyRequest, gateway: TheGateway, order_id: FromPath[str]) -> ASGIApp:
    """Forget an order and its cassettes. Raises RequestError (404)."""
    if not await gateway.tapes.forget(order_id):
        raise _not_found()
    return json_answer(request, msgspec.json.encode({"removed": 1}))


ROUTES = (list_recordings, order_recording, get_cassette, forget_recording)


def _not_found() -> RequestError:
    return RequestError("There is no such recording (any more)", status=404, code="recording_not_found")
