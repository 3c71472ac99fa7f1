"""Conversations in the OpenAPI document, with examples that tests decode."""

from functools import partial

import msgspec

from shim.apis.responses.conversation_wire import (
    AddItemsRequest,
    ConversationObject,
    CreateConversationRequest,
    DeletedConversation,
    UpdateConversationRequest,
)
from shim.apis.responses.wire import ItemList
from shim.http.openapi import JSON, OpenApiOperation

_PATH = "/v1/conversations/{conversation_id}"
_ID = {"conversation_id": "The id that the conversation was made with."}
_IDS = _ID | {"item_id": "The id of one of its items."}
_ASKED = {"type": "message", "role": "user", "content": "Hi"}
_ITEM = (
    b'{"id":"msg_0","type":"message","role":"user","status":"completed","content":[{"type":"input_text","text":"Hi"}]}'
)
_CONVERSATION = ConversationObject("conv_1", 1741288944, {"topic": "demo"})
_LIST = ItemList([msgspec.Raw(_ITEM)], "msg_0", "msg_0", has_more=False)
_ERRORS = (400, 401, 404, 503)

# What most of them answer with: the conversation, or some of its items.
_gives_it = partial(OpenApiOperation, gives={JSON: ConversationObject}, example={JSON: _CONVERSATION}, errors=_ERRORS)
_gives_items = partial(OpenApiOperation, parameters=_ID, gives={JSON: ItemList}, example={JSON: _LIST}, errors=_ERRORS)

OPERATIONS = (
    _gives_it(
        "post",
        "/v1/conversations",
        "createConversation",
        "Make a conversation.",
        takes=CreateConversationRequest,
        examples={"empty": {}, "begun": {"items": [_ASKED], "metadata": {"topic": "demo"}}},
        errors=(*_ERRORS, 413),
    ),
    _gives_it(
        "get",
        _PATH,
        "getConversation",
        "A conversation without its items.",
        parameters=_ID,
    ),
    _gives_it(
        "post",
        _PATH,
        "updateConversation",
        "Change the metadata of a conversation.",
        parameters=_ID,
        takes=UpdateConversationRequest,
        examples={"metadata": {"metadata": {"topic": "demo"}}},
        errors=(*_ERRORS, 413),
    ),
    OpenApiOperation(
        "delete",
        _PATH,
        "deleteConversation",
        "Forget a conversation.",
        parameters=_ID,
        gives={JSON: DeletedConversation},
        example={JSON: DeletedConversation("conv_1")},
        errors=_ERRORS,
    ),
    _gives_items(
        "get",
        f"{_PATH}/items",
        "listConversationItems",
        "The items of a conversation.",
    ),
    _gives_items(
        "post",
        f"{_PATH}/items",
        "createConversationItems",
        "Add items to a conversation.",
        takes=AddItemsRequest,
        examples={"message": {"items": [_ASKED]}},
        errors=(*_ERRORS, 413),
    ),
    OpenApiOperation(
        "get",
        f"{_PATH}/items/{{item_id}}",
        "getConversationItem",
        "An item of a conversation.",
        parameters=_IDS,
        gives={JSON: dict},
        example={JSON: msgspec.Raw(_ITEM)},
        errors=_ERRORS,
    ),
    _gives_it(
        "delete",
        f"{_PATH}/items/{{item_id}}",
        "deleteConversationItem",
        "Take an item out of a conversation.",
        parameters=_IDS,
    ),
)
