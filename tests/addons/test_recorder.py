"""The recorder in a real mitmdump: what goes through is unchanged, what is kept is scrubbed, and a replay of it gives
the same client bytes."""

import gzip
import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from shim.cassettes.format import load_cassette

ROOT = Path(__file__).parents[2]
EMAIL, ACCOUNT, COOKIE = "bob.jones@mail.example.org", "91be2e50-7a5c-495a-9ca3-4eff32d746d0", "crumbs-of-bob-1234"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLUJvYkpvbmVzMTIzNCIsImVtYWlsIjoiYm9iQGV4YW1wbGUub3JnIn0.c2lnbmF0dXJl"
SECRETS = (EMAIL, ACCOUNT, COOKIE, TOKEN, "user-BobJones1234", "bob@example.org")
EVENTS = [
    b'event: delta\ndata: {"p": "/message/content/parts/0", "o": "append", "v": "Mail bob.jo"}\n\n',
    b'event: delta\ndata: {"v": "nes@mail.example.org, \xe2\x82',
    b'\xac 5"}\n\n',
    b'data: {"type": "resume_conversation_token", "token": "%s", "conversation_id": "%s"}\n\n'
    % (TOKEN.encode(), ACCOUNT.encode()),
    b"data: [DONE]\n\n",
]


class Planted(BaseHTTPRequestHandler):
    """An upstream with a secret in every place of its answers."""

    protocol_version = "HTTP/1.1"
    held: threading.Event  # what is asked for under /held ends with it

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        coded = self.path.endswith("gzip")
        body = gzip.compress(json.dumps({"user": {"email": EMAIL}, "access_token": TOKEN, "type": "kept"}).encode())
        pieces = [body[:20], body[20:]] if coded else self.pieces()
        self.send_header("content-type", "application/json" if coded else "text/event-stream; charset=utf-8")
        if coded:
            self.send_header("content-encoding", "gzip")
        self.send_header("set-cookie", f"__Secure-next-auth.session-token={COOKIE}; Path=/")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
            time.sleep(0 if "long" in self.path else 0.05)
        if "held" in self.path:
            self.held.wait(60)
        if "broken" in self.path:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def pieces(self):
        return [b'data: {"type": "filler", "pad": "%s"}\n\n' % (b" " * 8000)] * 5000 if "long" in self.path else EVENTS

    def log_message(self, *_):
        pass


@pytest.fixture
def planted():
    held = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Holding", (Planted,), {"held": held}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    held.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


def ask(proxy, path="/backend-api/conversation", **more):
    headers = {"authorization": f"Bearer {TOKEN}", "cookie": f"oai-did={ACCOUNT}", "x-other": COOKIE}
    body = {"messages": [{"content": {"parts": [f"I am {EMAIL}"]}}], "conversation_id": ACCOUNT}
    return httpx.post(proxy.base_url + path, json=body, headers=headers, trust_env=False, timeout=60, **more)


def calls_of(proxy):
    proxy.stop()
    return load_cassette(proxy.folder / "tape.json").interactions


def test_what_goes_through_is_unchanged_and_what_is_kept_is_scrubbed(record, planted):
    proxy = record(planted)
    assert ask(proxy, f"/backend-api/conversation?account={ACCOUNT}").content == b"".join(EVENTS)
    assert ask(proxy, "/backend-api/me/gzip").json()["user"]["email"] == EMAIL
    ask(proxy, "/assets/logo.js")
    stream, coded = calls_of(proxy)
    kept = (proxy.folder / "tape.json").read_text()
    told = b"".join(chunk.content() for chunk in stream.response.chunks).decode()
    assert [secret for secret in SECRETS if secret in kept + told] == []
    assert len(stream.response.chunks) == len(EVENTS)
    assert stream.response.chunks[-1].at >= 0.15
    assert stream.response.chunks[1].content().endswith(b"\xe2\x82")
    texts = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    assert texts[0]["v"] + texts[1]["v"] == "Mail person-1@example.invalid, € 5"
    assert texts[2]["conversation_id"] == stream.request.body["conversation_id"]
    assert stream.request.query == f"account={texts[2]['conversation_id']}"
    assert coded.response.body().startswith(b'{"user"')
    assert "content-encoding" not in coded.response.headers
    assert "x-other" not in stream.request.headers


def test_text_is_redacted_on_demand(record, planted):
    proxy = record(planted, flags=("--redact-text",))
    ask(proxy)
    (call,) = calls_of(proxy)
    assert load_cassette(proxy.folder / "tape.json").redacted
    assert call.request.body["messages"][0]["content"]["parts"] == ["X xx person-1@example.invalid"]


def test_a_long_stream_is_cut_at_the_limit_and_costs_little(record, planted):
    import psutil

    proxy = record(planted, "--set", "record_limit=100000")
    process = psutil.Process(proxy.process.pid)
    ask(proxy)
    before = process.memory_info().rss
    assert len(ask(proxy, "/backend-api/conversation/long").content) > 40_000_000
    assert process.memory_info().rss - before < 30_000_000
    _, call = calls_of(proxy)
    assert call.response.kept == "head"
    assert 80_000 < len(call.response.body()) <= 100_000
    assert call.response.body().endswith(b"\n\n")


def test_a_broken_stream_is_recorded_as_far_as_it_came(record, planted):
    proxy = record(planted)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(proxy, "/backend-api/conversation/broken")
    (call,) = calls_of(proxy)
    assert call.response.cut
    assert len(call.response.chunks) == len(EVENTS)


def test_a_call_under_way_when_the_recorder_is_stopped_is_kept_as_far_as_it_came(record, planted):
    proxy = record(planted)
    with (
        httpx.Client(trust_env=False, timeout=60) as client,
        client.stream("POST", f"{proxy.base_url}/backend-api/conversation/held", json={}) as answer,
    ):
        told = answer.iter_raw()
        heard = b""
        while not heard.endswith(b"[DONE]\n\n"):
            heard += next(told)
        (call,) = calls_of(proxy)
    assert call.response.cut
    assert b"".join(chunk.content() for chunk in call.response.chunks).endswith(b"[DONE]\n\n")


TAUGHT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from mitmproxy import exceptions
from mitmproxy.test import taddons, tflow, tutils
from addons.recorder import Recorder
from shim.cassettes.format import load_cassette

recorder, folder = Recorder(), sys.argv[2]
with taddons.context(recorder) as context:
    context.configure(recorder, record_folder=folder, record_name="tape")
    headers = ((b"content-type", b"text/event-stream"),)
    asked = tutils.treq(path=b"/backend-api/conversation")
    flow = tflow.tflow(req=asked, resp=tutils.tresp(headers=headers, content=None))
    rewritten = []
    flow.response.stream = lambda chunk: rewritten.append(chunk) or ([chunk.upper(), b"!"] if chunk else [])
    recorder.responseheaders(flow)
    answers = [flow.response.stream(chunk) for chunk in (b"data: a\\n\\n", b"data: b\\n\\n", b"")]
    assert answers == [[b"DATA: A\\n\\n", b"!"], [b"DATA: B\\n\\n", b"!"], []], answers
    assert rewritten == [b"data: a\\n\\n", b"data: b\\n\\n", b""], rewritten
    recorder.response(flow)
    whole = tflow.tflow(req=tutils.treq(path=b"/backend-api/me"), resp=tutils.tresp(content=b"{}"))
    recorder.responseheaders(whole)
    assert not whole.response.stream
    recorder.response(whole)
    elsewhere = tflow.tflow(req=tutils.treq(path=b"/elsewhere"), resp=True)
    recorder.responseheaders(elsewhere)
    recorder.response(elsewhere)
    recorder.done()
    try:
        context.configure(recorder, record_paths="(")
    except exceptions.OptionsError as error:
        assert "record_paths" in str(error)
    else:
        raise AssertionError("a bad pattern was taken")
calls = load_cassette(Path(folder) / "tape.json").interactions
assert [call.request.path for call in calls] == ["/backend-api/conversation", "/backend-api/me"], calls
assert len(calls[0].response.chunks) == 2, calls
"""


def test_a_callable_that_is_there_is_wrapped_and_hears_everything(mitmproxy_python, tmp_path):
    command = [mitmproxy_python, "-c", TAUGHT, str(ROOT), str(tmp_path)]
    taught = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    place = tmp_path / "tape.json"
    assert (taught.returncode, taught.stderr) == (0, f"recorded 2 calls in {place}\n")


def test_flow_files_become_cassettes(record, planted, mitmproxy_python, tmp_path):
    saved = tmp_path / "saved.flows"
    proxy = record(planted, "-w", str(saved))
    ask(proxy, "/backend-api/me/gzip")
    proxy.stop()
    command = [
        mitmproxy_python,
        "-m",
        "shim",
        "cassette",
        "from-flows",
        str(saved),
        "--out",
        str(tmp_path / "made.json"),
    ]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert made.returncode == 0, made.stderr
    (call,) = load_cassette(tmp_path / "made.json").interactions
    assert json.loads(call.response.body())["type"] == "kept"
    assert not [secret for secret in SECRETS if secret in (tmp_path / "made.json").read_text()]


SCRIPTS = ("text", "unicode", "code", "reasoning", "citations", "error", "max_tokens", "empty", "interleaved", "hidden")


def session(gateway):
    """Twenty turns, ten of them streamed; what the client got, ids and times apart."""
    answers = []
    for turn, script in enumerate(SCRIPTS * 2):
        prompt = f"[[script={script} chunks=split]] Turn {turn}"
        body = {"model": "auto", "stream": turn < len(SCRIPTS), "messages": [{"role": "user", "content": prompt}]}
        answer = gateway.post("/v1/chat/completions", body)
        answers.append((answer.status_code, re.sub(r'"(id|created)":("[^"]*"|\d+)', "", answer.text)))
    return answers


def test_a_replayed_session_of_twenty_turns_gives_the_same_client_bytes(record, start_standin, start_gateway):
    proxy = record(start_standin(seed=3).base_url)
    live = session(start_gateway(CHATGPT_BASE_URL=proxy.base_url, RETRY_TIMES="0"))
    assert {status for status, _ in live} >= {200}
    proxy.stop()
    command = [sys.executable, "-m", "shim", "replay", "--fast", str(proxy.folder / "tape.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replay:
        try:
            url = replay.stdout.readline().split()[-1]
            assert session(start_gateway(CHATGPT_BASE_URL=url, RETRY_TIMES="0")) == live
        finally:
            replay.terminate()
        assert "0 left, 0 missed" in replay.stdout.read()
    served = start_gateway(
        REPLAY=str(proxy.folder / "tape.json"), RETRY_TIMES="0", CHATGPT_BASE_URL="http://127.0.0.1:9"
    )
    assert session(served) == live
