"""A responses request as a prompt: what items, tools and the other fields come to, and what is refused."""

import json

import pytest

from shim.apis.responses.read import read, read_compaction, read_countable
from shim.errors import RequestError
from shim.protocol.prompt import (
    Call,
    Continues,
    File,
    Function,
    Image,
    JsonAnswer,
    Limits,
    OnlyFunction,
    PromptMessage,
    Result,
    Text,
    Wishes,
)

FUNCTION = {"type": "function", "name": "add", "description": "Adds.", "parameters": {"type": "object"}, "strict": True}
CUSTOM = {"type": "custom", "name": "patch", "description": "Patches."}
SEARCH = {"type": "web_search"}
DRAW = {"type": "image_generation"}
INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def asked(input="hi", strict=False, **fields):
    return read(json.dumps({"model": "auto", "input": input, **fields}).encode(), strict=strict)


def prompt_of(input="hi", **fields):
    return asked(input, **fields).prompt


def test_what_is_not_asked_for_has_the_prompts_defaults():
    prompt = prompt_of()
    assert prompt.messages == (PromptMessage("user", (Text("hi"),)),)
    assert (prompt.functions, prompt.choice, prompt.parallel, prompt.answer_form) == ((), "auto", True, None)
    assert (prompt.limits, prompt.effort, prompt.stream, prompt.pictures) == (Limits(), None, False, "links")
    assert (prompt.wishes, asked().ignored) == (Wishes(), [])


def test_messages_in_all_their_spellings():
    messages = prompt_of(
        [
            {"role": "developer", "content": "Now loud."},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "phase": "commentary",
             "content": [{"type": "output_text", "text": "b", "annotations": []}, {"type": "refusal", "refusal": "c"}]},
            {"role": "user", "content": [{"type": "text", "text": "d"}]},
        ],
        instructions="Be brief.",
    ).messages  # fmt: skip
    assert messages == (
        PromptMessage("system", (Text("Be brief."),)),
        PromptMessage("system", (Text("Now loud."),)),
        PromptMessage("user", (Text("a"),)),
        PromptMessage("assistant", (Text("b"), Text("c"))),
        PromptMessage("user", (Text("d"),)),
    )


def test_pictures_and_files_are_found_with_their_place():
    field = "input[0].content"
    (message,) = prompt_of(
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": " https://a.test/x.png ", "detail": "high"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"},
                    {"type": "input_file", "file_url": "https://a.test/b.pdf"},
                    {"type": "input_file", "file_id": "file-1"},
                    {"type": "input_image", "file_id": "file-2"},
                ],
            }
        ]
    ).messages
    assert message.parts == (
        Image("https://a.test/x.png", "url", f"{field}[0].image_url", "high"),
        Image("data:image/png;base64,AA==", "data_url", f"{field}[1].image_url"),
        File("data:application/pdf;base64,AA==", "data_url", f"{field}[2].file_data", "a.pdf"),
        File("https://a.test/b.pdf", "url", f"{field}[3].file_url"),
        File("file-1", "file_id", f"{field}[4].file_id"),
        Image("file-2", "file_id", f"{field}[5].file_id"),
    )


def test_calls_and_results():
    messages = prompt_of(
        [
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
             "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": "Wait."},
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": "{\"a\": 1}"},
            {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "***"},
            {"type": "function_call", "call_id": "call_3", "namespace": "mcp", "name": "read", "arguments": "{}"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
            {"type": "function_call_output", "call_id": "call_1", "output": "2"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "ok"}]},
            {"type": "function_call_output", "call_id": "call_3", "output": {"a": [1]}},
        ]
    ).messages  # fmt: skip
    assert messages[1:] == (
        PromptMessage(
            "assistant",
            (
                Text("Wait."),
                Call("call_1", "add", '{"a": 1}'),
                Call("call_2", "patch", '{"input":"***"}'),
                Call("call_3", "mcp.read", "{}"),
            ),
        ),
        PromptMessage("tool", (Result("call_1", None, (Text("2"),)),)),
        PromptMessage("tool", (Result("call_2", None, (Text("ok"),)),)),
        PromptMessage("tool", (Result("call_3", None, (Text('{"a":[1]}'),)),)),
    )


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"max_output_tokens": 9}, "limits", Limits(max_tokens=9)),
        ({"tools": [FUNCTION]}, "functions", (Function("add", "tools[0].parameters", "Adds.", {"type": "object"}),)),
        ({"tools": [CUSTOM]}, "functions", (Function("patch", "tools[0]", "Patches.", INPUT),)),
        (
            {"tools": [CUSTOM | {"format": {"type": "grammar", "syntax": "lark", "definition": "start: A"}}]},
            "functions",
            (
                Function(
                    "patch",
                    "tools[0]",
                    "Patches.\n\nThe input is text that fits this grammar (lark):\nstart: A",
                    INPUT,
                ),
            ),
        ),
        (
            {"tools": [{"type": "namespace", "name": "mcp", "description": "x", "tools": [FUNCTION]}]},
            "functions",
            (Function("mcp.add", "tools[0].tools[0].parameters", "Adds.", {"type": "object"}),),
        ),
        ({"tools": [FUNCTION], "tool_choice": "required"}, "choice", "required"),
        ({"tools": [FUNCTION], "tool_choice": "none"}, "choice", "none"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "add"}}, "choice", OnlyFunction("add")),
        ({"tools": [CUSTOM], "tool_choice": {"type": "custom", "name": "patch"}}, "choice", OnlyFunction("patch")),
        ({"parallel_tool_calls": False}, "parallel", False),
        ({"tools": [SEARCH, FUNCTION]}, "builtins", frozenset({"web_search"})),
        ({"tools": [SEARCH]}, "wishes", Wishes()),
        ({"tools": [SEARCH], "tool_choice": "required"}, "wishes", Wishes(hints=frozenset({"search"}))),
        (
            {"tools": [SEARCH, DRAW], "tool_choice": {"type": "image_generation"}},
            "wishes",
            Wishes(hints=frozenset({"picture"})),
        ),
        ({"tools": [DRAW]}, "pictures", "data"),
        ({"text": {"format": {"type": "text"}}}, "answer_form", None),
        ({"text": {"format": {"type": "json_object"}}}, "answer_form", JsonAnswer()),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            "answer_form",
            JsonAnswer({"type": "object"}, "n", None, "text.format.schema"),
        ),
        ({"reasoning": {"effort": "high"}}, "effort", "high"),
        ({"store": False}, "wishes", Wishes(temporary=True)),
        ({"store": True}, "wishes", Wishes(temporary=False)),
        ({"store": False, "chatgpt": {"temporary": False}}, "wishes", Wishes(temporary=False)),
        ({"service_tier": "priority"}, "wishes", Wishes(tier="priority")),
        (
            {"chatgpt": {"conversation_id": "c", "parent_message_id": "m"}},
            "continues",
            Continues("c", "m", "chatgpt.conversation_id"),
        ),
        ({"stream": True}, "stream", True),
        ({"model": "openai/gpt-5"}, "model", "gpt-5"),
    ],
)
def test_fields_come_to_what_they_mean(fields, name, value):
    assert getattr(prompt_of(**fields), name) == value


def test_allowed_tools_leave_the_others_out():
    picked = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "patch"}]}
    prompt = prompt_of(tools=[FUNCTION, CUSTOM, SEARCH], tool_choice=picked)
    assert ([one.name for one in prompt.functions], prompt.choice) == (["patch"], "required")
    assert prompt.builtins == frozenset()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": []}, "input", "missing_required_parameter"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input", "invalid_value"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role", "missing_required_parameter"),
        ({"input": [{"type": "function_call", "name": "x"}]}, "input[0].call_id", "missing_required_parameter"),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input[0].name", "missing_required_parameter"),
        ({"input": [{"type": "function_call_output"}]}, "input[0].call_id", "missing_required_parameter"),
        ({"input": [{"type": "magic"}]}, "input[0].type", "unsupported_item"),
        ({"input": [{"role": "judge", "content": "x"}]}, "input[0].role", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
            "missing_required_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input[0].content[0]",
            "missing_required_parameter",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "input[0].content[0].type",
            "unsupported_content",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata[]", "string_above_max_length"),
        ({"metadata": {"k" * 65: "v"}}, "metadata", "string_above_max_length"),
        ({"tools": [{"type": "mcp"}]}, "tools[0].type", "unsupported_tool"),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name", "duplicate"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "sub"}},
            "tool_choice.name",
            "invalid_value",
        ),
        ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice.type", "invalid_value"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "mcp"}}, "tool_choice.type", "unsupported_tool"),
        (
            {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}},
            "tool_choice.tools",
            "missing_required_parameter",
        ),
        (
            {"conversation": f"conv_{'0' * 32}", "previous_response_id": "resp_1"},
            "conversation",
            "mutually_exclusive_parameters",
        ),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"temperature": 3}, "temperature", "decimal_above_max_value"),
        (
            {"chatgpt": {"conversation_id": "c"}},
            "chatgpt.parent_message_id",
            "missing_required_parameter",
        ),
    ],
)
def test_what_is_refused_is_named(fields, param, code):
    with pytest.raises(RequestError) as raised:
        asked(**fields)
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


def test_fields_without_an_effect_are_told_unless_they_ask_for_nothing():
    quiet = {
        "temperature": 1,
        "truncation": "disabled",
        "text": {"verbosity": "medium"},
        "reasoning": {"context": "auto", "mode": "standard"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
        "user": "u",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "stream_options": {"include_obfuscation": False},
    }
    assert asked(**quiet).ignored == []
    loud = {
        "temperature": 0.5,
        "truncation": "auto",
        "text": {"verbosity": "low"},
        "reasoning": {"context": "all_turns", "mode": "pro"},
        "include": ["message.output_text.logprobs"],
        "max_tool_calls": 3,
        "tools": [{"type": "local_shell"}, {"type": "code_interpreter", "container": {"type": "auto"}}],
    }
    assert asked(**loud).ignored == [
        "max_tool_calls",
        "temperature",
        "tools.local_shell",
        "tools.code_interpreter",
        "text.verbosity",
        "reasoning.context",
        "reasoning.mode",
        "include",
        "truncation",
    ]
    with pytest.raises(RequestError) as raised:
        asked(strict=True, text={"verbosity": "low"})
    assert (raised.value.param, raised.value.code) == ("text.verbosity", "unsupported_parameter")


@pytest.mark.parametrize("name", ["conv_1", {"id": ""}, f"conv_{'x' * 32}", f"conv_{'0' * 32}\n", "c" * 9000])
def test_what_is_no_conversation_is_not_looked_for(name):
    with pytest.raises(RequestError) as raised:
        asked(conversation=name)
    said = raised.value.http_status, raised.value.param, raised.value.code
    assert said == (404, "conversation", "conversation_not_found")
    assert len(raised.value.message) < 300


def test_what_is_summed_up_is_sent_and_no_conversation():
    for conversation in ("conv_1", {"id": "conv_1"}):
        with pytest.raises(RequestError) as raised:
            read_compaction(json.dumps({"model": "auto", "input": "hi", "conversation": conversation}).encode())
        assert (raised.value.param, raised.value.code) == ("conversation", "unsupported_parameter")


def test_what_counts_needs_no_model():
    prompt, names, _ = read_countable(json.dumps({"input": "hi", "instructions": "Be."}).encode())
    assert ([one.role for one in prompt.messages], prompt.model, names) == (["system", "user"], "auto", frozenset())
