"""A chat request as a prompt: which of its parts are files, under which `param`, and what the other fields come to."""

import json

import pytest

from shim.apis.chat.read import ChatOptions, read
from shim.errors import RequestError
from shim.protocol.prompt import (
    Call,
    Continues,
    File,
    Image,
    JsonAnswer,
    Limits,
    OnlyFunction,
    PromptMessage,
    Result,
    Text,
)

TEXT = {"type": "text", "text": "look"}


def asked(*messages, **fields):
    return read(json.dumps({"model": "auto", "messages": messages, **fields}).encode())


def saying(*contents):
    return asked(*({"role": "user", "content": content} for content in contents)).prompt


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**source):
    return {"type": "file", "file": source}


def test_a_request_without_files_has_none():
    assert saying("hello", [TEXT], None).attached == []


def test_every_file_is_found_with_its_place():
    prompt = saying(
        [TEXT, image(" https://a.test/x.png ", detail="low")],
        "between",
        [
            {"type": "image_url", "image_url": "data:image/png;base64,AA=="},
            file(file_data="https://a.test/x.pdf", filename="x.pdf"),
            file(file_data="DATA:text/plain,hi"),
            file(file_data="aGVsbG8=", filename="y.txt"),
            file(file_url="http://a.test/z"),
        ],
    )
    image_url, files = "messages[0].content[1].image_url.url", "messages[2].content"
    assert prompt.messages == (
        PromptMessage("user", (Text("look"), Image("https://a.test/x.png", "url", image_url, "low"))),
        PromptMessage("user", (Text("between"),)),
        PromptMessage(
            "user",
            (
                Image("data:image/png;base64,AA==", "data_url", f"{files}[0].image_url"),
                File("https://a.test/x.pdf", "url", f"{files}[1].file.file_data", "x.pdf"),
                File("DATA:text/plain,hi", "data_url", f"{files}[2].file.file_data"),
                File("aGVsbG8=", "base64", f"{files}[3].file.file_data", "y.txt"),
                File("http://a.test/z", "url", f"{files}[4].file.file_url"),
            ),
        ),
    )
    assert prompt.attached == [part for message in prompt.messages for part in message.parts if type(part) is not Text]


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (file(), "messages[1].content[1].file", "missing_required_parameter"),
        (file(file_data="", filename="x"), "messages[1].content[1].file", "missing_required_parameter"),
        (
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
            "messages[1].content[1].input_audio",
            "unsupported_content",
        ),
    ],
)
def test_parts_that_are_not_served(part, param, code):
    with pytest.raises(RequestError) as raised:
        saying("hi", [TEXT, part])
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


# --- the other fields -------------------------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}


def test_calls_and_results_are_parts_of_their_messages():
    called = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    picture = {"type": "image_url", "image_url": {"url": "https://a.test/x"}}
    prompt = asked(
        {"role": "developer", "content": "Be brief.", "name": "op"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": "call_1", "content": [TEXT, picture]},
        {"role": "function", "name": "add", "content": "2"},
    ).prompt
    shown = Image("https://a.test/x", "url", "messages[2].content[1].image_url.url")
    assert prompt.messages == (
        PromptMessage("system", (Text("Be brief."),), "op"),
        PromptMessage("assistant", (Text("Wait."), Call("call_1", "add", "{}"))),
        PromptMessage("tool", (Result("call_1", None, (Text("look"), shown)),)),
        PromptMessage("tool", (Result(None, "add", (Text("2"),)),), "add"),
    )
    assert prompt.attached == [shown]


HI = {"role": "user", "content": "hi"}


def test_what_is_not_asked_for_has_the_prompts_defaults():
    prompt = asked(HI).prompt
    assert (prompt.functions, prompt.choice, prompt.parallel, prompt.answer_form) == ((), "auto", True, None)
    assert (prompt.limits, prompt.effort, prompt.continues) == (Limits(), None, None)
    assert (prompt.pictures, prompt.stream) == ("links", False)
    assert asked(HI).options == ChatOptions(include_usage=False)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"stop": "x", "max_tokens": 3, "n": 2}, "limits", Limits(("x",), 3, 2)),
        ({"tools": [TOOL], "tool_choice": "required"}, "choice", "required"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "add"}}},
            "choice",
            OnlyFunction("add"),
        ),
        ({"parallel_tool_calls": False}, "parallel", False),
        ({"parallel_tool_calls": None}, "parallel", True),
        ({"response_format": {"type": "text"}}, "answer_form", None),
        ({"response_format": {"type": "json_object"}}, "answer_form", JsonAnswer()),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "sum", "description": "Both."}}},
            "answer_form",
            JsonAnswer({}, "sum", "Both.", "response_format.json_schema.schema"),
        ),
        (
            {"conversation_id": "c.a", "parent_message_id": "m"},
            "continues",
            Continues("c.a", "m", "conversation_id"),
        ),
        ({"reasoning_effort": "high"}, "effort", "high"),
        ({"image_response_format": "b64_json"}, "pictures", "data"),
        ({"stream": True}, "stream", True),
    ],
)
def test_fields_come_to_what_they_mean(fields, name, value):
    assert getattr(asked(HI, **fields).prompt, name) == value


def test_usage_is_the_writers_to_know():
    assert asked(HI, stream=True, stream_options={"include_usage": True}).options == ChatOptions(include_usage=True)


# --- what the current API knows besides -------------------------------------------------------------------------------

NAMED = {"name": "get_weather", "arguments": '{"city":"Oslo"}'}
DEFINED = {"name": "get_weather", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": DEFINED}, {"type": "function", "function": {"name": "clock"}}]
HI = {"role": "user", "content": "Hi"}


def assistant(**fields):
    return asked({"role": "assistant", "content": None, **fields}).prompt.messages[0].parts


def wrong(**fields):
    with pytest.raises(RequestError) as caught:
        asked(HI, **fields)
    assert caught.value.http_status == 400
    return caught.value


def test_the_older_form_of_a_call_is_a_call():
    assert assistant(function_call=NAMED) == (Text(""), Call("", "get_weather", '{"city":"Oslo"}'))


def test_a_refusal_is_what_the_assistant_said():
    assert assistant(refusal="No.") == (Text("No."),)
    assert assistant(content="Well.", refusal="No.") == (Text("Well."), Text("No."))


def test_a_spoken_answer_is_its_words():
    assert assistant(audio={"id": "audio_1", "data": "AA", "expires_at": 1, "transcript": "Hello"}) == (Text("Hello"),)
    assert assistant(content="Hello", audio={"id": "audio_1"}) == (Text("Hello"),)


def test_a_spoken_answer_without_words_is_refused():
    with pytest.raises(RequestError) as caught:
        assistant(audio={"id": "audio_1"})
    assert (caught.value.param, caught.value.code) == ("messages[0].audio", "unsupported_content")


def test_an_earlier_call_of_a_custom_tool_is_a_call():
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": 'select "a"'}}
    assert assistant(tool_calls=[call]) == (Text(""), Call("c", "sql", '"select \\"a\\""'))


def test_the_spellings_of_the_responses_api_are_taken():
    parts = [
        {"type": "input_text", "text": "a"},
        {"type": "output_text", "text": "b", "annotations": []},
        {"type": "input_image", "image_url": "https://a.test/x.png", "detail": "low"},
        {"type": "input_file", "file_data": "aGVsbG8=", "filename": "y.txt"},
    ]
    field = "messages[0].content"
    assert saying(parts).messages[0].parts == (
        Text("a"),
        Text("b"),
        Image("https://a.test/x.png", "url", f"{field}[2].image_url", "low"),
        File("aGVsbG8=", "base64", f"{field}[3].file_data", "y.txt"),
    )


def test_a_picture_without_a_source_is_refused_by_name():
    with pytest.raises(RequestError) as caught:
        saying([{"type": "input_image"}])
    assert caught.value.param == "messages[0].content[0].image_url"
    assert caught.value.code == "missing_required_parameter"


def test_files_that_were_uploaded_before_are_named_by_their_id():
    asked_for = [
        file(file_id="file-1", filename="a.txt"),
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_image", "file_id": "file-3", "detail": "low"},
        {"type": "input_image", "file_id": "file-4"},
    ]
    field = "messages[0].content"
    assert saying(asked_for).messages[0].parts == (
        File("file-1", "file_id", f"{field}[0].file.file_id", "a.txt"),
        File("file-2", "file_id", f"{field}[1].file_id"),
        Image("file-3", "file_id", f"{field}[2].file_id", "low"),
        Image("file-4", "file_id", f"{field}[3].file_id"),
    )


def test_the_provider_before_a_model_is_left_out():
    assert asked(HI, model="openai/gpt-4o").prompt.model == "gpt-4o"


def test_allowed_tools_are_all_there_is_to_call():
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "clock"}}]}
    prompt = asked(HI, tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed}).prompt
    assert ([one.name for one in prompt.functions], prompt.choice) == (["clock"], "required")


def only(name):
    return {"mode": "auto", "tools": [{"type": "function", "function": {"name": name}}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "custom", "custom": {"name": "sql"}}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "sql"}}}, "tool_choice.type"),
        ({"tools": TOOLS, "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": only("x")}},
            "tool_choice.allowed_tools.tools[0].function.name",
        ),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": only("x")}}, "tool_choice"),
        ({"functions": [DEFINED], "tools": TOOLS}, "tools"),
        ({"functions": [DEFINED, DEFINED]}, "functions[1].name"),
        ({"functions": [DEFINED], "function_call": {"name": "clock"}}, "function_call.name"),
        ({"function_call": {"name": "clock"}}, "function_call"),
    ],
)
def test_what_does_not_work_with_tools_is_refused_by_name(fields, param):
    assert wrong(**fields).param == param


def test_the_older_form_of_tools_works():
    read_ = asked(HI, functions=[DEFINED], function_call={"name": "get_weather"})
    assert read_.options == ChatOptions(legacy=True)
    assert read_.ignored == []
    (function,) = read_.prompt.functions
    assert (function.name, function.param) == ("get_weather", "functions[0].parameters")
    assert (read_.prompt.choice, read_.prompt.parallel) == (OnlyFunction("get_weather"), False)
    assert asked(HI, functions=[], function_call="auto").options == ChatOptions()
