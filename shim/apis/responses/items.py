"""Items of an input become messages of a prompt. Every `param` an error about them names is composed here."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, get_args

import msgspec

from shim.apis.decoding import converted, missing, written
from shim.apis.named_files import file_of
from shim.apis.responses import wire
from shim.apis.responses.tool_items import ToolItem
from shim.apis.responses.tools import INPUT, name_in
from shim.errors import RequestError
from shim.protocol.prompt import Call, File, Image, PromptMessage, Result, Role, Text
from shim.protocol.turn.inline_files import form_of_url

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})
_TOOL_ITEMS = frozenset(kind.__struct_config__.tag for kind in get_args(ToolItem))
PASSED_OVER = {
    "reasoning": "thinking is not said again, and nobody else can read what is encrypted",
    "web_search_call": "what was found is in the answer's words, with its links",
    "mcp_list_tools": "those tools can't be called here",
    "additional_tools": "its tools are told with those of the request",
    "tool_search_call": "what was looked for is there",
    "tool_search_output": "its tools are told with those of the request",
    "configuration_update": "it is honoured where the request's own fields are",
    "ghost_snapshot": "it is Codex's own, and no part of the talk",
}
"""Types of items that are not shown to the model, and why"""
_NAMING = frozenset({None, "item_reference", "image_generation_call"})
_COMPACTED = "compaction"
_COMPACTIONS = frozenset({_COMPACTED, "compaction_summary", "context_compaction"})  # the last two are Codex's
_TRIGGER = "compaction_trigger"
_SUMMARY = "c2a."  # what the summaries that were made here begin with

Recall = Callable[[str, str], Sequence[PromptMessage]]
"""(id of a kept item, its field) -> what it said. Raises RequestError (404)"""


def messages_of(items: str | list[wire.GivenItem], field: str, recall: Recall) -> tuple[PromptMessage, ...]:
    """The messages that items come to. Words and calls of one answer are one message. Raises RequestError."""
    if isinstance(items, str):
        return (PromptMessage("user", (Text(items),)),)
    said: list[PromptMessage] = []
    for place, item in enumerate(items):
        for message in _messages(item, f"{field}[{place}]", recall):
            before = said[-1] if said else None
            if before is None or not before.role == message.role == "assistant":
                said.append(message)
            elif message.parts and all(isinstance(part, Call) for part in message.parts):
                said[-1] = PromptMessage("assistant", (*before.parts, *message.parts))
            else:
                said.append(message)
    return tuple(said)


def _messages(item: wire.GivenItem, field: str, recall: Recall) -> Sequence[PromptMessage]:
    kind = item.type or "message"
    said: Sequence[PromptMessage] = ()
    if is_named(item):
        if item.id is None:
            raise missing(f"{field}.id")
        said = recall(item.id, f"{field}.id")
    elif kind == "message":
        if item.role is None:
            raise missing(f"{field}.role")
        said = (PromptMessage(_ROLES[item.role], _parts(item.content, f"{field}.content")),)
    elif kind in _CALLS:
        said = (PromptMessage("assistant", (_call(item, kind, field),)),)
    elif kind in _RESULTS:
        said = (_result(item, field),)
    elif kind in _TOOL_ITEMS:
        given = {name: value for name, value in msgspec.structs.asdict(item).items() if value is not None}
        tool_item: ToolItem = converted(given, ToolItem, field)
        said = tool_item.messages(field)
    elif kind in _COMPACTIONS:
        said = _summed_up(item.encrypted_content, kind, f"{field}.encrypted_content")
    elif kind not in PASSED_OVER:
        instead = ": send the history to /v1/responses/compact" if kind == _TRIGGER else ""
        text = f"Items of the type '{kind[:64]}' are not served here{instead}."
        raise RequestError(text, param=f"{field}.type", code="unsupported_item")
    return said


def is_named(item: wire.GivenItem) -> bool:
    """Whether an item is only the name of a kept one."""
    if item.type not in _NAMING:
        return False
    return is_name(item.type, has_role=item.role is not None, has_more=(item.result, item.status) != (None, None))


def is_name(kind: str | None, *, has_role: bool, has_more: bool) -> bool:
    """The same of an item of this type: a reference, or a picture's id without (`has_more`) its result or status."""
    if kind is None:
        return not has_role
    return kind == "item_reference" or (kind == "image_generation_call" and not has_more)


def _result(item: wire.GivenItem, field: str) -> PromptMessage:
    """What a call returned: by the call's id, or by the function's name where there is none."""
    id = item.call_id or item.id
    name = None if id is not None or item.name is None else name_in(item.namespace, item.name)
    if id is None and name is None:
        raise missing(f"{field}.call_id")
    # Text as it is, which it nearly always is: half of a coding agent's history are results.
    output = item.output
    if not isinstance(output, str):
        output = converted(output, wire.ReturnedOutput, f"{field}.output")
    told = (Text(written(output)),) if isinstance(output, dict) else _parts(output, f"{field}.output")
    return PromptMessage("tool", (Result(id, name, told),))


def sealed_summary(text: str) -> str:
    """A summary as a client keeps it."""
    return _SUMMARY + base64.urlsafe_b64encode(text.encode()).decode()


def _summed_up(sealed: str | None, kind: str, field: str) -> tuple[PromptMessage, ...]:
    # Codex sends one that came to nothing, without what it would hold.
    if sealed is None and kind != _COMPACTED:
        return ()
    try:
        if sealed is not None and sealed.startswith(_SUMMARY):
            summary = base64.b64decode(sealed[len(_SUMMARY) :], altchars=b"-_", validate=True).decode()
            return (PromptMessage("system", (Text(f"What was said before, summed up:\n\n{summary}"),)),)
    except (ValueError, UnicodeDecodeError):
        pass  # cut short, or made by somebody else: refused below as that is
    text = "Only what this gateway has summed up itself can be read: send the history in its place."
    raise RequestError(text, param=field, code="invalid_encrypted_content")


def _call(item: wire.GivenItem, kind: str, field: str) -> Call:
    if item.call_id is None:
        raise missing(f"{field}.call_id")
    if item.name is None:
        raise missing(f"{field}.name")
    if kind == "custom_tool_call":
        arguments = written({INPUT: item.input or ""})
    elif isinstance(item.arguments, str):
        arguments = item.arguments
    else:
        # As an object, which the real API does not take, but clients that build their history by hand send.
        arguments = written(converted(item.arguments, _Arguments, f"{field}.arguments") or {})
    return Call(item.call_id, name_in(item.namespace, item.name), arguments)


def _parts(content: str | list[wire.ItemContent] | None, field: str) -> tuple[Text | Image | File, ...]:
    if isinstance(content, list):
        return tuple([_part(part, f"{field}[{place}]") for place, part in enumerate(content)])
    return (Text(content or ""),)


def _part(part: wire.ItemContent, field: str) -> Text | Image | File:
    match part:
        case wire.RefusalContent(refusal=text):
            return Text(text)
        case wire.ImageContent(image_url=str() as url, detail=detail):
            return Image(url.strip(), form_of_url(url), f"{field}.image_url", _DETAILS.get(detail or "", "auto"))
        case wire.ImageContent(file_id=file_id):
            if not file_id:
                raise missing(f"{field}.image_url")
            return Image(file_id, "file_id", f"{field}.file_id", _DETAILS.get(part.detail or "", "auto"))
        case wire.FileContent():
            return file_of(part, field)
        case wire.AudioContent():
            text = "Content parts of type 'input_audio' are not supported."
            raise RequestError(text, param=f"{field}.type", code="unsupported_content")
        case _:
            return Text(part.text)


# Text is not converted, but has to be named where neither was sent.
_Arguments = str | dict[str, Any] | None
_DETAILS = {"low": "low", "high": "high", "original": "high"}
