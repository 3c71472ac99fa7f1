"""What the model is told of functions, and how earlier calls and their results are written down for it.

Rule: one convention (docs/tools.md), taught here, shown in the history as it was taught, and read by `call_blocks`.
"""

from collections.abc import Sequence

import msgspec

from shim.apis.chat.wire import ChatMessage, NamedToolChoice, Tool, ToolCall, ToolChoice
from shim.protocol.shaping.call_blocks import CALL_CLOSES, CALL_OPENS, RESULT_CLOSES, RESULT_OPENS

_INTRODUCTION = f"""\
# Functions

The program you answer to can run functions for you. To call one, write a block of exactly this form, its marks on \
lines of their own and not in a code fence:

{CALL_OPENS}
{{"name": "the_name", "arguments": {{"parameter": "value"}}}}
{CALL_CLOSES}

- Between the marks stands one JSON object, valid and complete. `arguments` fits the function's JSON schema.
- Call only functions of the list below, and never state a result that you have not been given.
- Stop writing after the last block. The results come with the next message, as `{RESULT_OPENS} id="...">` blocks; \
the `id` is given to each call afterwards, so write none yourself.
- To write about these marks without calling, put them in a code fence or between backticks."""

_CHOICES: dict[str, str] = {
    "auto": "Call functions where they help; otherwise answer as usual.",
    "required": "You have to call at least one function now. Write only the block, no other words.",
}
_NAMED = "You have to call the function `{name}` now, and no other one. Write only the block, no other words."
_SEVERAL = "You may call several functions at once: write one block after the other."
_ONE = "Call one function at most in one answer."
_ESCAPED_CLOSES = RESULT_CLOSES.replace("/", "\\/")


def tool_instructions(tools: Sequence[Tool], choice: ToolChoice, *, parallel: bool) -> str:
    """The system text that teaches the convention, lists the functions and says what is expected of this answer.

    Empty where there is nothing to call, or `choice` is "none".
    """
    if not tools or choice == "none":
        return ""
    expected = f"{_expected(choice)} {_SEVERAL if parallel else _ONE}"
    return "\n\n".join((_INTRODUCTION, expected, "## The functions", *map(_listed, tools)))


def history_text(message: ChatMessage, text: str) -> str:
    """A message of the history as the model reads it; `text` is its content as text.

    Calls stand behind the text of the assistant that made them. A tool's or function's text becomes a result block.
    """
    if message.role in {"tool", "function"}:
        return _result(message, text)
    return "\n\n".join(filter(None, (text, *map(_called, message.tool_calls or ()))))


def _expected(choice: ToolChoice) -> str:
    return _NAMED.format(name=choice.function.name) if isinstance(choice, NamedToolChoice) else _CHOICES[choice]


def _listed(tool: Tool) -> str:
    """One function: its name, what it is for, and the schema of its arguments."""
    function = tool.function
    described = f"{function.description.strip()}\n" if function.description else ""
    return f"### {function.name}\n{described}Arguments: {_json(function.parameters or _NO_PARAMETERS)}"


def _called(call: ToolCall) -> str:
    written = {"id": call.id, "name": call.function.name, "arguments": _arguments(call.function.arguments)}
    return f"{CALL_OPENS}\n{_json(written)}\n{CALL_CLOSES}"


def _arguments(text: str) -> msgspec.Raw | str:
    """The JSON of a call as it is; what a client sent that is not JSON, as a string."""
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
    return msgspec.Raw(text.encode())


def _result(message: ChatMessage, text: str) -> str:
    attributes = (("id", message.tool_call_id), ("name", message.name))
    named = "".join(f" {key}={_json(value)}" for key, value in attributes if value)
    return f"{RESULT_OPENS}{named}>\n{text.replace(RESULT_CLOSES, _ESCAPED_CLOSES)}\n{RESULT_CLOSES}"


def _json(value: object) -> str:
    return _encode(value).decode()


_NO_PARAMETERS = {"type": "object", "properties": {}}
_encode = msgspec.json.Encoder().encode
