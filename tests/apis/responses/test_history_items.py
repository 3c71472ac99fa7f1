"""Every member of the published unions: items of an input, tools, what may be included. Each is taken, passed over for
a reason, or refused by name, and nothing that a library can send was forgotten."""

import json
from functools import cache
from typing import Any, get_args

import msgspec
import pytest
import typing_extensions
from openai.types.responses.response_create_params import ToolChoice
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from pydantic import TypeAdapter

from shim.apis.responses.items import PASSED_OVER, sealed_summary
from shim.apis.responses.read import read
from shim.apis.responses.tool_items import NOT_KEPT
from shim.errors import RequestError
from shim.protocol.prompt import Call, Function, Image, JsonAnswer, PromptMessage, Result, Text

PIXEL = "iVBORw0KGgo="
ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}
SCREEN = {"type": "computer_screenshot", "image_url": "data:image/png;base64,AA=="}
CLICK = {"type": "click", "button": "left", "x": 1, "y": 2}
EXIT = {"type": "exit", "exit_code": 0}
DIFF = {"type": "update_file", "path": "a.py", "diff": "@@"}
LOCAL = {"type": "exec", "command": ["ls"], "env": {}}
MCP = {"server_label": "docs", "name": "read", "arguments": "{}"}


def called(id: str, name: str, **arguments: Any) -> PromptMessage:
    return PromptMessage("assistant", (Call(id, name, msgspec.json.encode(arguments).decode()),))


def returned(id: str, said: str | Image) -> PromptMessage:
    part = Text(said) if isinstance(said, str) else said
    return PromptMessage("tool", (Result(id, None, (part,)),))


# type -> (an item, the messages it comes to)
SHOWN: dict[str, tuple[dict[str, Any], list[PromptMessage]]] = {
    "message": ({"role": "user", "content": "hi"}, [PromptMessage("user", (Text("hi"),))]),
    "function_call": ({"call_id": "c1", "name": "add", "arguments": "{}"}, [called("c1", "add")]),
    "function_call_output": ({"call_id": "c1", "output": "2"}, [returned("c1", "2")]),
    "custom_tool_call": ({"call_id": "c1", "name": "x", "input": "y"}, [called("c1", "x", input="y")]),
    "custom_tool_call_output": ({"call_id": "c1", "output": "z"}, [returned("c1", "z")]),
    "local_shell_call": (
        {"id": "l1", "call_id": "c1", "action": LOCAL, "status": "completed"},
        [called("c1", "local_shell", **LOCAL)],
    ),
    "local_shell_call_output": ({"id": "c1", "output": '{"stdout":"a"}'}, [returned("c1", '{"stdout":"a"}')]),
    "shell_call": ({"call_id": "c1", "action": {"commands": ["ls"]}}, [called("c1", "shell", commands=["ls"])]),
    "shell_call_output": (
        {"call_id": "c1", "output": [{"stdout": "a", "stderr": "", "outcome": EXIT}]},
        [returned("c1", '[{"stdout":"a","stderr":"","outcome":{"type":"exit","exit_code":0}}]')],
    ),
    "apply_patch_call": (
        {"call_id": "c1", "operation": DIFF, "status": "completed"},
        [called("c1", "apply_patch", **DIFF)],
    ),
    "apply_patch_call_output": (
        {"call_id": "c1", "status": "failed", "output": "no such file"},
        [returned("c1", "failed\nno such file")],
    ),
    "computer_call": (
        {"id": "x", "call_id": "c1", "action": CLICK, "pending_safety_checks": [], "status": "completed"},
        [called("c1", "computer", action=CLICK)],
    ),
    "computer_call_output": (
        {"call_id": "c1", "output": SCREEN},
        [returned("c1", Image("data:image/png;base64,AA==", "data_url", "input[1].output.image_url"))],
    ),
    "mcp_call": ({"id": "m1", **MCP, "output": "text"}, [called("m1", "docs.read"), returned("m1", "text")]),
    "mcp_approval_request": ({"id": "m1", **MCP}, [called("m1", "docs.read")]),
    "mcp_approval_response": (
        {"approval_request_id": "m1", "approve": False, "reason": "No."},
        [returned("m1", "The user does not allow this call.\nNo.")],
    ),
    "code_interpreter_call": (
        {
            "id": "i1",
            "container_id": "x",
            "code": "1+1",
            "status": "completed",
            "outputs": [{"type": "logs", "logs": "2"}, {"type": "image", "url": "https://a.test"}],
        },
        [called("i1", "code_interpreter", code="1+1"), returned("i1", "2\n(image)")],
    ),
    "file_search_call": (
        {"id": "f1", "queries": ["q"], "status": "completed", "results": [{"text": "found"}]},
        [called("f1", "file_search", queries=["q"]), returned("f1", '[{"text":"found"}]')],
    ),
    "image_generation_call": (
        {"id": "g1", "result": PIXEL, "status": "completed", "revised_prompt": "a dot"},
        [called("g1", "image_generation", prompt="a dot"), returned("g1", Image(PIXEL, "base64", "input[1].result"))],
    ),
    "program": ({"id": "p", "call_id": "c1", "code": "x()", "fingerprint": "f"}, [called("c1", "program", code="x()")]),
    "program_output": ({"id": "p", "call_id": "c1", "result": "3", "status": "completed"}, [returned("c1", "3")]),
    "compaction": (
        {"encrypted_content": sealed_summary("All is well.")},
        [PromptMessage("system", (Text("What was said before, summed up:\n\nAll is well."),))],
    ),
}
# type -> an item that says nothing to the model
PASSED: dict[str, dict[str, Any]] = {
    "reasoning": {"id": "r", "summary": [], "encrypted_content": "x"},
    "web_search_call": {"id": "w", "status": "completed", "action": {"type": "search", "query": "q"}},
    "mcp_list_tools": {"id": "m", "server_label": "docs", "tools": [{"name": "read", "input_schema": {}}]},
    "additional_tools": {"role": "developer", "tools": [ADD]},
    "tool_search_call": {"arguments": {"goal": "x"}, "call_id": "c"},
    "tool_search_output": {"tools": [ADD], "call_id": "c"},
    "configuration_update": {"reasoning": {"effort": "low"}},
}
# type -> (an item, status, param, code)
REFUSED: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "compaction_trigger": ({}, 400, "input[1].type", "unsupported_item"),
    "item_reference": ({"id": "msg_of_somebody_else"}, 404, "input[1].id", "item_not_found"),
}
ALL_ITEMS = {
    **{kind: item for kind, (item, _) in SHOWN.items()},
    **PASSED,
    **{kind: item for kind, (item, *_) in REFUSED.items()},
}


@cache
def adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ResponseInputItemParam)


def types_of(union: Any) -> set[str]:
    """The `type` of every member of a union of typed dicts."""
    kinds = set()
    for member in get_args(union):
        if typing_extensions.is_typeddict(member):
            hint = typing_extensions.get_type_hints(member)["type"]
            kinds |= {name for name in members_of_literal(hint) if name}
    return kinds


def members_of_literal(hint: Any) -> list[str]:
    return [name for one in get_args(hint) for name in ([one] if isinstance(one, str) else members_of_literal(one))]


def asked(*items: dict[str, Any], **fields: Any) -> Any:
    return read(json.dumps({"model": "auto", "input": [{"role": "user", "content": "hi"}, *items], **fields}).encode())


def test_every_published_item_is_in_one_of_the_tables():
    assert types_of(ResponseInputItemParam) == ALL_ITEMS.keys()
    assert len(ALL_ITEMS) == len(SHOWN) + len(PASSED) + len(REFUSED)


@pytest.mark.parametrize("kind", ALL_ITEMS)
def test_the_examples_are_what_the_library_sends(kind):
    adapter().validate_python({"type": kind, **ALL_ITEMS[kind]})


@pytest.mark.parametrize("kind", SHOWN)
def test_what_tools_left_is_shown(kind):
    item, messages = SHOWN[kind]
    assert asked({"type": kind, **item}).prompt.messages[1:] == tuple(messages)


@pytest.mark.parametrize("kind", PASSED)
def test_what_says_nothing_is_passed_over_for_a_reason(kind):
    assert asked({"type": kind, **PASSED[kind]}).prompt.messages == (PromptMessage("user", (Text("hi"),)),)
    assert PASSED_OVER[kind]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_meant_is_refused_by_name(kind):
    item, *told = REFUSED[kind]
    with pytest.raises(RequestError) as raised:
        asked({"type": kind, **item})
    assert [raised.value.http_status, raised.value.param, raised.value.code] == told


@pytest.mark.parametrize(
    ("item", "messages"),
    [
        # The call's id stands in `call_id` or in `id`, as libraries have it.
        ({"type": "local_shell_call", "id": "l1", "action": LOCAL}, [called("l1", "local_shell", **LOCAL)]),
        ({"type": "computer_call", "call_id": "c", "actions": [CLICK]}, [called("c", "computer", actions=[CLICK])]),
        ({"type": "computer_call_output", "call_id": "c", "output": {}}, [returned("c", NOT_KEPT)]),
        (
            {"type": "mcp_call", "id": "m", **MCP, "error": {"type": "http_error", "code": 500}},
            [called("m", "docs.read"), returned("m", '{"type":"http_error","code":500}')],
        ),
        ({"type": "mcp_call", "id": "m", **MCP}, [called("m", "docs.read"), returned("m", NOT_KEPT)]),
        (
            {"type": "code_interpreter_call", "id": "i", "code": None, "outputs": None},
            [called("i", "code_interpreter", code=""), returned("i", NOT_KEPT)],
        ),
        ({"type": "file_search_call", "id": "f", "queries": ["q"]}, []),
        ({"type": "image_generation_call", "id": "g", "result": None, "status": "failed"}, []),
        (
            {"type": "function_call_output", "name": "add", "namespace": "sums", "output": "2"},
            [PromptMessage("tool", (Result(None, "sums.add", (Text("2"),)),))],
        ),
        ({"type": "ghost_snapshot", "ghost_commit": {"id": "x"}}, []),
        ({"type": "context_compaction"}, []),
        (
            {"type": "compaction_summary", "encrypted_content": sealed_summary("All.")},
            [PromptMessage("system", (Text("What was said before, summed up:\n\nAll."),))],
        ),
    ],
)
def test_odd_shapes_are_read_too(item, messages):
    assert asked(item).prompt.messages[1:] == tuple(messages)


@pytest.mark.parametrize(
    ("item", "param", "code"),
    [
        ({"type": "shell_call", "action": {"commands": []}}, "input[1].call_id", "missing_required_parameter"),
        ({"type": "shell_call", "call_id": "c", "action": "ls"}, "input[1].action", "invalid_type"),
        ({"type": "shell_call_output", "call_id": "c", "output": 1}, "input[1].output", "invalid_type"),
        ({"type": "mcp_approval_response", "approve": True}, "input[1].approval_request_id",
         "missing_required_parameter"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "magic"}]}, "input[1].output[0].type",
         "invalid_value"),
        ({"type": "function_call", "call_id": "c", "name": "x", "arguments": 3}, "input[1].arguments", "invalid_type"),
        ({"type": "image_generation_call", "id": "ig_of_openai"}, "input[1].id", "item_not_found"),
        ({"type": "compaction", "encrypted_content": "gAA"}, "input[1].encrypted_content", "invalid_encrypted_content"),
        ({"type": "additional_tools", "tools": "x"}, "input[1].tools", "invalid_type"),
        ({"type": "additional_tools", "tools": [ADD] * 513}, "input[1].tools", "array_above_max_length"),
        ({"type": "configuration_update", "reasoning": {"effort": "x"}}, "input[1].reasoning.effort", "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_item_is_named(item, param, code):
    with pytest.raises(RequestError) as raised:
        asked(item)
    assert (raised.value.param, raised.value.code) == (param, code)


def test_a_complaint_about_arguments_says_that_they_are_text():
    with pytest.raises(RequestError, match=r"Expected `str \| object \| null`, got `int`"):
        asked({"type": "function_call", "call_id": "c", "name": "x", "arguments": 3})


def test_what_is_nested_as_deeply_as_can_just_be_read_is_no_failure_of_ours():
    """It was read, and could not be written again: Python 3.11 counts its own calls and those of msgspec together."""

    def outcome(depth: int) -> str | None:
        head, tail = b'{"model":"auto","input":[{"type":"shell_call","call_id":"c","action":{"a":', b"}}]}"
        try:
            read(head + b"[" * depth + b"]" * depth + tail)
        except RequestError as error:
            return error.code
        return None

    low, high = 100, 200_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if outcome(middle) is None else (low, middle)
    assert {outcome(depth) for depth in range(low - 3, low + 8)} == {None, "invalid_json"}


def test_tools_that_items_bring_can_be_called():
    late = {"type": "tool_search_output", "tools": [ADD, {"type": "mcp", "server_label": "x"}], "call_id": "c"}
    more = {"type": "additional_tools", "role": "developer", "tools": [ADD, {"type": "custom", "name": "patch"}]}
    prompt = asked(late, more, tool_choice="required").prompt
    assert [one.name for one in prompt.functions] == ["add", "patch"]
    assert prompt.functions[0] == Function("add", "input[1].tools[0].parameters", None, {"type": "object"})
    assert prompt.choice == "required"


def test_an_update_of_the_configuration_holds():
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    items = [
        {"type": "configuration_update", "reasoning": {"effort": "low"}},
        {"type": "configuration_update", "text": {"format": schema}},
    ]
    prompt = asked(*items, reasoning={"effort": "high"}).prompt
    form = JsonAnswer({"type": "object"}, "n", None, "input[2].text.format.schema")
    assert (prompt.effort, prompt.answer_form) == ("low", form)
    plain = asked(*items, {"type": "configuration_update", "text": {"format": {"type": "text"}}}).prompt
    assert plain.answer_form is None


# --- tools ------------------------------------------------------------------------------------------------------------

TAKEN = {"function", "custom", "namespace", "image_generation", "web_search", "web_search_preview"} | {
    "web_search_2025_08_26",
    "web_search_preview_2025_03_11",
}
IGNORED = {
    "code_interpreter",
    "local_shell",
    "shell",
    "apply_patch",
    "tool_search",
    "programmatic_tool_calling",
}
UNSERVED = {"file_search", "computer", "computer_use_preview", "mcp"}


def test_every_published_tool_is_taken_ignored_or_refused():
    assert types_of(ToolParam) == TAKEN | IGNORED | UNSERVED


@pytest.mark.parametrize("kind", sorted(TAKEN))
def test_tools_are_taken(kind):
    taken = asked(tools=[{"type": kind, "name": "x", "tools": [ADD]}])
    assert taken.ignored == []
    assert taken.prompt.functions or taken.prompt.builtins


@pytest.mark.parametrize("kind", sorted(IGNORED))
def test_tools_that_can_be_missed_are_named(kind):
    assert asked(tools=[{"type": kind}]).ignored == [f"tools.{kind}"]


@pytest.mark.parametrize("kind", sorted(UNSERVED))
def test_tools_that_nobody_answers_are_refused(kind):
    with pytest.raises(RequestError) as raised:
        asked(tools=[{"type": kind}])
    assert (raised.value.param, raised.value.code) == ("tools[0].type", "unsupported_tool")


def test_every_published_choice_of_a_tool_is_read():
    """None is a fault: each is taken where its tool is there, or a refusal that names it."""
    kinds = types_of(ToolChoice)
    assert {"allowed_tools", "function", "custom", "mcp", "shell", "apply_patch", "image_generation"} <= kinds
    for kind in kinds - {"allowed_tools"}:
        tools = [ADD, {"type": "custom", "name": "patch"}, {"type": "image_generation"}, {"type": "web_search"}]
        choice = {"type": kind, "name": "patch" if kind == "custom" else "add"}
        try:
            asked(tools=tools, tool_choice=choice)
        except RequestError as error:
            assert kind not in TAKEN
            assert (error.param, error.code) == ("tool_choice.type", "unsupported_tool")  # noqa: PT017


def test_only_published_names_can_be_included():
    for name in get_args(ResponseIncludable):
        asked(include=[name])
    with pytest.raises(RequestError) as raised:
        asked(include=["reasoning.encrypted_content", "everything"])
    assert (raised.value.param, raised.value.code) == ("include[1]", "invalid_value")
