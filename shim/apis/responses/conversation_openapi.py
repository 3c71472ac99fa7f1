"""Conversations in the OpenAPI document, with examples that tests decode."""

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

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/conversations",
        "createConversation",
        "Make a conversation.",
        takes=CreateConversationRequest,
        examples={"empty": {}, "begun": {"items": [_ASKED], "metadata": {"topic": "demo"}}},
        gives={JSON: ConversationObject},
        example={JSON: _CONVERSATION},
        errors=(*_ERRORS, 413),
    ),
    OpenApiOperation(
        "get",
        _PATH,
        "getConversation",
        "A conversation without its items.",
        parameters=_ID,
        gives={JSON: ConversationObject},
        example={JSON: _CONVERSATION},
        errors=_ERRORS,
    ),
    OpenApiOperation(
        "post",
        _PATH,
        "updateConversation",
        "Change the metadata of a conversation.",
        parameters=_ID,
        takes=UpdateConversationRequest,
        examples={"metadata": {"metadata": {"topic": "demo"}}},
        gives={JSON: ConversationObject},
        example={JSON: _CONVERSATION},
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
    OpenApiOperation(
        "get",
        f"{_PATH}/items",
        "listConversationItems",
        "The items of a conversation.",
        parameters=_ID,
        gives={JSON: ItemList},
        example={JSON: _LIST},
        errors=_ERRORS,
    ),
    OpenApiOperation(
        "post",
        f"{_PATH}/items",
        "createConversationItems",
        "Add items to a conversation.",
        parameters=_ID,
        takes=AddItemsRequest,
        examples={"message": {"items": [_ASKED]}},
        gives={JSON: ItemList},
        example={JSON: _LIST},
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
    OpenApiOperation(
        "delete",
        f"{_PATH}/items/{{item_id}}",
        "deleteConversationItem",
        "Take an item out of a conversation.",
        parameters=_IDS,
        gives={JSON: ConversationObject},
        example={JSON: _CONVERSATION},
        errors=_ERRORS,
    ),
)
