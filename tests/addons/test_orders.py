"""The bridge beside other addons, before it and behind it: clients get the same bytes in every order."""

import re
from pathlib import Path

import httpx
import pytest

ADDONS = Path(__file__).parents[2] / "addons"
CHAT = "/v1/chat/completions"
_content = re.compile(rb'"content":"([^"]*)"')
_unlike = re.compile(rb'"(id|created)":("[^"]*"|\d+)')
# Addons as people write them: one wants everything streamed, one listens by a callable of its own that calls no other,
# one changes bodies of answers it finds whole.
OTHERS = {
    "streams_all": "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = True\n",
    "listens": (
        "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = lambda chunk: chunk or []\n"
    ),
    "streams_none": "class Other:\n    def responseheaders(self, flow):\n        flow.response.stream = False\n",
}


@pytest.fixture(scope="module")
def upstream(start_standin):
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def alone(start_bridge, upstream):
    return start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)


def ask(server, stream):
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "[[say=one two three]]"}]}
    answer = httpx.post(server.base_url + CHAT, json=body, trust_env=False, timeout=60)
    return answer.status_code, answer.headers["content-type"], joined(answer.content)


def joined(body):
    """A body without what differs from call to call: ids, times, and where upstream cuts the text."""
    chunks = [_unlike.sub(rb'"\1":0', line) for line in body.split(b"\n\n")]
    shapes = list(dict.fromkeys(_content.sub(b'"content":"..."', chunk) for chunk in chunks))
    return shapes, b"".join(found[1] for found in _content.finditer(body))


def script_of(name, folder):
    if name in OTHERS:
        script = folder / f"{name}.py"
        script.write_text(f"{OTHERS[name]}addons = [Other()]\n")
        return str(script)
    return str(ADDONS / f"{name}.py")


@pytest.mark.parametrize("place", ["scripts", "after"])
@pytest.mark.parametrize("name", ["view", "recorder", *OTHERS])
def test_another_addon_changes_no_byte(name, place, start_bridge, upstream, alone, tmp_path):
    other = (script_of(name, tmp_path),)
    beside = start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url, **{place: other})
    for stream in (True, False):
        assert ask(beside, stream) == ask(alone, stream)
    assert "Traceback" not in beside.log


@pytest.mark.parametrize("code", [403, 429, 503])
def test_what_another_addon_has_answered_is_left_alone(code, start_bridge, upstream):
    blocking = ("--set", f"block_list=|~u chat|{code}")
    bridge = start_bridge(f"reverse:{upstream.base_url}", *blocking, CHATGPT_BASE_URL=upstream.base_url)
    before = turns(upstream)
    answer = httpx.post(
        bridge.base_url + CHAT,
        json={"model": "auto", "messages": [{"role": "user", "content": "hi"}]},
        trust_env=False,
        timeout=60,
    )
    assert answer.status_code == code
    assert turns(upstream) == before


def turns(upstream):
    return upstream.get("/standin/stats").json()["requests"].get("POST /backend-anon/conversation")
