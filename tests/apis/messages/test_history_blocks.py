"""Every member of the published unions: blocks of a message, tools. Each is shown, passed over or refused by name, and
nothing that a library can send was forgotten."""

import json
from functools import cache
from typing import Any, get_args

import pytest
import typing_extensions
from anthropic.types import ContentBlockParam, ToolUnionParam
from anthropic.types.beta import BetaContentBlockParam, BetaToolUnionParam
from anthropic.types.beta.beta_tool_result_block_param import Content as ReturnedContent
from pydantic import TypeAdapter

from shim.apis.messages.read import read
from shim.errors import RequestError
from shim.protocol.prompt import Call, File, Function, Image, PromptMessage, Result, Text

PNG = {"type": "base64", "media_type": "image/png", "data": "AA=="}
PLAIN = {"type": "text", "media_type": "text/plain", "data": "words"}
HERE = "messages[1].content[0]"
ADD = {"name": "add", "input_schema": {"type": "object"}}


def told(type: str, **content: Any) -> dict[str, Any]:
    return {"tool_use_id": "srvtoolu_1", "content": {"type": type, **content}}


def result(text: str) -> Result:
    return Result("srvtoolu_1", None, (Text(text),))


# type -> (a block, the part it comes to)
SHOWN: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({"text": "hi"}, Text("hi")),
    "image": ({"source": PNG}, Image("AA==", "base64", f"{HERE}.source.data")),
    "document": ({"source": PLAIN}, Text("words")),
    "search_result": (
        {"source": "https://a.test", "title": "A", "content": [{"type": "text", "text": "found"}]},
        Text("A (https://a.test)\nfound"),
    ),
    "tool_use": ({"id": "toolu_1", "name": "add", "input": {"a": 1}}, Call("call_1", "add", '{"a":1}')),
    "tool_result": ({"tool_use_id": "toolu_1", "content": "2"}, Result("call_1", None, (Text("2"),))),
    "server_tool_use": (
        {"id": "srvtoolu_1", "name": "bash_code_execution", "input": {"command": "ls"}},
        Call("srvtoolu_1", "bash_code_execution", '{"command":"ls"}'),
    ),
    "code_execution_tool_result": (
        told("code_execution_result", content=[], return_code=0, stderr="", stdout="a"),
        result('{"type":"code_execution_result","content":[],"return_code":0,"stderr":"","stdout":"a"}'),
    ),
    "bash_code_execution_tool_result": (
        told("bash_code_execution_result", content=[], return_code=1, stderr="b", stdout=""),
        result('{"type":"bash_code_execution_result","content":[],"return_code":1,"stderr":"b","stdout":""}'),
    ),
    "text_editor_code_execution_tool_result": (
        told("text_editor_code_execution_create_result", is_file_update=False),
        result('{"type":"text_editor_code_execution_create_result","is_file_update":false}'),
    ),
    "advisor_tool_result": (
        told("advisor_result", text="Wait."),
        result('{"type":"advisor_result","text":"Wait."}'),
    ),
    "mcp_tool_use": (
        {"id": "mcptoolu_1", "name": "read", "input": {}, "server_name": "docs"},
        Call("mcptoolu_1", "docs.read", "{}"),
    ),
    "mcp_tool_result": (
        {"tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "no"}], "is_error": True},
        Result("mcptoolu_1", None, (Text("The tool failed:"), Text("no"))),
    ),
    "container_upload": ({"file_id": "file-1"}, File("file-1", "file_id", f"{HERE}.file_id")),
    "compaction": ({"content": "All is well."}, Text("What was said before, summed up:\n\nAll is well.")),
}
TOOL = {"tool": {"type": "tool_reference", "name": "add"}}
# type -> a block that says nothing to the model
PASSED: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "hm", "signature": "x"},
    "redacted_thinking": {"data": "x"},
    "web_search_tool_result": {"tool_use_id": "srvtoolu_1", "content": []},
    "web_fetch_tool_result": told("web_fetch_tool_result_error", error_code="unavailable"),
    "tool_search_tool_result": told("tool_search_tool_search_result", tool_references=[]),
    "mcp_tool_listing": {"mcp_server_name": "docs", "tools": []},
    "fallback": {"from": {"model": "a"}, "to": {"model": "b"}},
    "tool_addition": TOOL,
    "tool_removal": TOOL,
}
BLOCKS = {kind: block for kind, (block, _) in SHOWN.items()} | PASSED
RETURNED: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({"text": "hi"}, Text("hi")),
    "image": ({"source": PNG}, Image("AA==", "base64", f"{HERE}.content[0].source.data")),
    "document": ({"source": PLAIN}, Text("words")),
    "search_result": ({"source": "s", "title": "A", "content": []}, Text("A (s)")),
    "tool_reference": ({"tool_name": "add"}, Text("add")),
    "browser_state": ({"tabs": [{"tab_id": 1}]}, Text('{"tabs":[{"tab_id":1}]}')),
}


def types_of(union: Any) -> set[str]:
    """The `type` of every member of a union of typed dicts."""
    kinds: set[str] = set()
    for member in get_args(union):
        if typing_extensions.is_typeddict(member):
            hint = typing_extensions.get_type_hints(member).get("type")
            kinds |= literals(hint)
    return kinds


def literals(hint: Any) -> set[str]:
    return {name for one in get_args(hint) for name in ({one} if isinstance(one, str) else literals(one))}


@cache
def adapter() -> TypeAdapter[Any]:
    return TypeAdapter(BetaContentBlockParam)


def asked(*blocks: dict[str, Any], strict: bool = False, **fields: Any) -> Any:
    messages = [{"role": "user", "content": "hi"}, *([{"role": "assistant", "content": blocks}] if blocks else [])]
    request = {"model": "auto", "max_tokens": 9, "messages": messages, **fields}
    return read(json.dumps(request).encode(), strict=strict)


def test_every_published_block_is_in_one_of_the_tables():
    assert types_of(ContentBlockParam) <= types_of(BetaContentBlockParam) == BLOCKS.keys()
    assert types_of(ReturnedContent) == RETURNED.keys()


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_examples_are_what_the_library_sends(kind):
    adapter().validate_python({"type": kind, **BLOCKS[kind]})


@pytest.mark.parametrize("kind", SHOWN)
def test_what_was_said_and_done_is_shown(kind):
    block, part = SHOWN[kind]
    role = "tool" if isinstance(part, Result) else "assistant"
    assert asked({"type": kind, **block}).prompt.messages[1:] == (PromptMessage(role, (part,)),)


@pytest.mark.parametrize("kind", PASSED)
def test_what_says_nothing_is_passed_over(kind):
    assert asked({"type": kind, **PASSED[kind]}).prompt.messages == (PromptMessage("user", (Text("hi"),)),)


@pytest.mark.parametrize("kind", RETURNED)
def test_what_tools_return_is_shown(kind):
    block, part = RETURNED[kind]
    returned = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": kind, **block}]}
    (message,) = asked(returned).prompt.messages[1:]
    assert message.parts == (Result("call_1", None, (part,)),)


def test_an_answer_with_tools_of_its_own_is_told_in_its_order():
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "code_execution", "input": {"code": "1"}}
    found = {"type": "code_execution_tool_result", **told("encrypted", encrypted_stdout="xyz", return_code=0)}
    search = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_search", "input": {"query": "q"}}
    messages = asked({"type": "text", "text": "a"}, search, use, found, {"type": "text", "text": "b"}).prompt.messages
    assert messages[1:] == (
        PromptMessage("assistant", (Text("a"), Call("srvtoolu_1", "code_execution", '{"code":"1"}'))),
        PromptMessage("tool", (result('{"type":"encrypted","return_code":0}'),)),
        PromptMessage("assistant", (Text("b"),)),
    )
    assert asked({"type": "compaction", "content": None}).prompt.messages[1:] == ()


def test_tools_come_and_go():
    defined = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": ADD | {"name": "late"}}}
    gone = {"type": "tool_removal", **TOOL}
    late = Function("late", f"{HERE}.tool.definition.input_schema", None, {"type": "object"})
    assert asked(defined, gone, tools=[ADD]).prompt.functions == (late,)
    back = asked(gone, {"type": "tool_addition", **TOOL}, tools=[ADD]).prompt.functions
    assert [one.name for one in back] == ["add"]
    servers = {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "docs"}}
    assert asked(servers).prompt.functions == ()


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({"type": "mcp_tool_use", "id": "x", "name": "y", "input": {}}, f"{HERE}.server_name"),
        ({"type": "code_execution_tool_result", "tool_use_id": "x", "content": "y"}, f"{HERE}.content"),
        ({"type": "container_upload"}, f"{HERE}.file_id"),
        ({"type": "magic"}, f"{HERE}.type"),
        ({"type": "tool_addition", "tool": {"type": "magic"}}, f"{HERE}.tool.type"),
    ],
)
def test_what_is_wrong_with_a_block_is_named(block, param):
    with pytest.raises(RequestError) as raised:
        asked(block)
    assert raised.value.param == param


# --- tools ------------------------------------------------------------------------------------------------------------

RUN_BY_CLIENTS = ("bash_", "text_editor_", "memory_", "computer_2")
SEARCHES = ("web_search_", "web_fetch_")
IGNORED = ("code_execution_", "tool_search_tool_", "advisor_")
UNSERVED = ("browser_toolset_", "computer_toolset_", "mcp_toolset")
TYPES = sorted(types_of(BetaToolUnionParam) | types_of(ToolUnionParam))


def test_every_published_tool_is_in_one_of_the_tables():
    ways = (*RUN_BY_CLIENTS, *SEARCHES, *IGNORED, *UNSERVED, "custom")
    assert {kind: sum(kind.startswith(way) for way in ways) for kind in TYPES} == dict.fromkeys(TYPES, 1)


@pytest.mark.parametrize("kind", TYPES)
def test_each_tool_is_taken_ignored_or_refused(kind):
    tool = {"type": kind, "name": "x", **({"input_schema": {}} if kind == "custom" else {})}
    if kind.startswith(UNSERVED):
        with pytest.raises(RequestError) as raised:
            asked(tools=[{"type": kind, "mcp_server_name": "docs"}])
        assert (raised.value.param, raised.value.code) == ("tools[0].type", "unsupported_tool")
    elif kind.startswith(IGNORED):
        (name,) = asked(tools=[tool]).ignored
        assert kind.startswith(name.removeprefix("tools."))
        with pytest.raises(RequestError) as raised:
            asked(tools=[tool], strict=True)
        assert (raised.value.param, raised.value.code) == (name, "unsupported_parameter")
    elif kind.startswith(SEARCHES):
        assert asked(tools=[tool]).prompt.wishes.hints == frozenset({"search"})
    else:
        assert [one.name for one in asked(tools=[tool]).prompt.functions] == ["x"]


def test_a_tool_has_a_name():
    with pytest.raises(RequestError) as raised:
        asked(tools=[{"input_schema": {}}])
    assert (raised.value.param, raised.value.code) == ("tools[0].name", "missing_required_parameter")
