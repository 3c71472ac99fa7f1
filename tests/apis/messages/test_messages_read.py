"""A messages request as a prompt: what blocks, tools, thinking and the other fields come to, and what is refused."""

import json

import pytest

from shim.apis.messages.read import MessageOptions, read, read_countable
from shim.errors import RequestError
from shim.protocol.prompt import (
    Call,
    File,
    Function,
    Image,
    JsonAnswer,
    Limits,
    OnlyFunction,
    PromptMessage,
    Result,
    Text,
)

HI = {"role": "user", "content": "hi"}
TOOL = {"name": "add", "description": "Adds.", "input_schema": {"type": "object"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}

THOUGHT = {"type": "thinking", "thinking": "x", "signature": ""}


def text(words):
    return {"type": "text", "text": words, "cache_control": {"type": "ephemeral"}}


def asked(*messages, strict=False, **fields):
    request = {"model": "auto", "max_tokens": 99, "messages": messages or (HI,), **fields}
    return read(json.dumps(request).encode(), strict=strict)


def messages_of(*messages, **fields):
    return asked(*messages, **fields).prompt.messages


def user(*blocks):
    return messages_of({"role": "user", "content": blocks})


def test_what_is_not_asked_for_has_the_prompts_defaults():
    prompt = asked().prompt
    assert prompt.messages == (PromptMessage("user", (Text("hi"),)),)
    assert (prompt.functions, prompt.choice, prompt.parallel, prompt.answer_form) == ((), "auto", True, None)
    assert (prompt.limits, prompt.effort, prompt.stream) == (Limits((), 99), None, False)
    assert asked().options == MessageOptions(thinking=False)
    assert asked(model="openai/gpt-5").prompt.model == "gpt-5"


def test_the_system_comes_first_and_may_stand_among_the_messages():
    assert messages_of(system="Be brief.")[0] == PromptMessage("system", (Text("Be brief."),))
    told = messages_of(HI, {"role": "system", "content": [text("Now loud.")]}, system=[text("One."), text("Two.")])
    assert [one.role for one in told] == ["system", "user", "system"]
    assert (told[0].parts, told[2].parts) == ((Text("One."), Text("Two.")), (Text("Now loud."),))


def test_a_system_message_may_say_nothing_but_how_hard_to_try():
    quiet = {"role": "system", "output_config": {"effort": "low"}}
    prompt = asked(HI, quiet, output_config={"effort": "high"}).prompt
    assert (prompt.messages, prompt.effort) == ((PromptMessage("user", (Text("hi"),)),), "low")
    for wrong in ({"role": "system"}, {"role": "user", "output_config": {"effort": "low"}}):
        with pytest.raises(RequestError) as raised:
            asked(HI, wrong)
        assert (raised.value.param, raised.value.code) == ("messages[1].content", "missing_required_parameter")


def test_pictures_and_documents_are_found_with_their_place():
    field = "messages[0].content"

    def document(source, **more):
        return {"type": "document", "source": source, **more}

    (message,) = user(
        text("look"),
        PNG,
        {"type": "image", "source": {"type": "url", "url": " https://a.test/x.png "}},
        document({"type": "base64", "media_type": "application/pdf", "data": "AA=="}, title="a.pdf", context="Old."),
        document({"type": "base64", "media_type": "application/pdf", "data": "AA=="}),
        document({"type": "url", "url": "https://a.test/b.pdf"}),
        document({"type": "text", "media_type": "text/plain", "data": "words"}, title="Notes", context="Mine."),
        document({"type": "content", "content": "plain"}),
        document({"type": "content", "content": [text("one"), PNG]}, title="Both"),
        {"type": "search_result", "source": "https://a.test", "title": "A", "content": [text("found")]},
    )
    assert message.parts == (
        Text("look"),
        Image("AA==", "base64", f"{field}[1].source.data"),
        Image("https://a.test/x.png", "url", f"{field}[2].source.url"),
        Text("Old."),
        File("AA==", "base64", f"{field}[3].source.data", "a.pdf"),
        File("AA==", "base64", f"{field}[4].source.data", "document.pdf"),
        File("https://a.test/b.pdf", "url", f"{field}[5].source.url"),
        Text("Notes\nMine.\nwords"),
        Text("plain"),
        Text("Both"),
        Text("one"),
        Image("AA==", "base64", f"{field}[8].source.content[1].source.data"),
        Text("A (https://a.test)\nfound"),
    )


def test_calls_and_results():
    use = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}}
    thought = [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "redacted_thinking", "data": "x"},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "toolu_1", "content": "2"},
        {"type": "tool_result", "tool_use_id": "other", "content": [text("see"), PNG], "is_error": True},
        {"type": "tool_result", "tool_use_id": "toolu_3"},
    ]
    told = messages_of(
        HI,
        {"role": "assistant", "content": thought},
        {"role": "assistant", "content": [*thought, text("Wait."), use]},
        {"role": "user", "content": [*results, text("And?")]},
    )
    assert told[1:] == (
        PromptMessage("assistant", (Text("Wait."), Call("call_1", "add", '{"a":1}'))),
        PromptMessage(
            "tool",
            (
                Result("call_1", None, (Text("2"),)),
                Result(
                    "other",
                    None,
                    (
                        Text("The tool failed:"),
                        Text("see"),
                        Image("AA==", "base64", "messages[3].content[1].content[1].source.data"),
                    ),
                ),
                Result("call_3", None, (Text(""),)),
            ),
        ),
        PromptMessage("user", (Text("And?"),)),
    )


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"stop_sequences": ["x", "y", "x"]}, "limits", Limits(("x", "y"), 99)),
        ({"tools": [TOOL]}, "functions", (Function("add", "tools[0].input_schema", "Adds.", {"type": "object"}),)),
        ({"tools": [TOOL | {"type": "custom"}], "tool_choice": {"type": "any"}}, "choice", "required"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "add"}}, "choice", OnlyFunction("add")),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, "choice", "none"),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, "choice", "auto"),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "parallel", False),
        ({"tool_choice": {"type": "none"}}, "parallel", True),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "effort", "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4097}}, "effort", "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 16385}}, "effort", "high"),
        ({"thinking": {"type": "disabled"}}, "effort", None),
        ({"thinking": {"type": "adaptive"}}, "effort", None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "effort", "xhigh"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
            "answer_form",
            JsonAnswer({"type": "object"}, param="output_config.format.schema"),
        ),
        ({"stream": True}, "stream", True),
    ],
)
def test_fields_come_to_what_they_mean(fields, name, value):
    assert getattr(asked(**fields).prompt, name) == value


@pytest.mark.parametrize(
    ("thinking", "shown"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, True),
        ({"type": "adaptive"}, True),
        ({"type": "adaptive", "display": "omitted"}, False),
        ({"type": "disabled"}, False),
    ],
)
def test_thinking_is_shown_where_it_is_asked_for(thinking, shown):
    assert asked(thinking=thinking).options == MessageOptions(shown)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": []}, "messages", "empty_array"),
        ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
        ({"stop_sequences": [""]}, "stop_sequences", "invalid_value"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "missing_required_parameter"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "docs"}]}, "tools[0].type", "unsupported_tool"),
        ({"tools": [{"type": "bash_2025", "name": "bash"}]}, "tools[0].type", "unsupported_tool"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name", "duplicate"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "invalid_value"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "sub"}}, "tool_choice.name", "invalid_value"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user", "content": []}]}, "messages", "invalid_value"),
        ({"messages": [{"role": "assistant", "content": [THOUGHT]}]}, "messages", "invalid_value"),
        ({"temperature": 1.5}, "temperature", "decimal_above_max_value"),
        ({"top_p": -1}, "top_p", "decimal_below_min_value"),
        ({"top_k": -1}, "top_k", "integer_below_min_value"),
        ({"service_tier": "x"}, "service_tier", "invalid_value"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id", "invalid_type"),
    ],
)
def test_what_is_refused_is_named(fields, param, code):
    with pytest.raises(RequestError) as raised:
        asked(**fields)
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


def test_files_that_were_uploaded_before_are_named_by_their_id():
    source, field = {"type": "file", "file_id": "file-1"}, "messages[0].content"
    (message,) = user(
        {"type": "image", "source": source},
        {"type": "document", "source": source, "title": "A", "context": "Mine."},
    )
    assert message.parts == (
        Image("file-1", "file_id", f"{field}[0].source.file_id"),
        Text("Mine."),
        File("file-1", "file_id", f"{field}[1].source.file_id", "A"),
    )


def test_the_limit_is_required_but_not_to_count():
    body = json.dumps({"model": "auto", "messages": [HI], "system": "Be."}).encode()
    with pytest.raises(RequestError) as raised:
        read(body)
    assert (raised.value.param, raised.value.code) == ("max_tokens", "missing_required_parameter")
    assert [one.role for one in read_countable(body).messages] == ["system", "user"]


def test_fields_without_an_effect_are_told_unless_they_ask_for_nothing():
    assert asked(temperature=1, metadata={"user_id": "u"}, service_tier="auto", mcp_servers=[]).ignored == []
    assert asked(output_config={"task_budget": {"type": "tokens", "total": 9}}).ignored == ["output_config.task_budget"]
    assert asked(temperature=0.5, top_k=3, context_management={"edits": [1]}, new=1).ignored == [
        "context_management",
        "new",
        "temperature",
        "top_k",
    ]
    with pytest.raises(RequestError) as raised:
        asked(strict=True, top_k=3)
    assert (raised.value.param, raised.value.code) == ("top_k", "unsupported_parameter")
