"""Every cassette through a real mitmdump with the bridge: its clients are told what the app tells its own.

Ids and times are real here, so they are left out of the comparison. What differs by design is in `test_flows.py`, which
is about the same answers byte for byte; here a client sees it over its connection.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
MITMDUMP = Path(os.environ.get("MITMPROXY_ENVIRONMENT", ROOT / ".venv-mitmproxy")) / "bin" / "mitmdump"
_SECONDS = 60
_unlike = re.compile(rb'"(id|created)":("[^"]*"|\d+)')


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """`start(words, health)`: a process in a folder of its own that answers at `http://127.0.0.1:{port}` + `health`;
    `{port}` in the words is where it shall listen."""
    started = []

    def make(words, health, **environment):
        folder, port = tmp_path_factory.mktemp("process"), free_port()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        log = (folder / "log.txt").open("wb")
        process = subprocess.Popen(
            [str(word).format(port=port, folder=folder) for word in words],
            cwd=folder,
            env=kept | {"PYTHONPATH": str(ROOT), "DATA_DIR": str(folder / "data"), **environment},
            stdout=log,
            stderr=log,
        )
        started.append((process, log))
        url = f"http://127.0.0.1:{port}"
        wait_for(url + health, process, folder / "log.txt")
        return url

    yield make
    for process, log in started:
        end(process)
        log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url, process, log):
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"it does not answer:\n{log.read_text()}")


def end(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


@pytest.fixture(scope="module")
def upstream(start, players):
    """All cassettes, served at once."""
    words = [sys.executable, "-m", "shim", "replay", str(players.cassettes), "--fast", "--port", "{port}"]
    return start(words, "/replay/status")


@pytest.fixture(scope="module")
def bridge(start, upstream):
    """mitmdump with the bridge in front of them."""
    if not MITMDUMP.exists():
        pytest.skip("there is no .venv-mitmproxy: run `scripts/setup mitmproxy` (needs the package index once)")
    words = [MITMDUMP, "-s", ROOT / "addons" / "bridge.py", "--mode", f"reverse:{upstream}"]
    words += ["--listen-host", "127.0.0.1", "--listen-port", "{port}", "--set", "confdir={folder}/conf"]
    return start(words, "/healthz", CHATGPT_BASE_URL=upstream, RETRY_TIMES="0")


def ask(bridge, chat, question, streamed):
    """(status, body, whether the connection broke): read as far as it comes."""
    pieces = []
    with httpx.stream(
        "POST",
        bridge + chat,
        content=question.body(streamed=streamed),
        headers=question.headers,
        trust_env=False,
        timeout=_SECONDS,
    ) as answer:
        try:
            pieces += answer.iter_raw()
        except httpx.RemoteProtocolError:
            return answer.status_code, b"".join(pieces), True
        return answer.status_code, b"".join(pieces), False


def rewind(upstream):
    assert httpx.post(f"{upstream}/replay/rewind", trust_env=False).json()["played"] == 0


def alike(body):
    """A body without what differs from call to call."""
    return _unlike.sub(rb'"\1":0', body)


async def test_mitmdump_tells_what_flows_tell(bridge, upstream, players, cassette, streamed, flows_told):
    rewind(upstream)
    for question, told in zip(players.questions_of(cassette), await flows_told(), strict=True):
        status, body, broken = ask(bridge, players.chat, question, streamed)
        if told.status == 0:  # nothing was said yet: mitmproxy has an answer of its own
            assert (status, b"choices" in body) == (502, False)
        else:
            assert (status, alike(body), broken) == (told.status, alike(told.body), told.broken)
