"""`/v1/responses` through the addon: the client's call becomes upstream's own, and the answer is the app's."""

import json

import httpx
import pytest

PATH = "/v1/responses"


@pytest.fixture
def both(start_bridge, start_gateway, upstream):
    """The addon and the app in front of the same upstream."""
    bridge = start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url)
    return bridge, start_gateway(CHATGPT_BASE_URL=upstream.base_url)


def shapes(text):
    """The events with the ids and times taken out, pieces joined, for upstream cuts them as it likes."""
    told = []
    for event in text.split("\n\n"):
        if "data: " not in event:
            continue
        data = json.loads(event.split("data: ", 1)[1])
        if "delta" in data and told and told[-1][0] == data["type"]:
            told[-1][1] += data["delta"]
        else:
            told.append([data["type"], data.get("delta", data.get("text", ""))])
    return told


@pytest.mark.parametrize("prompt", ["[[say=one two]]", "[[script=citations seed=7]]", "[[script=error]]"])
def test_a_stream_is_the_apps_and_one_call_upstream(both, upstream, prompt):
    body = {"model": "auto", "input": prompt, "stream": True, "store": False}
    ours, theirs = (httpx.post(one.base_url + PATH, json=body, trust_env=False, timeout=60) for one in both)
    assert ours.status_code == theirs.status_code == 200
    assert shapes(ours.text) == shapes(theirs.text)
    assert len(shapes(ours.text)) > 2
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_a_whole_answer_and_a_refusal_are_the_apps(both):
    for body in (
        {"model": "auto", "input": "[[say=hi]]"},
        {"model": "auto", "input": []},
        {"model": "gpt-0", "input": "hi"},
    ):
        ours, theirs = (httpx.post(one.base_url + PATH, json=body, trust_env=False, timeout=60) for one in both)
        assert ours.status_code == theirs.status_code
        told, expected = ours.json(), theirs.json()
        if told.get("error"):
            assert told == expected
        else:
            assert [item["content"] for item in told["output"]] == [item["content"] for item in expected["output"]]
