"""The same questions asked through every client, each with its own library in an environment of its own.

Rule: every client is in the table with what it can do; what it makes of our wire is compared with what upstream said.
"""

import json
from typing import Any, NamedTuple

import pytest

PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SAID = "Héllo, wörld — **bold** 🌍\n\n```python\nprint('<b>')\n```\n\nDone."
CALL = '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>'
WEATHER = CALL % ("get_weather", '{"city": "Oslo"}')
PERSON = {"name": "Ada", "age": 36}


class Client(NamedTuple):
    """A program, the environment it runs in, the parts it has, and what every part of it is told besides."""

    environment: str
    program: str
    parts: str
    inputs: dict[str, str] = {}  # noqa: RUF012  never changed


TEXT = "chat stream"
CALLS = "tools tools_streamed"
CLIENTS = {
    "openai-node": Client("node", "with_openai_node.mjs", f"{TEXT} {CALLS} structured image refused reasoning"),
    "ai-sdk-compatible": Client(
        "node",
        "with_ai_sdk.mjs",
        f"{TEXT} {CALLS} structured image refused reasoning",
        {"provider": "compatible"},
    ),
    "ai-sdk-openai": Client(
        "node", "with_ai_sdk.mjs", f"{TEXT} {CALLS} structured image refused", {"provider": "openai"}
    ),
    "ai-sdk-default": Client(
        "node",
        "with_ai_sdk.mjs",
        f"{TEXT} {CALLS} structured image refused summed_up",
        {"provider": "responses"},
    ),
    "openai-node-responses": Client(
        "node", "with_openai_node_responses.mjs", f"{TEXT} {CALLS} structured image refused"
    ),
    "openai-agents": Client(
        "responses", "with_openai_agents.py", f"{TEXT} {CALLS} structured image refused handed_over"
    ),
    "openai-agents-node": Client(
        "node", "with_openai_agents.mjs", f"{TEXT} {CALLS} structured image refused handed_over"
    ),
    "langchain": Client("openai3", "with_langchain.py", f"{TEXT} {CALLS} structured structured_by_call image refused"),
    "pydantic-ai": Client("openai3", "with_pydantic_ai.py", f"{TEXT} tools structured image refused"),
    "litellm": Client("openai2", "with_litellm.py", f"{TEXT} {CALLS} structured image refused reasoning"),
    "llamaindex": Client(
        "openai2", "with_llamaindex.py", f"{TEXT} {CALLS} structured structured_by_call image refused"
    ),
    "haystack": Client("responses", "with_haystack.py", f"{TEXT} {CALLS} structured image refused", {"api": "chat"}),
    "haystack-responses": Client(
        "responses", "with_haystack.py", f"{TEXT} {CALLS} structured image refused", {"api": "responses"}
    ),
    "dspy": Client(
        "responses", "with_dspy.py", "chat fields field_streamed structured_by_mode called refused", {"api": "chat"}
    ),
    "dspy-responses": Client(
        "responses",
        "with_dspy.py",
        "chat fields field_streamed structured_by_mode called refused",
        {"api": "responses"},
    ),
    "dspy-completions": Client("responses", "with_dspy.py", "chat fields", {"api": "text"}),
    "instructor": Client("openai2", "with_instructor.py", "structured structured_by_mode structured_by_call"),
    "llm": Client("openai3", "with_llm.py", f"{TEXT} structured image"),
    "anthropic": Client("anthropic", "with_anthropic.py", f"{TEXT} {CALLS} image refused reasoning"),
    "langchain-anthropic": Client(
        "anthropic",
        "with_langchain_anthropic.py",
        f"{TEXT} {CALLS} structured structured_by_call image refused reasoning",
    ),
    "httpx-sse": Client("openai3", "with_httpx_sse.py", "stream"),
}


def having(*parts: str) -> list[Any]:
    """Every client with the first of these parts; the parts it has, one by one."""
    return [
        pytest.param(CLIENTS[name], part, id=f"{name}-{part}")
        for name in CLIENTS
        for part in parts
        if part in CLIENTS[name].parts.split()
    ]


@pytest.fixture
def ask(run_client):
    def run(client, part, **more):
        return run_client(client.environment, client.program, part, **client.inputs, **more)

    return run


@pytest.mark.parametrize(("client", "part"), having("chat"))
def test_an_answer_arrives_to_the_letter(ask, answers, client, part):
    answers(SAID)
    answer = ask(client, part, prompt="Say hello")
    assert answer["text"] == SAID
    if "tokens" in answer:
        assert answer["reason"] == "stop"
        assert min(answer["tokens"]) > 0


@pytest.mark.parametrize(("client", "part"), having("stream"))
def test_a_streamed_answer_arrives_to_the_letter(ask, answers, client, part):
    answers(SAID)
    answer = ask(client, part, prompt="Say hello")
    assert "".join(answer["pieces"]) == SAID
    if "tokens" in answer:
        assert len(answer["pieces"]) > 2
        assert answer["reason"] == "stop"
        assert min(answer["tokens"]) > 0


@pytest.mark.parametrize(("client", "part"), having("reasoning", "summed_up"))
def test_reasoning_is_told_apart(ask, client, part):
    answer = ask(client, part, prompt="[[script=reasoning seed=7]] Think")
    assert answer["reasoning"]
    assert answer["streamed"] == answer["reasoning"]


@pytest.mark.parametrize(("client", "part"), having("tools", "tools_streamed"))
def test_a_function_is_called_and_its_result_sent_back(ask, answers, turns, client, part):
    answers(f"Let me look.\n\n{WEATHER}", "It is 20 degrees.")
    answer = ask(client, part, prompt="How warm is Oslo?")
    (call,) = answer["calls"]
    arguments = call["arguments"]
    assert call["name"] == "get_weather"
    assert (json.loads(arguments) if isinstance(arguments, str) else arguments) == {"city": "Oslo"}
    assert answer["words"] == "Let me look."
    assert answer["text"] == "It is 20 degrees."
    first, second = turns()
    assert "get_weather" in json.dumps(first["messages"])
    assert "20 degrees in Oslo" in json.dumps(second["messages"][-1])


@pytest.mark.parametrize(("client", "part"), having("structured", "structured_by_mode"))
def test_a_structure_is_read_from_json(ask, answers, client, part):
    answers(f"Here it is:\n\n```json\n{json.dumps(PERSON)}\n```")
    assert ask(client, part, prompt="Who wrote the first program?") == PERSON


@pytest.mark.parametrize(("client", "part"), having("structured"))
def test_a_structure_that_does_not_fit_is_asked_for_once_more(ask, answers, turns, client, part):
    answers('{"name": "Ada"}', json.dumps(PERSON))
    assert ask(client, part, prompt="Who wrote the first program?") == PERSON
    assert len(turns()) == 2


@pytest.mark.parametrize(
    ("client", "part", "name"),
    [
        pytest.param(CLIENTS["langchain"], "structured_by_call", "Person", id="langchain"),
        pytest.param(CLIENTS["llamaindex"], "structured_by_call", "Person", id="llamaindex"),
        pytest.param(CLIENTS["langchain-anthropic"], "structured_by_call", "Person", id="langchain-anthropic"),
        pytest.param(CLIENTS["instructor"], "structured_by_call", "Person", id="instructor"),
        pytest.param(
            Client("openai3", "with_pydantic_ai.py", "structured_by_call"),
            "structured_by_call",
            "final_result",
            id="pydantic-ai",
        ),
    ],
)
def test_a_structure_is_read_from_a_call(ask, answers, turns, client, part, name):
    answers(CALL % (name, json.dumps(PERSON)))
    assert ask(client, part, prompt="Who wrote the first program?") == PERSON
    assert len(turns()) == 1


@pytest.mark.parametrize(("client", "part"), having("image"))
def test_a_picture_goes_upstream(ask, answers, turns, make_account, client, part):
    answers("A dot.")
    key = make_account("alice", plan="plus")
    assert ask(client, part, key=key, prompt="What is this?", picture=PICTURE) == {"text": "A dot."}
    (turn,) = turns()
    message = turn["messages"][-1]
    assert message["content"]["content_type"] == "multimodal_text"
    assert [part for part in message["content"]["parts"] if not isinstance(part, str)]


# The names the clients' users catch.
REFUSALS = {
    "openai-node": ("RateLimitError", "PermissionDeniedError"),
    "ai-sdk-compatible": ("AI_APICallError", "AI_APICallError"),
    "ai-sdk-openai": ("AI_APICallError", "AI_APICallError"),
    "ai-sdk-default": ("AI_APICallError", "AI_APICallError"),
    "openai-node-responses": ("RateLimitError", "PermissionDeniedError"),
    "openai-agents": ("RateLimitError", "PermissionDeniedError"),
    "openai-agents-node": ("RateLimitError", "PermissionDeniedError"),
    "langchain": ("OpenAIRateLimitError", "OpenAIPermissionDeniedError"),
    "pydantic-ai": ("ModelRateLimitError", "ModelAuthenticationError"),
    "litellm": ("RateLimitError", "APIError"),
    "llamaindex": ("RateLimitError", "PermissionDeniedError"),
    "haystack": ("RateLimitError", "PermissionDeniedError"),
    "haystack-responses": ("RateLimitError", "PermissionDeniedError"),
    "dspy": ("LMRateLimitError", "LMAuthError"),
    "dspy-responses": ("LMRateLimitError", "LMAuthError"),
    "anthropic": ("RateLimitError", "PermissionDeniedError"),
    "langchain-anthropic": ("AnthropicRateLimitError", "AnthropicPermissionDeniedError"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_the_error_the_client_names(ask, name):
    limited, forbidden = REFUSALS[name]
    one = ask(CLIENTS[name], "refused", prompt="[[status=429 clears_in=77]] hi")
    assert (one["kind"], one["status"]) == (limited, 429)
    two = ask(CLIENTS[name], "refused", prompt="[[failure=sentinel]] hi")
    assert (two["kind"], two["status"]) == (forbidden, 403)
    assert two["text"]


def test_every_client_that_can_be_refused_is_asked():
    assert set(REFUSALS) == {name for name, client in CLIENTS.items() if "refused" in client.parts.split()}


@pytest.mark.parametrize(("client", "part"), having("fields"))
def test_fields_are_read_where_the_model_writes_them(ask, answers, client, part):
    answers("[[ ## name ## ]]\nAda\n\n[[ ## age ## ]]\n36\n\n[[ ## completed ## ]]")
    assert ask(client, part, prompt="Who wrote the first program?") == PERSON


@pytest.mark.parametrize(("client", "part"), having("field_streamed"))
def test_a_field_is_read_while_it_comes(ask, answers, client, part):
    text = "It is blue: of the light, the blue is scattered most — Héllo."
    answers(f"[[ ## answer ## ]]\n{text}\n\n[[ ## completed ## ]]")
    read = ask(client, part, prompt="Why is the sky blue?")
    assert "".join(read["pieces"]) == read["whole"] == text
    assert len(read["pieces"]) > 2


@pytest.mark.parametrize(("client", "part"), having("called"))
def test_a_call_is_handed_to_a_client_that_makes_it_later(ask, answers, turns, make_account, client, part):
    answers(WEATHER)
    calls = ask(client, part, key=make_account("alice", plan="plus"), prompt="How warm is Oslo?", name="gpt-4o")
    assert calls == [{"name": "get_weather", "arguments": {"city": "Oslo"}}]
    assert "get_weather" in json.dumps(turns()[0]["messages"])


@pytest.mark.parametrize(("client", "part"), having("handed_over"))
def test_an_agent_gives_the_floor_to_another(ask, answers, turns, client, part):
    answers(CALL % ("transfer_to_forecaster", "{}"), "It is 20 degrees.")
    assert ask(client, part, prompt="How warm is Oslo?") == {"text": "It is 20 degrees.", "by": "forecaster"}
    assert "forecaster" in json.dumps(turns()[-1]["messages"])


def test_the_llm_command_calls_a_function(ask, answers, turns):
    answers(WEATHER, "It is 20 degrees.")
    assert ask(CLIENTS["llm"], "tools", prompt="How warm is Oslo?")["text"].endswith("It is 20 degrees.")
    assert "20 degrees in Oslo" in json.dumps(turns()[-1]["messages"][-1])


def test_the_plain_wire(ask, answers):
    answers(SAID)
    read = ask(CLIENTS["httpx-sse"], "stream", prompt="Say hello")
    assert (read["names"], read["end"], read["last"]) == (["message"], "[DONE]", [])


def test_a_failure_on_the_plain_wire_is_one_event_and_the_last(ask):
    read = ask(CLIENTS["httpx-sse"], "failed", prompt="[[script=error]] hi")
    assert read["status"] == 200
    assert read["many"] > 1
    assert set(read["last"]) == {"error"}


def test_anthropics_tool_runner_runs_a_tool(ask, answers, turns):
    answers(WEATHER, "It is 20 degrees.")
    assert ask(CLIENTS["anthropic"], "tool_runner", prompt="How warm is Oslo?")["text"] == "It is 20 degrees."
    assert "20 degrees in Oslo" in json.dumps(turns()[-1]["messages"][-1])


def test_anthropics_library_counts_what_it_uses(ask):
    counts = ask(CLIENTS["anthropic"], "count", prompt="[[say=hi]]")
    assert counts["counted"] == counts["used"] > 20


def test_an_answer_that_breaks_off_is_an_error_of_anthropics_library(ask):
    broken = ask(CLIENTS["anthropic"], "failed", prompt="[[script=error]] hi")
    assert (broken["kind"], broken["status"]) == ("APIStatusError", 200)
    assert broken["text"]


@pytest.mark.parametrize("stream", [False, True])
def test_llamaindex_completes_a_text(ask, answers, stream):
    answers(SAID)
    assert ask(CLIENTS["llamaindex"], "completed", prompt="Say hello", stream=stream)["text"] == SAID


@pytest.mark.parametrize("name", ["openai-node", "anthropic"])
def test_models_are_listed(ask, name):
    assert "auto" in ask(CLIENTS[name], "models")


@pytest.mark.parametrize("name", ["openai-node", "anthropic"])
def test_a_file_is_uploaded_once_and_named(ask, answers, turns, make_account, name):
    answers("You need milk.")
    key = make_account(f"files of {name}", plan="plus")
    done = ask(CLIENTS[name], "files", key=key, prompt="What do I need?", name="notes.txt", text="Buy milk.")
    assert done == {"text": "You need milk.", "listed": True, "content": "Buy milk.", "left": []}
    (turn,) = turns()
    assert [one["name"] for one in turn["messages"][-1]["metadata"]["attachments"]] == ["notes.txt"]


def test_anthropics_search_is_chatgpts_own(ask, turns):
    assert ask(CLIENTS["anthropic"], "search", prompt="[[script=citations]] What is new?")["text"]
    (turn,) = turns()
    assert "search" in turn["system_hints"]


def test_anthropics_library_is_told_which_stop_sequence_it_was(ask, answers):
    answers("one STOP two")
    told = ask(CLIENTS["anthropic"], "stopped", prompt="Count", stop="STOP")
    assert told == {"text": "one ", "reason": "stop_sequence", "stop": "STOP"}


def edit_block(file, before, after):
    return f"Changed:\n\n{file}\n```python\n<<<<<<< SEARCH\n{before}\n=======\n{after}\n>>>>>>> REPLACE\n```\n"


@pytest.mark.parametrize("stream", [False, True])
def test_aider_edits_a_file_and_commits(run_client, answers, turns, make_account, stream):
    before, after = 'def greet():\n    return "hello"', 'def greet():\n    return "good day"'
    answers(edit_block("greet.py", before, after), "feat: greet politely")
    done = run_client(
        "aider",
        "with_aider.py",
        "edit",
        key=make_account("alice", plan="plus"),
        model="gpt-4o",
        prompt="Greet politely.",
        file="greet.py",
        text=f"{before}\n",
        stream=stream,
    )
    assert done["file"] == f"{after}\n"
    assert done["log"] == ["feat: greet politely", "Begin"]
    assert 'return "hello"' in json.dumps(turns()[0]["messages"]).replace('\\"', '"')


def test_claude_code_writes_a_file(run_client, answers, turns):
    answers(CALL % ("Write", '{"file_path": "greeting.txt", "content": "Good day\\n"}'), "I have greeted the world.")
    done = run_client("claude", "with_claude_code.py", "work", prompt="Greet the world in a file.", tool="Write")
    assert done == {"said": "I have greeted the world.", "files": {"greeting.txt": "Good day\n"}}
    asked, told = turns()
    assert "Greet the world in a file." in json.dumps(asked["messages"])
    assert told["messages"][-1]["author"]["role"] == "tool"


def test_gptme_writes_a_file(run_client, answers, turns):
    done_saying = "I have greeted the world.\n\n```complete\n```\n"
    # Twice, for at the same time it asks for a title.
    answers("I will.\n\n```save greeting.txt\nGood day\n```\n", done_saying, done_saying)
    done = run_client("agents", "with_gptme.py", "work", prompt="Greet the world in a file.", tool="save")
    assert done["files"] == {"greeting.txt": "Good day\n"}
    assert "I have greeted the world." in done["said"]
    asked, *later = turns()
    assert "Greet the world in a file." in json.dumps(asked["messages"])
    assert any("Saved to greeting.txt" in json.dumps(turn["messages"][-1]) for turn in later)


@pytest.mark.parametrize("part", ["calls", "code"])
def test_an_agent_of_smolagents_writes_a_file(run_client, answers, turns, part):
    given = {"path": "greeting.txt", "content": "Good day"}
    if part == "calls":
        end = {"answer": "I have greeted the world."}
        answers(CALL % ("write_file", json.dumps(given)), CALL % ("final_answer", json.dumps(end)))
    else:
        answers(
            "Thought: I write it.\n<code>\nwrite_file(path='greeting.txt', content='Good day')\n</code>",
            "Thought: Done.\n<code>\nfinal_answer('I have greeted the world.')\n</code>",
        )
    done = run_client("agents", "with_smolagents.py", part, prompt="Greet the world in a file.")
    assert done == {"said": "I have greeted the world.", "files": {"greeting.txt": "Good day"}}
    asked, told = turns()
    assert "Greet the world in a file." in json.dumps(asked["messages"])
    assert "greeting.txt" in json.dumps(told["messages"])


def test_codex_writes_a_file(run_client, answers, turns):
    command = json.dumps({"cmd": "printf 'Good day\\n' > greeting.txt"})
    answers(CALL % ("exec_command", command), "I have greeted the world.")
    done = run_client("codex", "with_codex.py", "work", prompt="Greet the world in a file.")
    assert done == {"said": "I have greeted the world.", "files": {"greeting.txt": "Good day\n"}}
    asked, told = turns()
    assert "Greet the world in a file." in json.dumps(asked["messages"])
    assert told["messages"][-1]["author"]["role"] == "tool"
