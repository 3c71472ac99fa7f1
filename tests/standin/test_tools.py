"""Tools: calls and what comes back, the sandbox, canvas."""

import json

import pytest

from shim.standin import wording


async def test_fences_inside_code_and_output(served):
    reading = await served.client().told("[[script=code_fence]]")
    (call,), (output,) = reading.by_content("code"), reading.by_content("execution_output")
    assert "```" in call["content"]["text"]
    assert output["content"]["text"] == wording.FENCE_OUTPUT


async def test_code_without_output(served):
    reading = await served.client().told("[[script=code_open]]")
    assert len(reading.by_content("code")) == 1
    assert reading.by_content("execution_output") == []
    assert reading.answers == [wording.OPEN_ANSWER]


async def test_code_that_fails(served):
    reading = await served.client().told("[[script=code_error]]")
    (output,), (failed,) = reading.by_content("execution_output"), reading.by_content("system_error")
    result = output["metadata"]["aggregate_result"]
    assert result["status"] == "failed_with_in_kernel_exception"
    assert result["in_kernel_exception"]["name"] == "IndexError"
    assert failed["content"]["name"] == "GetDownloadLinkError"
    assert len(reading.answers) == 1


@pytest.mark.parametrize(
    ("script", "tool"),
    [
        ("canvas", "canmore.create_textdoc"),
        ("unknown_tool", "brand_new.tool"),
        ("gizmo_tool", "weather_example_test__jit_plugin.getForecast"),
    ],
)
async def test_tools_that_speak_json(served, script, tool):
    reading = await served.client().told(f"[[script={script}]]")
    (call,) = reading.by_content("code")
    assert call["recipient"] == tool
    assert isinstance(json.loads(call["content"]["text"]), dict)
    (answer,) = (one for one in reading.messages.values() if one["author"]["role"] == "tool")
    assert answer["author"]["name"] == tool
    assert isinstance(json.loads(answer["content"]["parts"][0]), dict)
    assert len(reading.answers) == 1
    assert reading.of_type("server_ste_metadata")[0]["metadata"]["tool_name"] == tool


async def test_canvas_makes_a_document(served):
    client = served.client()
    reading = await client.saved("[[script=canvas]]")
    asked = json.loads(reading.by_content("code")[0]["content"]["text"])
    assert asked == {"name": wording.CANVAS_NAME, "type": "document", "content": wording.CANVAS_TEXT}
    (document,) = (await client.get(f"/conversation/{reading.conversation_id}/textdocs")).json()
    assert document["content"] == wording.CANVAS_TEXT
    told = next(one for one in reading.messages.values() if one["author"]["role"] == "tool")
    assert document["id"] == told["metadata"]["canvas"]["textdoc_id"]
    plain = await client.saved("Hello")
    assert (await client.get(f"/conversation/{plain.conversation_id}/textdocs")).json() == []


def sandbox_path(reading, **changes):
    """The query of interpreter/download."""
    asked = {"message_id": list(reading.messages)[-1], "sandbox_path": wording.SANDBOX_PATH} | changes
    return f"/conversation/{reading.conversation_id}/interpreter/download?" + "&".join(
        f"{key}={value}" for key, value in asked.items()
    )


@pytest.mark.parametrize("temporary", [True, False])
async def test_a_file_of_the_sandbox(served, conversation, temporary):
    client = served.client()
    reading = await client.told(conversation("[[script=sandbox]]", history_and_training_disabled=temporary))
    assert "[table.csv](sandbox:/mnt/data/table.csv)" in reading.answers[0]
    told = (await client.get(sandbox_path(reading))).json()
    assert (told["status"], told["file_name"], told["mime_type"]) == ("success", "table.csv", "text/csv")
    assert (await served.http.get(told["download_url"])).text == wording.TABLE


async def test_files_the_sandbox_does_not_have(served):
    client = served.client()
    reading = await client.told("[[script=sandbox]]")
    assert (await client.get(sandbox_path(reading, sandbox_path="/mnt/data/none"))).status_code == 404
    assert (await client.get(sandbox_path(reading, message_id="none"))).status_code == 404
    assert (await served.client("bob").get(sandbox_path(reading))).status_code == 404


async def test_a_sandbox_that_is_gone(served):
    client = served.client()
    reading = await client.told("[[script=sandbox]]")
    await served.account(name="alice", sandbox="expired")
    expired = await client.get(sandbox_path(reading))
    assert (expired.status_code, expired.json()["error_code"]) == (200, "ace_pod_expired")
    await served.account(name="alice", sandbox="gone")
    assert (await client.get(sandbox_path(reading))).status_code == 404
