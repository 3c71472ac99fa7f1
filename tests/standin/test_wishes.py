"""What the demo's upstream does when it is asked in plain words, as clients of the gateway see it."""

import base64
import contextlib
import io
import json
import re
import zlib

import httpx
import pytest

from shim.standin import make_access_token, wording

SLOWEST = 30


@pytest.fixture(scope="module")
def demo(start_standin, start_gateway):
    """A gateway with an account, as the demo's."""
    gateway = start_gateway(CHATGPT_BASE_URL=start_standin(understands=True).base_url, ADMIN_KEY="admin-key")
    account = {"text": make_access_token("demo")}
    assert gateway.post("/tokens/api/accounts", account, Authorization="Bearer admin-key").status_code < 300
    return gateway


@pytest.fixture(scope="module")
def ask(demo):
    def ask(question, *more, **fields):
        body = {"model": "auto", "messages": [{"role": "user", "content": question}, *more], **fields}
        return httpx.post(f"{demo.base_url}/v1/chat/completions", json=body, timeout=SLOWEST)

    return ask


def said(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def tool(name, description="", **parameters):
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


@pytest.mark.parametrize("question", ["Hello", "你好"])
def test_what_it_does_not_know_it_says_with_what_to_ask_for(ask, question):
    text = said(ask(question))
    assert f"You asked: “{question}”" in text
    assert "I am not a language model" in text
    assert "a **table**" in text


@pytest.mark.parametrize("question", ["Write a Python function that lists prime numbers", "写一段代码"])
def test_code_that_runs_as_the_answer_says(ask, question):
    text = said(ask(question))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue().strip() == wording.PRIMES_OUTPUT
    assert wording.PRIMES_OUTPUT in text
    assert "prepared answer" in text


def test_a_table(ask):
    rows = [line for line in said(ask("Compare them in a table")).splitlines() if line.startswith("|")]
    assert len(rows) == 5
    assert {row.count("|") for row in rows} == {4}


def test_a_picture_that_is_one(ask):
    text = said(ask("Draw mountains at sunset"))
    (link,) = re.findall(r"!\[Mountains at sunset\]\((\S+)\)", text)
    png = httpx.get(link).content
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (960, 640)
    start = png.index(b"IDAT") + 4
    assert len(zlib.decompressobj().decompress(png[start:])) == 640 * (960 * 3 + 1)


def test_the_images_api_gets_the_same_picture(demo):
    asked = {"prompt": "a harbour", "response_format": "b64_json"}
    answer = httpx.post(f"{demo.base_url}/v1/images/generations", json=asked, timeout=SLOWEST)
    assert answer.status_code == 200, answer.text
    assert answer.json()["size"] == "960x640"


def test_a_tool_of_its_own_and_a_file(ask):
    text = said(ask("Work out the first ten squares"))
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == wording.WORKED_OUT_OUTPUT
    assert f"```output\n{wording.WORKED_OUT_OUTPUT}```" in text
    (link,) = re.findall(r"\[table.csv\]\((\S+)\)", said(ask("Make me a file")))
    assert httpx.get(link).text == wording.TABLE


def test_thoughts_and_length(ask):
    assert ask("Think about it").json()["choices"][0]["message"]["reasoning_content"]
    assert len(said(ask("Tell a long story")).split()) == 300


def test_a_function_is_called_once_and_its_result_told(ask):
    schema = {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}}
    tools = [
        tool("send_mail", "Sends one."),
        tool("get_weather", "The weather.\n\nOf a city.", type="object", properties=schema, required=[*schema]),
    ]
    question = "What will the weather be in Utrecht for 3 days?"
    message = ask(question, tools=tools).json()["choices"][0]["message"]
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Utrecht", "days": 3, "unit": "C"}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "dry, 14 degrees"}
    assert "dry, 14 degrees" in said(ask(question, message, result, tools=tools))


def test_a_function_is_called_that_has_to_be_and_none_that_nobody_meant(ask):
    tools = [tool("delete_everything", type="object", properties={})]
    assert "Hello" in said(ask("Hello", tools=tools))
    assert "primes(30)" in said(ask("Write code", tools=[tool("Write"), tool("Code")]))
    system = {"role": "system", "content": "### Rules\nArguments: {\n### More\n- Be kind."}
    body = {"messages": [system, {"role": "user", "content": "Please call Write"}], "tools": [tool("Write")]}
    assert [one["function"]["name"] for one in ask("", **body).json()["choices"][0]["message"]["tool_calls"]] == [
        "Write"
    ]
    forced = ask("Hello", tools=tools, tool_choice="required").json()["choices"][0]["message"]["tool_calls"]
    assert [(one["function"]["name"], one["function"]["arguments"]) for one in forced] == [("delete_everything", "{}")]


def test_json_is_json_and_fits_its_schema(ask):
    whole = {
        "type": "object",
        "$defs": {"Step": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}},
        "properties": {
            "steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}},
            "answer": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["steps", "answer"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": whole, "strict": True}}
    assert json.loads(said(ask("What is 8 plus nothing?", response_format=form))) == {
        "steps": [{"text": "demo"}],
        "answer": 8,
    }
    assert "prepared" in json.loads(said(ask("JSON, please", response_format={"type": "json_object"})))["answer"]


def test_files_are_named_as_they_arrived(ask):
    url = "data:text/plain;base64," + base64.b64encode(b"harbour\n" * 100).decode()
    part = {"type": "file", "file": {"filename": "harbours.txt", "file_data": url}}
    text = said(ask([{"type": "text", "text": "What is in this picture?"}, part]))
    assert "* **harbours.txt**, text/plain, 800 bytes" in text


def test_a_limit_is_a_429_that_says_when_it_is_over(start_standin, start_gateway):
    """Of a gateway of its own, because everybody has to wait then."""
    limited = start_gateway(CHATGPT_BASE_URL=start_standin(understands=True).base_url)
    answer = httpx.post(
        f"{limited.base_url}/v1/chat/completions",
        json={"model": "auto", "messages": [{"role": "user", "content": "Show me a limit"}]},
        timeout=SLOWEST,
    )
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 10


def test_a_directive_goes_before_words_and_tests_hear_none(ask, gateway):
    assert said(ask("[[say=Exactly this]] a table, please")) == "Exactly this"
    body = {"model": "auto", "messages": [{"role": "user", "content": "A table, please"}]}
    usual = httpx.post(f"{gateway.base_url}/v1/chat/completions", json=body, timeout=SLOWEST)
    assert "| status |" not in said(usual)
