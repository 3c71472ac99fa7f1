"""Tools of Anthropic's that the client runs: told with the schemas that are published for them."""

import json

import pytest
from jsonschema import Draft202012Validator

from shim.apis.messages.read import read
from shim.errors import RequestError

CALLS = [
    ("bash_20250124", "bash", {"command": "ls"}),
    ("bash_20241022", "bash", {"restart": True}),
    ("text_editor_20241022", "str_replace_editor", {"command": "undo_edit", "path": "/a"}),
    ("text_editor_20250728", "str_replace_based_edit_tool", {"command": "view", "path": "/a", "view_range": [1, -1]}),
    (
        "text_editor_20250728",
        "str_replace_based_edit_tool",
        {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
    ),
    ("memory_20250818", "memory", {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}),
    ("computer_20250124", "computer", {"action": "scroll", "coordinate": [1, 2], "scroll_direction": "up"}),
    ("computer_20241022", "computer", {"action": "left_click", "coordinate": [1, 2]}),
]


def functions_of(**tool):
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}
    return read(json.dumps(body).encode()).prompt.functions


@pytest.mark.parametrize(("kind", "name", "call"), CALLS)
def test_a_tool_that_the_client_runs_has_its_schema(kind, name, call):
    (function,) = functions_of(type=kind, name=name)
    assert function.name == name
    assert function.description
    Draft202012Validator.check_schema(function.schema)
    check = Draft202012Validator(function.schema)
    assert check.is_valid(call)
    assert not check.is_valid({"command": "fly", "action": "fly", "restart": "x"})


def test_an_older_editor_can_undo_and_a_newer_one_can_not():
    undo = {"command": "undo_edit", "path": "/a"}
    for kind, can in (("text_editor_20250124", True), ("text_editor_20250429", False)):
        (function,) = functions_of(type=kind, name="editor")
        assert Draft202012Validator(function.schema).is_valid(undo) == can


def test_a_computer_is_told_its_screen():
    (function,) = functions_of(
        type="computer_20250124", name="computer", display_width_px=800, display_height_px=600, display_number=1
    )
    assert "800 pixels wide and 600 high" in function.description


@pytest.mark.parametrize("kind", ["browser_toolset_20260801", "bash", "mcp_toolset", "computer_x"])
def test_any_other_tool_is_refused_by_name(kind):
    with pytest.raises(RequestError) as refused:
        functions_of(type=kind, name="it")
    assert (refused.value.param, refused.value.code) == ("tools[0].type", "unsupported_tool")
