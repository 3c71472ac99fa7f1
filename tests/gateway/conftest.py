"""What the tests of relays, chains and several machines share."""

import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
KEY = "fk-key-of-the-pool"
ADMIN = {"Authorization": "Bearer admin-key"}
REDIS = shutil.which("redis-server")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Answers:
    """An upstream that says what it is told to, over a real socket. `seen` are the requests, headers in lower case."""

    def __init__(self, base_url):
        self.base_url = base_url
        self.seen = []
        self.gone = threading.Event()
        self._rows = {}

    def say(self, method, path, body=b"", *, status=200, cut=False, **headers):
        """`body` may be bytes or a list of pieces; `cut` breaks the connection off instead of ending the body."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self._rows[method, path] = (status, headers, body, cut)

    def row(self, method, path):
        missing = (404, {"content-type": "application/json"}, b'{"detail":"nothing is said here"}', False)
        return self._rows.get((method, path.partition("?")[0]), missing)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        answers = self.server.answers
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answers.seen.append({"method": self.command, "path": self.path, "headers": headers, "body": body})
        status, more, content, cut = answers.row(self.command, self.path)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in content if not isinstance(content, bytes) else [content] * bool(content):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if not cut:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            answers.gone.set()
            cut = True
        self.close_connection = cut

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def log_message(self, *_):
        pass


@pytest.fixture
def answers():
    """A scripted upstream: `answers.say("GET", "/backend-api/me", b"...")`."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.answers = Answers(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.answers
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def tell(upstream):
    """`tell("name", ...)`: an account of the stand-in; its access token."""

    def make(name, **switches):
        answer = upstream.post("/standin/accounts", {"name": name, **switches})
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    return make


@pytest.fixture
def pooled(start_gateway):
    """`pooled(base_url, credential, ..., NAME="value")`: a gateway whose pool has these, behind the key `KEY`."""

    def make(base_url, *credentials, **settings):
        settings = {"AUTHORIZATION": KEY, **settings}
        gateway = start_gateway(CHATGPT_BASE_URL=base_url, ADMIN_KEY="admin-key", **settings)
        if credentials:
            prefix = settings.get("API_PREFIX", "")
            path = f"/{prefix}/tokens/api/accounts".replace("//", "/")
            answer = gateway.post(path, {"text": "\n".join(credentials)}, **ADMIN)
            assert answer.status_code == 200, answer.text
            assert not answer.json()["invalid"]
        return gateway

    return make


def turn(text="hi", **more):
    """A conversation body as a client of the backend API sends it (protocol.md 4.1)."""
    message = {
        "id": "7d5dbfb0-6511-4192-b5f2-13779fed444e",
        "author": {"role": "user"},
        "content": {"content_type": "text", "parts": [text]},
        "metadata": {},
    }
    body = {"action": "next", "messages": [message], "parent_message_id": "6c0d8d0e-6511-4192-b5f2-13779fed444e"}
    return body | {"model": "auto", "history_and_training_disabled": False} | more


def events_of(text):
    """The JSON objects of an event stream."""
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line.startswith("{")]


def wait_until(check, seconds=60):
    """Poll `check` until it is true; its last value."""
    until = time.monotonic() + seconds
    while not (value := check()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


def port_answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def a_free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port):
    """A server process that is ended with the block."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            assert wait_until(lambda: process.poll() is not None or port_answers(port)), command
            out.seek(0)
            assert process.poll() is None, out.read().decode(errors="replace")
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


@pytest.fixture
def redis_url(tmp_path):
    if REDIS is None:
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    port = a_free_port()
    command = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", "", "--daemonize"]
    with running([*command, "no"], port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def balanced(tmp_path):
    """`with balanced(gateway, ...) as base_url`: the project's own nginx configuration in front of these gateways."""
    if NGINX is None:
        pytest.skip("nginx is not installed (Debian package nginx-light)")

    @contextlib.contextmanager
    def make(*gateways):
        port = a_free_port()
        lines, options = [], []
        for line in (ROOT / "deploy" / "nginx.conf").read_text().splitlines():
            if line.strip().startswith("server gateway-"):
                options.append(line.partition(":5005")[2])
            else:
                lines.append(line.replace("listen 8080;", f"listen 127.0.0.1:{port};"))
        assert len(options) == 2
        servers = "".join(f"server {httpx.URL(one.base_url).netloc.decode()}{options[0]}\n" for one in gateways)
        site = "\n".join(lines).replace("upstream chat2api {", "upstream chat2api {\n" + servers)
        assert str(port) in site
        assert servers in site
        config = tmp_path / f"nginx-{port}.conf"
        folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in _TEMPORARY)
        config.write_text(
            f"daemon off; pid {tmp_path}/nginx-{port}.pid; error_log stderr warn; worker_processes 1;\n"
            f"events {{ worker_connections 4096; }}\nhttp {{ access_log off; {folders}\n{site}\n}}\n"
        )
        with running([NGINX, "-p", str(tmp_path), "-e", "stderr", "-c", str(config)], port):
            yield f"http://127.0.0.1:{port}"

    return make


_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@pytest.fixture
def key():
    """The header a client of `pooled` sends."""
    return {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def said():
    """Functions the modules share: `said.turn`, `said.events_of`, `said.wait_until`, `said.pool_key`."""

    class Said:
        pool_key = KEY

    Said.turn, Said.events_of, Said.wait_until = staticmethod(turn), staticmethod(events_of), staticmethod(wait_until)
    return Said
