"""What the model is told of functions, and how earlier calls and their results are written down for it.

Rule: one convention (docs/tools.md), taught here, shown in the history as it was taught, and read by `call_blocks`.
"""

from collections.abc import Sequence

import msgspec

from shim.protocol.prompt import Call, Function, FunctionChoice, OnlyFunction, PromptMessage, Result, Text
from shim.protocol.shaping.call_blocks import Marks, without_marks

_INTRODUCTION = """\
# Functions

The program you answer to can run functions for you. To call one, write a block of exactly this form, its marks on \
lines of their own and not in a code fence:

{call_opens}
{{"name": "the_name", "arguments": {{"parameter": "value"}}}}
{call_closes}

- Between the marks stands one JSON object, valid and complete. `arguments` fits the function's JSON schema.
- Call only functions of the list below, and never state a result that you have not been given.
- Stop writing after the last block. The results come with the next message, as `{result_opens} id="...">` blocks; \
the `id` is given to each call afterwards, so write none yourself.
- The marks are new with every message: use these, never those of an earlier one.
- To write about these marks without calling, put them in a code fence or between backticks."""

_CHOICES: dict[str, str] = {
    "auto": "Call functions where they help; otherwise answer as usual.",
    "required": "You have to call at least one function now. Write only the block, no other words.",
}
_NAMED = "You have to call the function `{name}` now, and no other one. Write only the block, no other words."
_SEVERAL = "You may call several functions at once: write one block after the other."
_ONE = "Call one function at most in one answer."


def tool_instructions(
    functions: Sequence[Function],
    choice: FunctionChoice,
    *,
    parallel: bool,
    marks: Marks = Marks(),  # noqa: B008  frozen
) -> str:
    """The system text that teaches the convention, lists the functions and says what is expected of this answer.

    Empty where there is nothing to call, or `choice` is "none".
    """
    if not functions or choice == "none":
        return ""
    named = _NAMED.format(name=choice.name) if isinstance(choice, OnlyFunction) else _CHOICES[choice]
    expected = f"{named} {_SEVERAL if parallel else _ONE}"
    introduction = _INTRODUCTION.format(
        call_opens=marks.call_opens, call_closes=marks.call_closes, result_opens=marks.result_opens
    )
    sections = [introduction, expected, "## The functions"]
    for function in functions:
        described = f"{function.description.strip()}\n" if function.description else ""
        schema = _json(function.schema or _NO_PARAMETERS)
        sections.append(f"### {function.name}\n{described}Arguments: {schema}")
    return "\n\n".join(sections)


def history_text(message: PromptMessage, marks: Marks = Marks()) -> str:  # noqa: B008  frozen
    """A message of the history as the model reads it.

    Calls stand behind the text of the assistant that made them. Each result becomes a block.
    """
    if message.role != "tool":
        return "\n\n".join(filter(None, (message.text, *(_called(call, marks) for call in message.calls))))
    blocks: list[str] = []
    for result in message.parts:
        if isinstance(result, Result):
            # What a function returned is others' words: none of it may look like a mark of ours.
            text = without_marks("\n".join(part.text for part in result.content if isinstance(part, Text)))
            attributes = (("id", result.call_id), ("name", result.name))
            named = "".join(f" {key}={_json(value)}" for key, value in attributes if value)
            blocks.append(f"{marks.result_opens}{named}>\n{text}\n{marks.result_closes}")
    return "\n\n".join(blocks)


def _called(call: Call, marks: Marks) -> str:
    try:
        msgspec.json.decode(call.arguments)
    except (ValueError, RecursionError):
        arguments: msgspec.Raw | str = call.arguments  # a client sent what is not JSON: told as a string
    else:
        arguments = msgspec.Raw(call.arguments.encode())
    named = {"id": call.id} if call.id else {}  # the older convention's calls have no id
    written = named | {"name": call.name, "arguments": arguments}
    return f"{marks.call_opens}\n{_json(written)}\n{marks.call_closes}"


def _json(value: object) -> str:
    return _encode(value).decode()


_NO_PARAMETERS = {"type": "object", "properties": {}}
_encode = msgspec.json.Encoder().encode
