"""What is wrong with a request although every field has its type: found before an account is taken.

Rule: a table of checks; each raises RequestError (400) naming the `param`, or does nothing.
"""

from collections.abc import Callable
from typing import Any

from shim.apis.chat.wire import ChatRequest, JsonSchemaFormat, NamedToolChoice
from shim.errors import RequestError

CheckSchema = Callable[[dict[str, Any], str], None]
"""(JSON schema, its param): raises RequestError where it is none"""

_NOT_KEPT = "Chats are not kept here (HISTORY_DISABLED), so there is no conversation to go on with."


def check_request(
    request: ChatRequest, *, kept: bool, check_parameters: CheckSchema, check_schema: CheckSchema
) -> None:
    """Raises RequestError (400) where the request can't be served as it stands. `kept` says that chats are; the schemas
    of functions have to describe an object, the one of an answer may describe anything."""
    for check in _CHECKS:
        check(request)
    if request.conversation_id and not kept:
        raise RequestError(_NOT_KEPT, param="conversation_id", code="history_disabled")
    for place, tool in enumerate(request.tools or ()):
        check_parameters(tool.function.parameters or {}, f"tools[{place}].function.parameters")
    if isinstance(request.response_format, JsonSchemaFormat):
        check_schema(request.response_format.json_schema.schema or {}, "response_format.json_schema.schema")


def _messages(request: ChatRequest) -> None:
    if not request.messages:
        raise RequestError("'messages' must not be empty.", param="messages", code="empty_array")


def _parent(request: ChatRequest) -> None:
    if request.conversation_id and not request.parent_message_id:
        raise RequestError(
            "Missing required parameter: 'parent_message_id' (the 'message_id' that came with the conversation).",
            param="parent_message_id",
            code="missing_required_parameter",
        )


def _stop(request: ChatRequest) -> None:
    if request.stop == "" or (isinstance(request.stop, list) and "" in request.stop):
        raise RequestError("A stop sequence must not be empty.", param="stop", code="invalid_value")


def _tool_names(request: ChatRequest) -> None:
    names: set[str] = set()
    for place, tool in enumerate(request.tools or ()):
        if tool.function.name in names:
            param = f"tools[{place}].function.name"
            raise RequestError(f"There are two functions called '{tool.function.name}'.", param=param, code="duplicate")
        names.add(tool.function.name)


def _tool_choice(request: ChatRequest) -> None:
    choice = request.tool_choice
    if choice in {None, "none", "auto"}:
        return
    if not request.tools:
        raise RequestError("'tool_choice' needs 'tools'.", param="tool_choice", code="invalid_value")
    if isinstance(choice, NamedToolChoice) and all(
        tool.function.name != choice.function.name for tool in request.tools
    ):
        raise RequestError(
            f"There is no function called '{choice.function.name}' in 'tools'.",
            param="tool_choice.function.name",
            code="invalid_value",
        )


_CHECKS = (_messages, _parent, _stop, _tool_names, _tool_choice)
