"""docs/clients.md: each program on it is run as it is printed, but for the address; each configuration is the one that
the client's own test uses."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import PROGRAMS, command_for, interpreter, surroundings

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
ADDRESS = "http://127.0.0.1:5005"
SAID = "Good day — ☀"
SECTIONS = {
    title: re.search(r"^```(\w+)\n(.*?)^```", text, re.M | re.S)
    for title, _, text in (part.partition("\n") for part in re.split(r"^###? ", PAGE, flags=re.M)[1:])
}
CODE = {title: block[2] for title, block in SECTIONS.items() if block is not None and block[1] in {"python", "js"}}
# The environment, and a program of it that runs anyway. The names are those that begin the tests of the same client, so
# that both run where the program runs.
PYTHON = {
    "httpx": ("openai for Python", "openai3", "with_httpx_sse.py"),
    "langchain": ("LangChain", "openai3", "with_langchain.py"),
    "pydantic": ("pydantic-ai", "openai3", "with_pydantic_ai.py"),
    "llamaindex": ("LlamaIndex", "openai2", "with_llamaindex.py"),
    "litellm": ("LiteLLM", "openai2", "with_litellm.py"),
    "instructor": ("instructor", "openai2", "with_instructor.py"),
    "openai": ("Agents SDK for Python", "responses", "with_openai_agents.py"),
    "haystack": ("Haystack", "responses", "with_haystack.py"),
    "dspy": ("DSPy", "responses", "with_dspy.py"),
    "anthropic": ("anthropic", "anthropic", "with_anthropic.py"),
    "langchain-anthropic": ("langchain-anthropic", "anthropic", "with_langchain_anthropic.py"),
    "smolagents": ("smolagents", "agents", "with_smolagents.py"),
}
NODE = ["openai for Node", "AI SDK", "Agents SDK for Node"]


def test_every_program_of_the_page_is_run():
    assert sorted(CODE) == sorted([*NODE, *(title for title, *_ in PYTHON.values())])


@pytest.fixture
def model_says(answers):
    """What the model says in the turns to come; instructor takes no plain words."""

    def plan(title):
        call = f'<tool_call>\n{{"name": "Greeting", "arguments": {{"text": "{SAID}"}}}}\n</tool_call>'
        answers(*[call if title == "instructor" else SAID] * len(re.findall(r"(print|log)\(", CODE[title])))

    return plan


@pytest.mark.parametrize("client", PYTHON.values(), ids=PYTHON)
def test_a_program_works_as_it_is_printed(run_client, model_says, gateway, client):
    title, environment, program = client
    model_says(title)
    code = CODE[title].replace(ADDRESS, gateway.base_url)
    assert code != CODE[title]
    assert set(run_client(environment, program, "printed", code=code).splitlines()) == {SAID}


@pytest.mark.parametrize("title", NODE)
def test_a_program_for_node_works_as_it_is_printed(model_says, gateway, outside, tmp_path, title):
    node = interpreter("node")
    model_says(title)
    program = tmp_path / "printed.mjs"
    program.write_text(CODE[title].replace(ADDRESS, gateway.base_url))
    said = subprocess.run(
        command_for(node, program),
        cwd=node.parents[1],
        env=surroundings(node, tmp_path, outside.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.stdout == f"{SAID}\n", said.stderr


@pytest.mark.parametrize(
    ("title", "program", "model", "url"),
    [
        ("Codex", "with_codex.py", "{model}", "{url}"),
        ("llm", "with_llm.py", "{gateway.model}", "{gateway.url}"),
    ],
)
def test_a_configuration_is_the_one_that_is_tried(title, program, model, url):
    lines = SECTIONS[title][2].replace("auto", model).replace(f"{ADDRESS}/v1", url).splitlines()
    assert len(lines) > 5
    tried = (PROGRAMS / program).read_text().splitlines()
    assert [line for line in lines if line not in tried] == []
