"""What a flow can't do by itself, through the bridge: answers that go on elsewhere, stopping them, efforts, research,
the account's socket, and tokens that have to be renewed. All as the app does it, for it is done by the same core.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
SAID = "say=One two three four five six seven."
TEXT = "One two three four five six seven."
# Nothing but the waits of the core is made short.
HASTE = """
import asyncio
from shim.protocol.commands import Wait
from shim.transport.driver import Driver
perform = Driver._perform
async def hasty(self, command, connection):
    if isinstance(command, Wait):
        return await asyncio.sleep(command.seconds / 200)
    return await perform(self, command, connection)
Driver._perform = hasty
"""


@pytest.fixture(scope="module")
def upstream(start_standin: Callable[..., Any]) -> Any:
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def bridge(start_bridge: Callable[..., Any], upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    script = tmp_path_factory.mktemp("haste") / "haste.py"
    script.write_text(HASTE)
    settings = {"CHATGPT_BASE_URL": upstream.base_url, "OAUTH_URL": f"{upstream.base_url}/oauth/token"}
    return start_bridge(f"reverse:{upstream.base_url}", scripts=(str(script),), **settings)


@pytest.fixture
def account(upstream: Any) -> dict[str, Any]:
    """A new account of the stand-in, with its tokens."""
    made: dict[str, Any] = upstream.post("/standin/accounts", {"name": f"a{time.monotonic_ns()}"}).json()
    return made


def body_of(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": prompt}], **fields}


def ask(bridge: Any, key: str, prompt: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """The answer's text, and its last chunk or whole body."""
    headers = {"authorization": f"Bearer {key}"}
    body = body_of(prompt, **fields)
    answer = httpx.post(bridge.base_url + CHAT, json=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200, answer.text
    if not fields.get("stream"):
        whole = answer.json()
        return whole["choices"][0]["message"]["content"], whole
    *lines, done = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert done == "[DONE]", answer.text
    chunks = [json.loads(line) for line in lines]
    assert not any("error" in chunk for chunk in chunks), answer.text
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks), chunks[-1]


KEPT = {"chatgpt": {"temporary": False}}


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        (f"[[script=handoff {SAID}]]", {}),
        (f"[[script=handoff_late options=socket socket=noise {SAID}]]", {}),
        (f"[[script=handoff breaks=2 {SAID}]]", {}),
        (f"[[script=handoff_poll options=resume polls=2 {SAID}]]", KEPT),
        (f"[[script=handoff options=socket socket=noise breaks=1 {SAID}]]", KEPT | {"stream": True}),
        (f"[[script=handoff_poll options=resume polls=2 {SAID}]]", KEPT | {"stream": True}),
        (f"[[script=handoff {SAID}]]", {"model": "gpt-5-thinking", "reasoning_effort": "high", "stream": True}),
    ],
)
def test_an_answer_that_moves_arrives(
    bridge: Any, account: dict[str, Any], prompt: str, fields: dict[str, Any]
) -> None:
    text, last = ask(bridge, account["access_token"], prompt, **fields)
    assert text == TEXT
    assert last["chatgpt"]["slug"]
    if "reasoning_effort" in fields:
        assert last["chatgpt"]["effort"] == "extended"


@pytest.mark.parametrize("stream", [True, False])
def test_research_arrives(bridge: Any, account: dict[str, Any], stream: bool) -> None:
    wishes = {"chatgpt": {"temporary": False, "hints": ["research"]}, "stream": stream}
    text, _ = ask(bridge, account["access_token"], "[[script=research polls=1 say=It is so.]]", **wishes)
    assert text.startswith("# Report\n\nIt is so.")


def test_a_picture_of_a_temporary_chat_comes_by_the_socket(bridge: Any, account: dict[str, Any]) -> None:
    text, _ = ask(bridge, account["access_token"], "[[script=image_queued pictures=2]]")
    assert text.count("![") == 2


def test_a_client_that_leaves_stops_what_upstream_goes_on_with(
    bridge: Any, account: dict[str, Any], upstream: Any
) -> None:
    prompt = "[[script=handoff options=resume then=long words=3000 delay=0.02]]"
    headers = {"authorization": f"Bearer {account['access_token']}"}
    body = body_of(prompt, stream=True, **KEPT)
    with httpx.stream("POST", bridge.base_url + CHAT, json=body, headers=headers, trust_env=False, timeout=60) as read:
        next(read.iter_bytes())
    until = time.monotonic() + 20
    while not (stopped := upstream.get("/standin/stats").json()["stops"]) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(stopped.values()) == [1]


def test_a_refresh_token_is_renewed(bridge: Any, account: dict[str, Any], upstream: Any) -> None:
    text, _ = ask(bridge, account["refresh_token"], f"[[{SAID}]]", stream=True)
    assert text == TEXT
    assert upstream.get("/standin/stats").json()["recent_turns"][-1]["path"] == "/backend-api/conversation"
