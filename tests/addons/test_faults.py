"""The faults of `tests/faults`, played to the addon: what upstream does wrong, told on live flows as the app tells it.

Where the two differ, that is mitmproxy's doing (see `addons/bridge.py`), and the tables below say how.
"""

import json

import httpx
import pytest

from tests.faults.faulty import EVERY_TRY, FAULTS, GOOD, FaultyUpstream, good

CHAT = "/v1/chat/completions"
TRIES = 2  # with RETRY_TIMES=1
BROKEN = "broken"  # the client's connection is, or mitmproxy answers with a page of its own

# The connection to upstream is mitmproxy's: where it breaks, so does the client's.
BREAKS = {
    "reset before the head",
    "end before the head",
    "half a head",
    "no HTTP",
    "reset after the head",
    "end after the head",
    "reset in the middle",
    "end in the middle",
    "end within a character",
    "a chunk of a bad size",
    "a length too large",
    "silence before the head",
    "silence after the head",
    "silence in the middle",
    "silence after the end of the answer",
    "silence after [DONE]",
}
# By then a stream has its end already, because upstream's [DONE] is ours; without it mitmproxy would have to ask us.
WHOLE_BEFORE_IT_BREAKS = {"a length too large", "silence after [DONE]"}
# mitmproxy reads heads of any size, takes an early head for the answer's, and leaves the decoding to us.
READ_OTHERWISE = {
    "a head of 300 KB": GOOD,
    "20,000 headers": GOOD,
    "fifty early heads": (502, "upstream_103"),
    "2,000 early heads": (502, "upstream_103"),
    "endless early heads": (502, "upstream_103"),
    "another protocol (101)": (502, "upstream_101"),
    "gzip that is none": (502, "upstream_encoding"),
    "br that is none": (502, "upstream_encoding"),
    "zstd, which was not asked for": (502, "upstream_encoding"),
}
# mitmproxy has no time-out for what goes on and on: as long as something comes, it waits.
ENDLESS = {
    "trailers",  # mitmproxy has crashed by then
    "an endless head",
    "a head byte by byte",
    "pings for ever",
    "an endless text",
    "an endless text in snapshots",
    "endless messages",
    "a bomb of newlines",
    "endless pings",
    "endless blank lines",
}
# What fails behind the head of an event stream: that one is out already, so the failure is told in the stream.
BEHIND_THE_HEAD = {
    "HTML that says it is a stream",
    "nothing",
    "zeros",
    "[DONE] first",
    "a bomb of one event",
    "gzip that is none",
    "br that is none",
    "zstd, which was not asked for",
}
PLAYED = [name for name in FAULTS if name not in ENDLESS]


@pytest.fixture(scope="module")
def faulty():
    with FaultyUpstream().running() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def bridge(start_bridge, faulty, tmp_path_factory):
    # mitmproxy 11, the newest for Python 3.11, has a constant where later ones have the option.
    constant = tmp_path_factory.mktemp("constant") / "constant.py"
    constant.write_text("from mitmproxy.proxy import server\n\nserver.TCP_TIMEOUT = 2\n")
    return start_bridge(
        f"reverse:{faulty.base_url}",
        "--set",
        "tcp_timeout=2",
        scripts=(str(constant),),
        CHATGPT_BASE_URL=faulty.base_url,
        CONVERSATION_ONLY="true",
        RETRY_TIMES="1",
        TOTAL_TIMEOUT="2",
    )


def outcome(bridge, stream):
    """(status, code of the error or None) of a call, of a stream that of its last line; BROKEN; and all that came."""
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
    came = b""
    try:
        with httpx.stream("POST", bridge.base_url + CHAT, json=body, trust_env=False, timeout=30) as answer:
            for piece in answer.iter_bytes():
                came += piece
    except httpx.RemoteProtocolError:
        return BROKEN, came.decode()
    text = came.decode()
    if answer.headers["content-type"] == "text/html":
        assert answer.status_code == 502
        return BROKEN, text
    if answer.status_code != 200:
        return (answer.status_code, json.loads(text)["error"]["code"]), text
    if answer.headers["content-type"].startswith("application/json"):
        assert json.loads(text)["choices"]
        return GOOD, text
    *_, last = [line for line in text.split("\n\n") if line and not line.startswith(":")]
    if last == "data: [DONE]":
        return GOOD, text
    assert "[DONE]" not in text
    return (200, json.loads(last.removeprefix("data: "))["error"]["code"]), text


def expected(name, stream):
    """(status, code): the app's, but for what the tables say."""
    status, code = READ_OTHERWISE.get(name) or (FAULTS[name].stream if stream else FAULTS[name].whole)
    return (200 if stream and name in BEHIND_THE_HEAD else status), code


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", PLAYED)
def test_a_fault_is_told_on_a_flow(bridge, faulty, name, stream):
    fault = FAULTS[name]
    faulty.act, faulty.asked = fault.act, 0
    told, text = outcome(bridge, stream)
    if name in BREAKS:
        assert told == BROKEN
        # Otherwise nobody may take it for a whole answer.
        assert ("[DONE]" in text) is (stream and name in WHOLE_BEFORE_IT_BREAKS)
    else:
        status, code = expected(name, stream)
        assert told[0] == status, told
        if code is not None or status == 200:
            assert told[1] == code or (code is None and told[1] == "empty_stream" and name in BEHIND_THE_HEAD)
    assert faulty.asked == (TRIES if fault.asked == EVERY_TRY else fault.asked)
    faulty.act = good
    assert outcome(bridge, stream)[0] == GOOD
    assert "Traceback" not in bridge.log


def test_the_tables_name_faults():
    assert set(FAULTS) >= BREAKS | WHOLE_BEFORE_IT_BREAKS | ENDLESS | BEHIND_THE_HEAD | READ_OTHERWISE.keys()
