"""Compressed bodies through the bridge: requests of every coding are read as the app reads them, and what unfolds a
thousandfold, from a client or from upstream, costs neither memory nor the loop."""

import gzip
import json
import os
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotlicffi
import httpx
import pytest

try:
    from compression import zstd
except ImportError:
    from backports import zstd

CHAT = "/v1/chat/completions"
ASKED = {"model": "auto", "messages": [{"role": "user", "content": "[[say=one two three]]"}]}
CODINGS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotlicffi.compress,
    "zstd": zstd.compress,
}
UNFOLDED = 600 * 1024 * 1024
SLOWEST = 1.5  # seconds


@pytest.fixture(scope="module")
def upstream(start_standin):
    return start_standin(seed=7)


@pytest.fixture(scope="module")
def bridge(start_bridge, upstream):
    return start_bridge(f"reverse:{upstream.base_url}", CHATGPT_BASE_URL=upstream.base_url, AUTHORIZATION="sesame")


@pytest.fixture(scope="module")
def bomb():
    """A gigabyte of blanks would do as well: six hundred megabytes in six hundred kilobytes."""
    packer = zlib.compressobj(9, wbits=31)
    block = b" " * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(UNFOLDED >> 20)) + packer.flush()


def post(bridge, body, key="sesame", **headers):
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}", **headers}
    return httpx.post(bridge.base_url + CHAT, content=body, headers=headers, trust_env=False, timeout=60)


def megabytes(bridge):
    """How much memory mitmdump has had at most."""
    with open(f"/proc/{bridge.process.pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))


@pytest.mark.parametrize("coding", CODINGS)
def test_a_compressed_request_is_read(bridge, coding):
    answer = post(bridge, CODINGS[coding](json.dumps(ASKED).encode()), **{"content-encoding": coding})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "one two three"


@pytest.mark.parametrize(
    ("coding", "status", "code"),
    [("compress", 415, "unknown_content_encoding"), ("gzip", 400, "invalid_content_encoding")],
)
def test_a_request_that_cannot_be_decoded_is_refused(bridge, coding, status, code):
    answer = post(bridge, json.dumps(ASKED).encode(), **{"content-encoding": coding})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize(("key", "status"), [("sesame", 413), ("wrong", 401)])
def test_a_bomb_of_a_client_is_refused_before_it_unfolds(bridge, bomb, key, status):
    bridge.get("/healthz")
    before, began = megabytes(bridge), time.monotonic()
    answer = post(bridge, bomb, key, **{"content-encoding": "gzip"})
    assert answer.status_code == status
    assert megabytes(bridge) - before < 150
    assert time.monotonic() - began < 5


class Bombing(BaseHTTPRequestHandler):
    """An upstream whose every conversation unfolds."""

    protocol_version = "HTTP/1.1"
    bomb = b""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-encoding", "gzip")
        self.send_header("content-length", str(len(self.bomb)))
        self.end_headers()
        self.wfile.write(self.bomb)

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is read from /proc")
@pytest.mark.parametrize("stream", [False, True])
def test_a_bomb_of_upstream_fails_within_bounds(start_bridge, bomb, stream):
    Bombing.bomb = bomb
    with ThreadingHTTPServer(("127.0.0.1", 0), Bombing) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        bridge = start_bridge(f"reverse:{url}", CHATGPT_BASE_URL=url, CONVERSATION_ONLY="true", RETRY_TIMES="0")
        before = megabytes(bridge)
        answer = post(bridge, json.dumps({**ASKED, "stream": stream}).encode(), key="x")
        server.shutdown()
        thread.join(10)
    told = answer.json() if not stream else json.loads(answer.text.strip().removeprefix("data: "))
    assert told["error"]["code"] == "upstream_too_large"
    assert megabytes(bridge) - before < 250


def test_others_go_on_beside_a_large_request(bridge):
    """A message in 200,000 pieces: seconds of reading and joining, on what is the loop of the whole proxy."""
    pieces = [{"type": "text", "text": f"piece {n}"} for n in range(200_000)]
    body = json.dumps({**ASKED, "messages": [{"role": "user", "content": pieces}]}).encode()
    with ThreadPoolExecutor(1) as pool:
        large, begun, longest = pool.submit(post, bridge, body), time.monotonic(), 0.0
        while not large.done():
            began = time.monotonic()
            assert bridge.get("/healthz").status_code == 200
            longest = max(longest, time.monotonic() - began)
    answered = large.result()  # upstream has a limit of its own
    assert (answered.status_code, answered.json()["error"]["code"]) == (400, "context_length_exceeded")
    # On a busy machine all takes longer; whoever holds the loop holds it for nearly the whole of it.
    assert longest < max(SLOWEST, (time.monotonic() - begun) / 2)
