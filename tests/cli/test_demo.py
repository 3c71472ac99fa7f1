"""`chat2api demo` as a stranger starts it: what it prints leads somewhere, and nothing of it stays."""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.servers import clean_environment


@pytest.fixture
def demo(tmp_path):
    """(the process, what it has printed until it waits). Somebody has the port it is told to take."""
    taken = socket.create_server(("127.0.0.1", 0))
    environment = clean_environment(TMPDIR=str(tmp_path), PYTHONUNBUFFERED="1")
    command = [sys.executable, "-m", "shim", "demo", "--port", str(taken.getsockname()[1])]
    process = subprocess.Popen(
        command, env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    told = ""
    while "Ctrl-C ends it." not in told:
        line = process.stdout.readline()
        assert line, told
        told += line
    yield process, told
    process.kill()
    process.wait()
    taken.close()
    process.stdout.close()


def test_every_address_that_is_printed_answers_and_ctrl_c_leaves_nothing(demo, tmp_path):
    process, told = demo
    asked, port = re.match(r"Port (\d+) is taken, so the demo is on port (\d+)\.\n", told).groups()
    assert int(port) > int(asked)
    places = dict(re.findall(r"^  (\w+) +(\S+)", told, re.M))
    assert {"chat", "accounts", "API", "docs", "upstream"} <= set(places)
    with httpx.Client(timeout=30) as client:
        assert places["chat"] == f"http://127.0.0.1:{port}/"
        assert "<title>chat2api</title>" in client.get(places["chat"]).text
        assert client.get(places["accounts"]).status_code == 200
        # One account, of the stand-in's own, so that pictures and files can be tried.
        accounts = client.get(f"{places['accounts']}/api/accounts").json()
        assert [one["state"] for one in accounts["accounts"]] == ["ready"], accounts
        assert client.get(f"{places['API']}/models").json()["data"]
        assert "/v1/chat/completions" in client.get(re.search(r"http\S+/docs", told)[0]).text
    assert Path(places["docs"]).read_text().startswith("# Documentation")
    assert "a stand-in" in told
    assert "You asked: “What happens to a request" in told
    assert [*tmp_path.iterdir()]
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert [*tmp_path.iterdir()] == []
