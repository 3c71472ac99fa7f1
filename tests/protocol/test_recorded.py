"""Recorded calls that are no streams: what upstream said in them leads where protocol.md says, and what browsers sent
is what the stand-in takes. The tests need the recordings beside this repository.
"""

import json
from typing import Any

import pytest

from shim.protocol.answer.follow_up import Look, Poll, Resume, is_passing, poll
from shim.protocol.answer.machine import Answer
from shim.protocol.commands import HttpReply, Send, Wait
from shim.protocol.turn.aftermath import stop
from shim.protocol.turn.handshake import HandshakeOptions, open_turn
from shim.protocol.upstream import Upstream
from shim.standin.incoming import read_conversation
from tests.protocol.test_handshake import LOGGED_IN, MOMENT, ORIGIN, PROFILE, conversation
from tests.upstream_says import V1, added, append

UPSTREAM = Upstream(ORIGIN, LOGGED_IN, PROFILE)


def reply(status: int, body: Any) -> HttpReply:
    return HttpReply(status, {"content-type": "application/json"}, json.dumps(body).encode())


def test_the_recorded_requirements_of_a_paid_account_need_no_proof(capture: Any) -> None:
    """No proof is asked for, none is made and none is sent."""
    recorded = json.loads(capture("sentinel-exchange-2026-07-paid.json"))
    shaking = open_turn(UPSTREAM, conversation(), HandshakeOptions(PROFILE), MOMENT)
    prepare = next(shaking)
    assert isinstance(prepare, Send)
    assert prepare.request.url.endswith("/sentinel/chat-requirements/prepare")
    finalize = shaking.send(reply(200, recorded["prepare"]["response"]))
    assert isinstance(finalize, Send)
    assert json.loads(finalize.request.body) == {"prepare_token": "REDACTED"}
    with pytest.raises(StopIteration) as opened:
        shaking.send(reply(200, recorded["finalize"]["response"]))
    headers = opened.value.value.request.headers
    assert headers["openai-sentinel-chat-requirements-token"] == "REDACTED"
    assert "openai-sentinel-proof-token" not in headers


def test_the_recorded_refusal_of_a_resume_leads_to_the_conversation(capture: Any) -> None:
    recorded = json.loads(capture("recovery-bodies-2026-10.json"))["POST f/conversation/resume"]
    answer = Answer(token="t")
    for frame in (V1, added(), append("Hel"), b""):
        answer.receive(frame)
    assert isinstance(answer.follow, Resume)
    assert not is_passing(recorded["status"])
    assert answer.refused(reply(recorded["status"], recorded["response"])) == []
    assert answer.follow == Poll("c1", "answer")


def test_the_recorded_status_says_that_there_is_nothing_to_read_yet(capture: Any) -> None:
    recorded = json.loads(capture("recovery-bodies-2026-10.json"))["GET conversation/{id}/stream_status"]
    looking = poll(UPSTREAM, Poll("c1", "answer"))
    assert isinstance(next(looking), Wait)
    assert isinstance(looking.send(None), Send)
    with pytest.raises(StopIteration) as looked:
        looking.send(reply(recorded["status"], recorded["response"]))
    assert looked.value.value == Look("streaming")


def test_a_stop_is_what_was_recorded(capture: Any) -> None:
    recorded = json.loads(capture("recovery-bodies-2026-10.json"))["POST stop_conversation"]
    stopping = stop(UPSTREAM, recorded["request"]["conversation_id"])
    asked = next(stopping)
    assert isinstance(asked, Send)
    assert asked.request.url == f"{ORIGIN}/backend-api/stop_conversation"
    assert json.loads(asked.request.body) == recorded["request"]
    with pytest.raises(StopIteration):
        stopping.send(reply(recorded["status"], recorded["response"]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("f-conversation-request-2026-06.json", None),
        ("f-conversation-request-2026-08.json", "只回复一个词：PING"),
        ("f-conversation-request-anon-2026-06.json", "What is 2+2?"),
    ],
)
def test_what_browsers_sent_is_a_turn_for_the_stand_in(name: str, said: str | None, capture: Any) -> None:
    recorded = json.loads(capture(name))
    body = json.dumps(recorded.get("body", recorded), ensure_ascii=False).encode()
    read = read_conversation(body, "application/json")
    assert read.model
    newest = read.last_user_message
    assert newest is not None
    assert said is None or newest.content.text == said
