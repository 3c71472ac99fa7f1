"""Items of an input become messages of a prompt. Every `param` an error about them names is composed here."""

import base64
from collections.abc import Callable, Iterator, Sequence

import msgspec

from shim.apis.decoding import missing
from shim.apis.named_files import file_of
from shim.apis.responses import wire
from shim.apis.responses.tools import INPUT, name_in
from shim.errors import RequestError
from shim.protocol.prompt import Call, File, Image, PromptMessage, Result, Role, Text
from shim.protocol.turn.inline_files import form_of_url

_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_CALLS = frozenset({"function_call", "custom_tool_call"})
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output", "local_shell_call_output"})
# What a model's own tools left behind: it has no use for it in words.
_READ_OVER = frozenset(
    {
        "reasoning",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "local_shell_call",
        "mcp_list_tools",
        "mcp_call",
        "additional_tools",
    }
)
_COMPACTED = "compaction"
_SUMMARY = "c2a."  # what the summaries that were made here begin with

Recall = Callable[[str, str], Sequence[PromptMessage]]
"""(id of a kept item, its field) -> what it said. Raises RequestError (404)"""


def messages_of(items: str | list[wire.GivenItem], field: str, recall: Recall) -> tuple[PromptMessage, ...]:
    """The messages that items come to. Words and calls of one answer are one message. Raises RequestError."""
    if isinstance(items, str):
        return (PromptMessage("user", (Text(items),)),)
    return joined(
        message for place, item in enumerate(items) for message in _message(item, f"{field}[{place}]", recall)
    )


def joined(messages: Iterator[PromptMessage]) -> tuple[PromptMessage, ...]:
    """The same with calls behind the words they belong to."""
    whole: list[PromptMessage] = []
    for message in messages:
        before = whole[-1] if whole else None
        only_calls = bool(message.parts) and all(isinstance(part, Call) for part in message.parts)
        if before is not None and before.role == message.role == "assistant" and only_calls:
            whole[-1] = PromptMessage("assistant", (*before.parts, *message.parts))
        else:
            whole.append(message)
    return tuple(whole)


def _message(item: wire.GivenItem, field: str, recall: Recall) -> Iterator[PromptMessage]:
    kind = item.type or ("message" if item.role else "item_reference")
    if kind == "message":
        if item.role is None:
            raise missing(f"{field}.role")
        yield PromptMessage(_ROLES[item.role], tuple(_parts(item.content, f"{field}.content")))
    elif kind in _CALLS:
        yield PromptMessage("assistant", (_call(item, kind, field),))
    elif kind in _RESULTS:
        id = item.call_id or item.id
        if id is None:
            raise missing(f"{field}.call_id")
        yield PromptMessage("tool", (Result(id, None, tuple(_output(item.output, f"{field}.output"))),))
    elif kind == "item_reference":
        if item.id is None:
            raise missing(f"{field}.id")
        yield from recall(item.id, f"{field}.id")
    elif kind == _COMPACTED:
        summary = _summary_in(item.encrypted_content or "", f"{field}.encrypted_content")
        yield PromptMessage("system", (Text(f"What was said before, summed up:\n\n{summary}"),))
    elif kind not in _READ_OVER:
        text = f"Items of the type '{kind[:64]}' are not served here."
        raise RequestError(text, param=f"{field}.type", code="unsupported_item")


def sealed_summary(text: str) -> str:
    """A summary as a client keeps it."""
    return _SUMMARY + base64.urlsafe_b64encode(text.encode()).decode()


def _summary_in(sealed: str, field: str) -> str:
    try:
        if sealed.startswith(_SUMMARY):
            return base64.b64decode(sealed[len(_SUMMARY) :], altchars=b"-_", validate=True).decode()
    except (ValueError, UnicodeDecodeError):
        pass
    text = "Only what this gateway has summed up itself can be read: send the history in its place."
    raise RequestError(text, param=field, code="invalid_encrypted_content")


def _call(item: wire.GivenItem, kind: str, field: str) -> Call:
    for name in ("call_id", "name"):
        if getattr(item, name) is None:
            raise missing(f"{field}.{name}")
    given = item.arguments if kind == "function_call" else {INPUT: item.input or ""}
    arguments = given if isinstance(given, str) else msgspec.json.encode(given or {}).decode()
    return Call(item.call_id or "", name_in(item.namespace, item.name or ""), arguments)


def _output(output: object, field: str) -> Iterator[Text | Image | File]:
    if isinstance(output, dict):
        yield Text(msgspec.json.encode(output).decode())
    else:
        yield from _parts(output, field)  # type: ignore[arg-type]  # the struct has said so


def _parts(content: str | list[wire.ItemContent] | None, field: str) -> Iterator[Text | Image | File]:
    if not isinstance(content, list):
        yield Text(content or "")
        return
    for place, part in enumerate(content):
        yield _part(part, f"{field}[{place}]")


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


_DETAILS = {"low": "low", "high": "high", "original": "high"}
