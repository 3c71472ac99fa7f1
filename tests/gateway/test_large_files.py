"""A file of 100 MB through `/v1/files`: it passes the gateway, and is never in its memory."""

import http.server
import json
import threading
from pathlib import Path

import httpx
import pytest

from shim.standin import make_access_token

MEGABYTE = 1024 * 1024
BOUNDARY = "x-boundary"
GROWTH = 20 * MEGABYTE


class _Store(http.server.BaseHTTPRequestHandler):
    """As much of upstream as an upload needs. It counts bytes, and keeps none."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._say({"models": [{"slug": "auto"}]})

    def do_POST(self):
        length = int(self.headers["content-length"])
        asked = json.loads(self.rfile.read(length) or b"{}")
        self.server.asked.append(asked)
        self._say({"status": "success", "file_id": "file-1", "upload_url": f"{self.server.url}/store"})

    def do_PUT(self):
        left = int(self.headers["content-length"])
        while left:
            left -= len(self.rfile.read(min(left, 65536)))
        self.server.stored.append(int(self.headers["content-length"]))
        self._say({})

    def _say(self, told):
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def store():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Store)
    server.daemon_threads = True
    server.url, server.asked, server.stored = f"http://127.0.0.1:{server.server_port}", [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def form(megabytes):
    """A form whose file comes first, so that nothing is known of it until all of it is there."""
    yield (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    for _ in range(megabytes):
        yield b"\0\xff" * (MEGABYTE // 2)
    yield f'\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'.encode()
    yield f"--{BOUNDARY}--\r\n".encode()


def family(pid):
    """A process and those below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


def memory(pids, line):
    """The sum of a line of their status, in bytes."""
    told = [Path(f"/proc/{pid}/status").read_text().partition(f"{line}:")[2].split()[0] for pid in pids]
    return sum(map(int, told)) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_hundred_megabytes_pass_in_a_fifth_of_it(start_gateway, store):
    bounds = {"MAX_REQUEST_BYTES": str(MEGABYTE), "MAX_BYTES_UNDER_WAY": str(8 * MEGABYTE)}
    gateway = start_gateway(CHATGPT_BASE_URL=store.url, process=True, **bounds)
    headers = {
        "authorization": f"Bearer {make_access_token('large')}",
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
    }

    def upload(megabytes):
        return httpx.post(
            f"{gateway.base_url}/v1/files", content=form(megabytes), headers=headers, trust_env=False, timeout=120
        )

    # What is loaded once is loaded; what counts tokens a moment after the start, or when something is counted.
    hello = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
    assert gateway.post("/v1/messages/count_tokens", hello).status_code == 200
    assert upload(4).status_code == 200
    pids = family(gateway.process.pid)
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # its peak begins anew
    before = memory(pids, "VmRSS")
    answer = upload(100)
    grown = memory(pids, "VmHWM") - before
    assert (answer.status_code, answer.json()["bytes"]) == (200, 100 * MEGABYTE)
    assert store.stored == [4 * MEGABYTE, 100 * MEGABYTE]
    assert grown < GROWTH, f"grown by {grown / MEGABYTE:.1f} MB"
    refused = upload(101)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "file_too_large")
