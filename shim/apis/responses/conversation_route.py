"""`/v1/conversations`: made, looked at, changed and forgotten, with their items.

Rule: whose a conversation is decides the gateway; to anybody else it is not there (404). Whatever changes one holds it
meanwhile.
"""

from collections.abc import Callable

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from shim.accounts.credentials import Caller
from shim.apis.decoding import decode
from shim.apis.responses.conversation_wire import (
    AddItemsRequest,
    ConversationObject,
    CreateConversationRequest,
    DeletedConversation,
    UpdateConversationRequest,
)
from shim.apis.responses.conversations import (
    PREFIX,
    KeptConversation,
    checked_items,
    no_conversation,
    read_conversation,
    written,
)
from shim.apis.responses.item_pages import listed, page_of
from shim.apis.responses.kept import name_of
from shim.apis.responses.route import who_calls
from shim.errors import RequestError
from shim.exchange import Gateway
from shim.http.answering import beside_others
from shim.http.provided import TheGateway
from shim.http.responses import json_answer
from shim.http.routing import AnyRequest


@post("/v1/conversations", status_code=200)
async def create_conversation(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """A new one."""
    caller, id = who_calls(request, gateway), _new_id(gateway)
    created = int(gateway.clock.now())

    def made(body: bytes) -> KeptConversation:
        asked = decode(_create_decoder, body or b"{}")
        kept = KeptConversation(PREFIX + id, created, asked.metadata or {})
        return kept.with_items(checked_items(asked.items or [], id), id)

    kept = await beside_others(made, await request.body())
    await gateway.conversations.create(caller, kept.id, written(kept))
    return json_answer(request, _shown(kept))


@get("/v1/conversations/{conversation_id:str}")
async def get_conversation(request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str]) -> ASGIApp:
    """One without its items."""
    return json_answer(request, _shown(await _kept(gateway, who_calls(request, gateway), conversation_id)))


@post("/v1/conversations/{conversation_id:str}", status_code=200)
async def update_conversation(request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str]) -> ASGIApp:
    """Other metadata."""
    asked = decode(_update_decoder, await request.body())

    def changed(kept: KeptConversation) -> KeptConversation:
        return msgspec.structs.replace(kept, metadata=asked.metadata or {})

    return json_answer(request, _shown(await _change(request, gateway, conversation_id, changed)))


@delete("/v1/conversations/{conversation_id:str}", status_code=200)
async def delete_conversation(request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str]) -> ASGIApp:
    """Forget one; what a response under way would add to it is not kept."""
    if not await gateway.conversations.delete(who_calls(request, gateway), conversation_id):
        raise no_conversation(conversation_id, "conversation_id")
    return json_answer(request, msgspec.json.encode(DeletedConversation(conversation_id)))


@get("/v1/conversations/{conversation_id:str}/items")
async def list_conversation_items(request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str]) -> ASGIApp:
    """Its items, the newest first unless `order` is `asc`."""
    kept = await _kept(gateway, who_calls(request, gateway), conversation_id)
    return json_answer(request, msgspec.json.encode(page_of(kept.items, request.query_params)))


@post("/v1/conversations/{conversation_id:str}/items", status_code=200)
async def add_conversation_items(request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str]) -> ASGIApp:
    """More items at its end."""
    id, before = _new_id(gateway), 0

    def read(body: bytes) -> list[msgspec.Raw]:
        return checked_items(decode(_add_decoder, body).items, id)

    items = await beside_others(read, await request.body())

    def changed(kept: KeptConversation) -> KeptConversation:
        nonlocal before
        before = len(kept.items)
        return kept.with_items(items, id)

    kept = await _change(request, gateway, conversation_id, changed)
    return json_answer(request, msgspec.json.encode(listed(kept.items[before:])))


@get("/v1/conversations/{conversation_id:str}/items/{item_id:str}")
async def get_conversation_item(
    request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str], item_id: FromPath[str]
) -> ASGIApp:
    """One item."""
    kept = await _kept(gateway, who_calls(request, gateway), conversation_id)
    item = next((item for item in kept.items if name_of(item) == item_id), None)
    if item is None:
        raise _no_item(item_id)
    return json_answer(request, bytes(item))


@delete("/v1/conversations/{conversation_id:str}/items/{item_id:str}", status_code=200)
async def delete_conversation_item(
    request: AnyRequest, gateway: TheGateway, conversation_id: FromPath[str], item_id: FromPath[str]
) -> ASGIApp:
    """Take one item out."""

    def changed(kept: KeptConversation) -> KeptConversation:
        less = kept.without_item(item_id)
        if less is None:
            raise _no_item(item_id)
        return less

    return json_answer(request, _shown(await _change(request, gateway, conversation_id, changed)))


async def _change(
    request: AnyRequest, gateway: Gateway, id: str, changed: Callable[[KeptConversation], KeptConversation]
) -> KeptConversation:
    """What a conversation has become. Raises GatewayError."""
    caller = who_calls(request, gateway)
    await _kept(gateway, caller, id)  # nobody holds what isn't there, or isn't theirs
    async with gateway.conversations.held(caller, id) as held:
        record = await held.record()
        if record is None:
            raise no_conversation(id, "conversation_id")
        kept = changed(read_conversation(record))
        await held.write(written(kept))
    return kept


async def _kept(gateway: Gateway, caller: Caller, id: str) -> KeptConversation:
    record = await gateway.conversations.find(caller, id)
    if record is None:
        raise no_conversation(id, "conversation_id")
    return read_conversation(record)


def _shown(kept: KeptConversation) -> bytes:
    return msgspec.json.encode(ConversationObject(kept.id, kept.created, kept.metadata))


def _new_id(gateway: Gateway) -> str:
    return gateway.clock.new_id().replace("-", "")


def _no_item(id: str) -> RequestError:
    return RequestError(f"Item with id '{id[:128]}' not found.", param="item_id", code="item_not_found", status=404)


_create_decoder = msgspec.json.Decoder(CreateConversationRequest)
_update_decoder = msgspec.json.Decoder(UpdateConversationRequest)
_add_decoder = msgspec.json.Decoder(AddItemsRequest)
