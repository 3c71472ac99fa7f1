"""A faulty upstream, at every stage: what clients are told, how often it is asked, and that nothing is left of it."""

import gc
import json
import time

import httpx
import pytest

from shim.exchange import Exchange
from shim.exchange.live_turn import LiveTurn
from shim.protocol.answer.machine import Answer
from tests.faults.faulty import EVERY_TRY, FAULTS, GOOD, FaultyUpstream, good
from tests.servers import free_port

CHAT = "/v1/chat/completions"
LINE = " api=chat "
TRIES = 2  # with RETRY_TIMES=1
SETTINGS = {
    "CONVERSATION_ONLY": "true",
    "RETRY_TIMES": "1",
    "CONNECT_TIMEOUT": "1",
    "FIRST_BYTE_TIMEOUT": "1.2",
    "IDLE_TIMEOUT": "0.8",
    "TOTAL_TIMEOUT": "2.5",
    "MAX_ANSWER_BYTES": "2000000",
}


@pytest.fixture(scope="module")
def faulty():
    with FaultyUpstream().running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(start_gateway, faulty):
    return start_gateway(CHATGPT_BASE_URL=faulty.base_url, **SETTINGS)


# What goes on as fast as it can until the time for an answer is over: all of that time it takes a core.
ENDLESS = {
    "an endless text in snapshots",
    "endless messages",
    "a bomb of newlines",
    "endless pings",
    "endless blank lines",
}


@pytest.fixture(scope="module")
def impatient_gateway(start_gateway, faulty):
    return start_gateway(
        CHATGPT_BASE_URL=faulty.base_url, **SETTINGS | {"TOTAL_TIMEOUT": "1.5", "MAX_ANSWER_BYTES": "4000000"}
    )


def ask(gateway, stream, text="Hi"):
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": text}]}
    return httpx.post(gateway.base_url + CHAT, json=body, trust_env=False, timeout=30)


def last_line(gateway, before):
    """What the log says of the call; it comes after the last byte of its answer."""
    until = time.monotonic() + 20
    while gateway.log.count(LINE) <= before and time.monotonic() < until:
        time.sleep(0.005)
    return [line for line in gateway.log.splitlines() if LINE in line][-1]


def outcome(answer):
    """(status, code of the error or None), of a stream that of its last line."""
    if answer.status_code != 200:
        return answer.status_code, answer.json()["error"]["code"]
    if answer.headers["content-type"].startswith("application/json"):
        return 200, None
    *_, last = [line for line in answer.text.split("\n\n") if line and not line.startswith(":")]
    if last == "data: [DONE]":
        return 200, None
    assert "[DONE]" not in answer.text
    return 200, json.loads(last.removeprefix("data: "))["error"]["code"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_for_what_it_is(gateway, impatient_gateway, faulty, name, stream):
    fault = FAULTS[name]
    gateway = impatient_gateway if name in ENDLESS else gateway
    faulty.act, faulty.asked, lines = fault.act, 0, gateway.log.count(LINE)
    began = time.monotonic()
    status, code = outcome(ask(gateway, stream))
    took = time.monotonic() - began
    wanted_status, wanted_code = fault.stream if stream else fault.whole
    assert status == wanted_status, code
    if wanted_code is not None or wanted_status == 200:
        assert code == wanted_code
    assert faulty.asked == (TRIES if fault.asked == EVERY_TRY else fault.asked)
    assert took < 4 * fault.seconds  # by far: the machine may be busy
    line = last_line(gateway, lines)
    assert f" code={status} " in line
    assert f" status={code or 'stop'} " in line or code is None
    faulty.act = good
    assert outcome(ask(gateway, stream)) == GOOD
    assert gateway.get("/healthz").status_code == 200
    assert "Traceback" not in gateway.log


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_text_before_a_fault_is_given(gateway, faulty, stream):
    faulty.act = FAULTS["reset in the middle"].act
    answer = ask(gateway, stream)
    assert ("Hello" in answer.text) is stream


def test_an_upstream_that_is_not_there(start_gateway):
    gateway = start_gateway(CHATGPT_BASE_URL=f"http://127.0.0.1:{free_port()}", **SETTINGS)
    for stream in (False, True):
        assert outcome(ask(gateway, stream)) == (502, "upstream_unreachable")


# --- at the calls before the conversation -----------------------------------------------------------------------------

BEFORE = (
    "reset before the head",
    "end before the head",
    "half a head",
    "no HTTP",
    "silence before the head",
    "silence after the head",
    "status 500",
    "status 503",
    "status 302",
    "HTML",
    "nothing",
    "zeros",
    "a head of 300 KB",
    "gzip that is none",
)


@pytest.fixture(scope="module")
def staged(start_standin):
    with FaultyUpstream(start_standin().base_url).running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def full_gateway(start_gateway, staged):
    return start_gateway(CHATGPT_BASE_URL=staged.base_url, **SETTINGS | {"CONVERSATION_ONLY": "false"})


@pytest.mark.parametrize("name", BEFORE)
def test_a_fault_at_the_requirements_is_told_and_no_conversation_is_sent(full_gateway, staged, name):
    staged.stage, staged.act, staged.asked = "chat-requirements", FAULTS[name].act, 0
    status, code = outcome(ask(full_gateway, stream=False, text="[[say=one]]"))
    assert status in {502, 504}, code
    assert staged.asked >= 1
    staged.stage = "/nothing of this name"
    assert outcome(ask(full_gateway, stream=False, text="[[say=one]]")) == GOOD
    assert "Traceback" not in full_gateway.log


@pytest.mark.parametrize("name", BEFORE)
def test_a_fault_at_the_list_of_models_is_survived(start_gateway, staged, name):
    """The list is kept once it is had, so each of these is a gateway of its own."""
    gateway = start_gateway(CHATGPT_BASE_URL=staged.base_url, **SETTINGS | {"CONVERSATION_ONLY": "false"})
    staged.stage, staged.act, staged.asked = "/models", FAULTS[name].act, 0
    assert outcome(ask(gateway, stream=False, text="[[say=one]]")) == GOOD
    assert staged.asked >= 1
    gateway.stop()


# --- what is left -----------------------------------------------------------------------------------------------------

# Those that fail in the answer, once upstream has taken the turn: their errors hold the frames that hold the answer.
FAILING = ("reset in the middle", "no end", "an error in the stream", "no UTF-8", "end before the head", "status 500")


@pytest.mark.parametrize("name", FAILING)
def test_nothing_is_left_of_a_failed_answer(gateway, faulty, name):
    """Also not what only the collector frees: an error holds its traceback, that the frames, these the answer."""
    marked = f"{name} of a prompt that nobody should remember " * 100
    faulty.act = FAULTS[name].act
    gc.collect()
    before = living()
    for count in range(40):
        assert outcome(ask(gateway, bool(count % 2), marked))[1] is not None
    deadline = time.monotonic() + 10
    while living() > before and time.monotonic() < deadline:  # the last one may still be on its way out
        time.sleep(0.05)
        gc.collect()
    assert living() <= before
    faulty.act = good
    ask(gateway, False)  # what the last call left in a thread's hands goes with the next
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, str) and marked in one and one is not marked]


def living():
    return sum(isinstance(one, Exchange | LiveTurn | Answer) for one in gc.get_objects())
