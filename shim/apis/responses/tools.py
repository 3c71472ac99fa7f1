"""The tools of a request: those of the client's become functions, those of ChatGPT's own are its own business.

Rule: a tool whose calls somebody has to answer who is not there (a computer, an MCP server, a file store) is refused by
name; one that a client names in every request, and can do without, is ignored, and said to be.
"""

from typing import Literal

import msgspec

from shim.apis.decoding import converted, missing
from shim.apis.responses import wire
from shim.errors import RequestError
from shim.protocol.prompt import Builtin, Function, FunctionChoice, Hint, OnlyFunction

# Types of tools -> what ChatGPT has for them.
_OWN: dict[str, Builtin] = {
    "web_search": "web_search",
    "web_search_2025_08_26": "web_search",
    "web_search_preview": "web_search",
    "web_search_preview_2025_03_11": "web_search",
    "image_generation": "image_generation",
}
_HINTS: dict[Builtin, Hint] = {"web_search": "search", "image_generation": "picture"}
# ChatGPT runs code by itself; the others are ways to call what the client also has functions for.
_IGNORED = frozenset(
    {"code_interpreter", "local_shell", "shell", "apply_patch", "tool_search", "programmatic_tool_calling"}
)
_SERVED = frozenset({"function", "custom"})
_BRINGS_TOOLS = frozenset({"additional_tools", "tool_search_output"})
INPUT = "input"
"""The one argument that a custom tool has as a function"""
_CUSTOM = {"type": "object", "properties": {INPUT: {"type": "string"}}, "required": [INPUT]}


class ToolNames(msgspec.Struct, frozen=True):
    """How functions are told of again: which of them are custom tools, and which belong to a namespace (by the name
    that the model knows: its namespace and its own)."""

    custom: frozenset[str] = frozenset()
    spaces: dict[str, tuple[str, str]] = {}


class Tools(msgspec.Struct, frozen=True):
    """What the tools of a request come to. `ignored` are the types that have no effect."""

    functions: tuple[Function, ...] = ()
    choice: FunctionChoice = "auto"
    builtins: frozenset[Builtin] = frozenset()
    hints: frozenset[Hint] = frozenset()
    names: ToolNames = ToolNames()
    ignored: tuple[str, ...] = ()


def name_in(space: str | None, name: str) -> str:
    """What the model calls a function of a namespace."""
    return f"{space}.{name}" if space else name


def tools_of(request: wire.CountInputRequest) -> Tools:
    """The tools and what is expected of the answer. Raises RequestError (400)."""
    functions: dict[str, Function] = {}
    custom: set[str] = set()
    spaces: dict[str, tuple[str, str]] = {}
    own: set[Builtin] = set()
    ignored: list[str] = []
    for space, tool, param, is_late in _given(request):
        if tool.type in _OWN:
            own.add(_OWN[tool.type])
        # A history brings a tool again that the request names as well, which is no mistake.
        elif is_late and (tool.type not in _SERVED or name_in(space, tool.name or "") in functions):
            continue
        elif tool.type in _IGNORED:
            ignored.append(f"tools.{tool.type}")
        elif tool.type in _SERVED:
            function = _function(space, tool, param)
            if function.name in functions:
                text = f"There are two tools called '{function.name}'."
                raise RequestError(text, param=f"{param}.name", code="duplicate")
            functions[function.name] = function
            if tool.type == "custom":
                custom.add(function.name)
            if space:
                spaces[function.name] = space, tool.name or ""
        else:
            raise _no_such_tool(tool.type, f"{param}.type")
    tools = Tools(
        tuple(functions.values()),
        builtins=frozenset(own),
        names=ToolNames(frozenset(custom), spaces),
        ignored=tuple(dict.fromkeys(ignored)),
    )
    return _chosen(tools, request.tool_choice or "auto")


_Given = tuple[str | None, wire.GivenFunction, str, bool]
"""(namespace of a tool, the tool, the name of its field, whether an item of the input has brought it)"""


def _given(request: wire.CountInputRequest) -> list[_Given]:
    given = _flat(request.tools or [])
    for place, item in enumerate(request.input if isinstance(request.input, list) else ()):
        if item.type in _BRINGS_TOOLS:
            field = f"input[{place}]"
            tools = converted(item.tools, wire.BroughtTools, f"{field}.tools")
            given += _flat(tools or [], within=f"{field}.", is_late=True)
    return given


def _flat(
    tools: list[wire.GivenFunction], space: str | None = None, within: str = "", *, is_late: bool = False
) -> list[_Given]:
    """Every tool, those of a namespace one by one."""
    flat: list[_Given] = []
    for place, tool in enumerate(tools):
        param = f"{within}tools[{place}]"
        # One level deep: the real API has no namespaces within others.
        if tool.type == "namespace" and space is None:
            if tool.name is None:
                raise missing(f"{param}.name")
            flat += _flat(tool.tools or [], tool.name, f"{param}.", is_late=is_late)
        else:
            flat.append((space, tool, param, is_late))
    return flat


def _function(space: str | None, tool: wire.GivenFunction, param: str) -> Function:
    if tool.name is None:
        raise missing(f"{param}.name")
    name = name_in(space, tool.name)
    if tool.type == "function":
        return Function(name, f"{param}.parameters", tool.description, tool.parameters)
    told = [tool.description or ""]
    if (form := tool.format) is not None and form.definition:
        told.append(f"The input is text that fits this grammar ({form.syntax or form.type}):\n{form.definition}")
    return Function(name, param, "\n\n".join(filter(None, told)) or None, _CUSTOM)


def _chosen(tools: Tools, choice: Literal["none", "auto", "required"] | wire.GivenChoice) -> Tools:
    replace = msgspec.structs.replace
    if isinstance(choice, str):
        if choice != "required" or tools.functions:
            return replace(tools, choice=choice)
        # A tool of ChatGPT's own can't be ordered, only hinted at.
        if not tools.builtins:
            raise RequestError("'tool_choice' needs 'tools'.", param="tool_choice", code="invalid_value")
        return replace(tools, hints=frozenset(_HINTS[one] for one in tools.builtins))
    if choice.type == "allowed_tools":
        allowed = choice.tools or []
        if not allowed:
            raise missing("tool_choice.tools")
        kept: set[str] = set()
        own: set[Builtin] = set()
        for place, picked in enumerate(allowed):
            param = f"tool_choice.tools[{place}]"
            if picked.type in _OWN:
                own.add(_OWN[picked.type])
            else:
                kept.add(_known(picked.type, picked.name, tools, param))
        left = tuple(one for one in tools.functions if one.name in kept)
        only = replace(tools, functions=left, builtins=tools.builtins & own)
        return _chosen(only, choice.mode or "auto")
    if choice.type in _OWN:
        if _OWN[choice.type] not in tools.builtins:
            raise _unknown(choice.type, "tool_choice.type")
        # Nor may a function of the client's be called in its place.
        return replace(tools, choice="none", hints=frozenset({_HINTS[_OWN[choice.type]]}))
    return replace(tools, choice=OnlyFunction(_known(choice.type, choice.name, tools, "tool_choice")))


def _known(kind: str, name: str | None, tools: Tools, param: str) -> str:
    if kind not in _SERVED:
        raise _no_such_tool(kind, f"{param}.type")
    if name is None:
        raise missing(f"{param}.name")
    if all(function.name != name for function in tools.functions):
        raise _unknown(name, f"{param}.name")
    return name


def _unknown(name: str, param: str) -> RequestError:
    return RequestError(f"There is no tool called '{name[:128]}' in 'tools'.", param=param, code="invalid_value")


def _no_such_tool(kind: str, param: str) -> RequestError:
    text = f"Tools of the type '{kind[:64]}' are not served here: only your own, web_search and image_generation."
    return RequestError(text, param=param, code="unsupported_tool")
