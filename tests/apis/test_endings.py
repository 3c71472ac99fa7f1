"""What becomes of a call that is cut, refused, moderated or limited upstream, in each API's own way: one table.

Rule: a row is what upstream does, a column an API; whole and streamed are told alike, but for what comes after the
first word.
"""

import json
from typing import Any, NamedTuple

import httpx
import pytest

from shim.standin.sound import recording


class Told(NamedTuple):
    """What a client sees of an end. A good one has neither kind nor code, but a reason; a bad one has no reason."""

    status: int
    kind: str | None = None
    code: str | None = None
    reason: str | None = None


def ended(reason: str) -> Told:
    return Told(200, reason=reason)


# The path, and the body but for its prompt.
PATHS = {
    "chat": ("/v1/chat/completions", {"model": "auto"}),
    "completions": ("/v1/completions", {"model": "auto"}),
    "responses": ("/v1/responses", {"model": "auto"}),
    "messages": ("/v1/messages", {"model": "auto", "max_tokens": 4096}),
    "images": ("/v1/images/generations", {}),
}


def body(api: str, prompt: str) -> dict[str, Any]:
    if api in {"chat", "messages"}:
        return {"messages": [{"role": "user", "content": prompt}]}
    return {"input" if api == "responses" else "prompt": prompt}


def read_error(status: int, envelope: dict[str, Any]) -> Told:
    error = envelope["error"]
    # Anthropic's errors have no code.
    return Told(status, error["type"], error.get("code"))


def read_whole(api: str, answer: dict[str, Any]) -> Told:
    if api == "messages":
        return ended(answer["stop_reason"])
    if api == "responses":
        return ended(f"{answer['status']} {(answer['incomplete_details'] or {}).get('reason')}")
    return ended(answer["choices"][0]["finish_reason"])


def read_stream(api: str, text: str) -> Told:
    """From its last events."""
    datas = [event.split("data: ", 1)[1] for event in text.strip().split("\n\n") if "data: " in event]
    done, datas = datas[-1] == "[DONE]", datas[:-1] if datas[-1] == "[DONE]" else datas
    last = json.loads(datas[-1])
    if "error" in last:
        assert not done, "nothing follows an error"
        return read_error(200, last)
    if api == "responses":
        response = last["response"]
        assert last["type"] == f"response.{response['status']}"
        return Told(200, "failed", response["error"]["code"]) if response["error"] else read_whole(api, response)
    if api == "messages":
        assert last["type"] == "message_stop"
        return ended(json.loads(datas[-2])["delta"]["stop_reason"])
    assert done
    return ended(last["choices"][0]["finish_reason"])


# What each API says of what all of them but Anthropic's say in the same envelope.
OPENAI = ("chat", "completions", "responses", "images")


def everywhere(told: Told, anthropic: str, **others: Told) -> dict[str, Told]:
    """The same in all of OpenAI's APIs but `others`; Anthropic's has types of its own, and no codes."""
    return dict.fromkeys(OPENAI, told) | {"messages": Told(told.status, anthropic)} | others


POLICY = Told(400, "invalid_request_error", "content_policy_violation")
BLOCKED = Told(400, "image_generation_user_error", "moderation_blocked")
CUT = Told(502, "upstream_error", "upstream_cut")
BROKEN = Told(502, "upstream_error", "upstream_error")
# What upstream does, and what is told before the first word, or whole.
WHOLE = {
    "[[script=cut_first]]": everywhere(Told(502, "upstream_error", "empty_stream"), "api_error"),
    "[[script=cut]]": everywhere(CUT, "api_error"),
    "[[script=error_first]]": everywhere(BROKEN, "api_error"),
    "[[script=error]]": everywhere(BROKEN, "api_error"),
    "[[status=500]]": everywhere(Told(502, "upstream_error", "upstream_500"), "api_error"),
    "[[status=401]]": everywhere(Told(401, "authentication_error", "invalid_api_key"), "authentication_error"),
    "[[status=403]]": everywhere(Told(403, "upstream_error", "upstream_forbidden"), "permission_error"),
    "[[status=429 clears_in=77]]": everywhere(Told(429, "rate_limit_error", "model_cap_exceeded"), "rate_limit_error"),
    "[[script=error_limit]]": everywhere(Told(429, "rate_limit_error", "rate_limit_exceeded"), "rate_limit_error"),
    "[[failure=content_policy]]": everywhere(POLICY, "invalid_request_error", images=BLOCKED),
    "[[script=error_policy]]": everywhere(POLICY, "invalid_request_error", images=BLOCKED),
    "[[script=moderation_blocked]]": {
        "chat": ended("content_filter"),
        "completions": ended("content_filter"),
        "responses": ended("incomplete content_filter"),
        "messages": ended("refusal"),
        "images": BLOCKED,
    },
    "[[script=max_tokens]]": {
        "chat": ended("length"),
        "completions": ended("length"),
        "responses": ended("incomplete max_output_tokens"),
        "messages": ended("max_tokens"),
        "images": Told(400, "image_generation_user_error", "no_image"),
    },
}
# What is told otherwise in a stream, because words have gone out before it, or it was known to come.
STREAMED = {
    "[[script=cut]]": everywhere(CUT._replace(status=200), "api_error", responses=Told(200, "failed", "server_error")),
    "[[script=error]]": everywhere(
        BROKEN._replace(status=200), "api_error", responses=Told(200, "failed", "server_error")
    ),
    "[[script=moderation_blocked]]": {"images": BLOCKED._replace(status=200)},
    "[[script=max_tokens]]": {"images": Told(200, "image_generation_user_error", "no_image")},
}
# The prompt's name in an error about it; Anthropic's errors name it in their text.
PROMPTS = {"chat": "messages", "completions": "prompt", "responses": "input", "images": None, "messages": None}


@pytest.fixture
def ask(gateway, make_account):
    def run(api, prompt, *, stream):
        path, more = PATHS[api]
        bearer = {"authorization": f"Bearer {make_account('ends', plan='plus')}"}
        return gateway.post(path, body(api, f"hi {prompt}") | more | {"stream": stream}, **bearer)

    return run


@pytest.mark.parametrize("api", PATHS)
@pytest.mark.parametrize("prompt", WHOLE)
def test_an_end_is_told_in_the_apis_own_way(ask, prompt, api):
    whole = ask(api, prompt, stream=False)
    told = read_error(whole.status_code, whole.json()) if whole.is_error else read_whole(api, whole.json())
    assert told == WHOLE[prompt][api]
    if told.code in {POLICY.code, BLOCKED.code}:
        assert whole.json()["error"]["param"] == PROMPTS[api]
    streamed = ask(api, prompt, stream=True)
    begun = streamed.headers["content-type"].startswith("text/event-stream")
    told = read_stream(api, streamed.text) if begun else read_error(streamed.status_code, streamed.json())
    assert told == STREAMED.get(prompt, {}).get(api, WHOLE[prompt][api])
    assert {answer.headers.get("retry-after") for answer in (whole, streamed)} == {
        "77" if "clears_in" in prompt else None
    }


# What upstream does with sound, and what is told of it.
SOUND = {
    "unauthorized": Told(401, "authentication_error", "invalid_api_key"),
    "unusual_activity": Told(403, "upstream_error", "upstream_forbidden"),
    "model_cap": Told(429, "rate_limit_error", "model_cap_exceeded"),
    "content_policy": POLICY,
    "internal": Told(502, "upstream_error", "upstream_500"),
}


@pytest.fixture
def sound(gateway):
    def run(path, token, **more):
        bearer = {"authorization": f"Bearer {token}"}
        if path == "speech":
            return gateway.post(
                "/v1/audio/speech", {"model": "tts-1", "input": "hi", "voice": "alloy"} | more, **bearer
            )
        form = {"files": {"file": ("talk.mp3", recording("hi", "mp3").content)}, "data": {"model": "whisper-1"} | more}
        return httpx.post(f"{gateway.base_url}/v1/audio/{path}", headers=bearer, trust_env=False, timeout=60, **form)

    return run


# Where each may fail. A recording that is refused (400) is one that can't be read.
STEPS = {
    "speech": ("turn", "speech"),
    "transcriptions": ("transcript",),
    "translations": ("transcript", "turn"),
}


@pytest.mark.parametrize(
    ("path", "where", "failure"),
    [
        (path, where, failure)
        for path, steps in STEPS.items()
        for where in steps
        for failure in SOUND
        if (where, failure) != ("transcript", "content_policy")
    ],
)
def test_an_end_of_sound_is_told_as_any_other(sound, make_account, path, where, failure):
    told = sound(path, make_account("sounds", failures=[{"where": where, "failure": failure, "times": -1}]))
    assert read_error(told.status_code, told.json()) == SOUND[failure]
    name = "input" if path == "speech" else "file"
    assert told.json()["error"]["param"] == (name if SOUND[failure] is POLICY else None)
