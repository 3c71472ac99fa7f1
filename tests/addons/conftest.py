"""What the tests of the addons share: the real mitmdump, from the environment that `scripts/setup mitmproxy` makes."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

ROOT = Path(__file__).parents[2]
# Another one, with another mitmproxy, may be named.
MITMPROXY = Path(os.environ.get("MITMPROXY_ENVIRONMENT", ROOT / ".venv-mitmproxy")) / "bin"
_START_SECONDS = 60
WEB_PASSWORD = "for-the-tests"


class Process(Protocol):
    """The part of `subprocess.Popen` that a mitmdump is watched and ended by."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def send_signal(self, signal: int) -> None: ...


class Fork:
    """A mitmdump that is a child of `tests/addons/imported.py`. How it ended is not known, so it counts as 0."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def poll(self) -> int | None:
        return 0 if self._has_ended(0) else None

    def wait(self, timeout: float) -> int:
        if not self._has_ended(timeout):
            raise subprocess.TimeoutExpired("mitmdump", timeout)
        return 0

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, number)

    def close(self) -> None:
        os.close(self._handle)

    def _has_ended(self, timeout: float) -> bool:
        return bool(select.select([self._handle], [], [], timeout)[0])


class Mitmdump:
    """A running mitmdump: where it listens, its folder, and what it has written."""

    def __init__(self, process: Process, port: int, folder: Path) -> None:
        self.process, self.folder = process, folder
        self.base_url = f"http://127.0.0.1:{port}"

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")

    def get(self, path: str, host: str = "localhost") -> httpx.Response:
        """A GET of it, as somebody who takes it for `host`."""
        try:
            return httpx.get(self.base_url + path, headers={"host": host}, trust_env=False, timeout=30)
        except httpx.TransportError as error:
            self.stop()  # so that its log is complete
            raise AssertionError(f"mitmdump does not answer:\n{self.log}") from error

    def stop(self) -> None:
        """End it, so that it writes what it still has to write."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)


@pytest.fixture(scope="session")
def mitmproxy_python() -> str:
    """The Python that has mitmproxy."""
    if not (MITMPROXY / "mitmdump").exists():
        pytest.skip("there is no .venv-mitmproxy: run `scripts/setup mitmproxy` (needs the package index once)")
    return str(MITMPROXY / "python")


@pytest.fixture(scope="session")
def fork_mitmdump(mitmproxy_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Fork]]:
    """`fork_mitmdump(arguments, folder, environment, program="mitmdump")`: a mitmdump or mitmweb that has its imports
    behind it. In the folder, its log is `log.txt`, and `conf` has the certificates: the first one makes them for all,
    as keys take longer than the rest of a start."""
    command = [mitmproxy_python, "-m", "tests.addons.imported"]
    conf = tmp_path_factory.mktemp("conf")
    environment = _environment()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as imported:
        assert imported.stdin
        assert imported.stdout
        forks: list[Fork] = []

        def fork(arguments: list[str], folder: Path, environment: dict[str, str], program: str = "mitmdump") -> Fork:
            assert imported.stdin
            assert imported.stdout
            (folder / "conf").symlink_to(conf)
            arguments = [*arguments, "--set", f"confdir={conf}"]
            order = {"program": program, "arguments": arguments, "folder": str(folder), "environment": environment}
            imported.stdin.write(json.dumps(order | {"log": str(folder / "log.txt")}) + "\n")
            imported.stdin.flush()
            forks.append(Fork(int(imported.stdout.readline())))
            return forks[-1]

        yield fork
        for one in forks:
            one.close()
        imported.stdin.close()


def _environment(**settings: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), **settings}


class Echo(BaseHTTPRequestHandler):
    """A host that tells what it was asked."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a host that answers with the path and the headers it was sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def start_bridge(
    fork_mitmdump: Callable[..., Fork], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Mitmdump]]:
    """`start_bridge(mode, *arguments, scripts=("more.py",), NAME="value")`: mitmdump with the bridge, ready to answer.
    `scripts` come before it, `after` behind; settings are environment variables."""
    started: list[Mitmdump] = []
    serving: list[Mitmdump] = []

    def make(
        mode: str,
        *arguments: str,
        scripts: tuple[str, ...] = (),
        after: tuple[str, ...] = (),
        health: int = 200,
        **settings: str,
    ) -> Mitmdump:
        folder = tmp_path_factory.mktemp("bridge")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["--mode", mode, "--listen-port", str(port)]
        for script in (*scripts, str(ROOT / "addons" / "bridge.py"), *after):
            command += ["-s", script]
        command += ["--listen-host", "127.0.0.1", *arguments]
        environment = _environment(**{"DATA_DIR": str(folder / "data"), **settings})
        started.append(Mitmdump(fork_mitmdump(command, folder, environment), port, folder))
        _wait(started[-1], port)
        until = time.monotonic() + _START_SECONDS
        while not _is_healthy(started[-1], health):  # the port is open before the addons are
            assert time.monotonic() < until, f"the bridge does not serve:\n{started[-1].log}"
            time.sleep(0.05)
        serving.append(started[-1])
        return started[-1]

    yield make
    for one in started:  # all of them at once: each takes a second to end
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
    for one in started:
        one.stop()
    for one in serving:
        assert "Traceback" not in one.log or "planted" in one.log, one.log


@pytest.fixture
def record(mitmproxy_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mitmdump]]:
    """`record(upstream_url, *arguments)`: `chat2api record` in reverse mode, cassette `tape.json` in its folder."""
    started: list[Mitmdump] = []

    def make(upstream: str, *arguments: str, flags: tuple[str, ...] = ()) -> Mitmdump:
        folder = tmp_path_factory.mktemp("mitmdump")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [mitmproxy_python, "-m", "shim", "record", "--out", str(folder), "--name", "tape", *flags, "--"]
        command += [
            "--listen-host",
            "127.0.0.1",
            "--listen-port",
            str(port),
            "--mode",
            f"reverse:{upstream}",
            *arguments,
        ]
        started.append(_run(command, port, folder))
        _wait(started[-1], port)
        return started[-1]

    yield make
    for one in started:
        one.stop()


def _run(command: list[str], port: int, folder: Path) -> Mitmdump:
    with (folder / "log.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=_environment(), stdout=out, stderr=out)
    return Mitmdump(process, port, folder)


def _is_healthy(running: Mitmdump, status: int) -> bool:
    answer = running.get("/healthz", host="api.openai.com")
    return answer.status_code == status and (status != 200 or answer.headers["content-type"] == "application/json")


def _wait(running: Mitmdump, port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and running.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    running.stop()
    raise AssertionError(f"mitmdump did not start:\n{running.log}")


@pytest.fixture
def watch(
    fork_mitmdump: Callable[..., Fork], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Mitmdump]]:
    """`watch(upstream_url, *arguments, program="mitmdump")`: mitmproxy with the debug view, in reverse mode."""
    started: list[Mitmdump] = []

    def make(upstream: str, *arguments: str, program: str = "mitmdump") -> Mitmdump:
        folder = tmp_path_factory.mktemp(program)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = ["-s", str(ROOT / "addons" / "view.py"), "--mode", f"reverse:{upstream}"]
        command += ["--listen-host", "127.0.0.1", "--listen-port", str(port), *arguments]
        started.append(Mitmdump(fork_mitmdump(command, folder, _environment(), program), port, folder))
        _wait(started[-1], port)
        return started[-1]

    yield make
    for one in started:
        one.stop()


class Mitmweb:
    """A mitmweb that is asked as its own page asks it."""

    def __init__(self, running: Mitmdump, web_url: str, password: str) -> None:
        self.running, self.base_url, self.web_url = running, running.base_url, web_url
        unforged = "0123456789abcdef"  # the same in cookie and header, as a page of the same origin can have it
        headers = {"authorization": f"Bearer {password}", "x-xsrftoken": unforged}
        self._page = httpx.Client(
            base_url=web_url,
            headers=headers,
            cookies={"_mitmproxy_xsrf": unforged, "_xsrf": unforged},
            trust_env=False,
            timeout=30,
        )

    def flows(self) -> list[dict[str, Any]]:
        flows: list[dict[str, Any]] = self._page.get("/flows").raise_for_status().json()
        return flows

    def shown(self, flow: dict[str, Any], side: str = "response", view: str = "auto") -> dict[str, Any]:
        """`text`, `view_name` and more of one side of a flow."""
        path = f"/flows/{flow['id']}/{side}/content/{view}.json"
        shown: dict[str, Any] = self._page.get(path).raise_for_status().json()
        if "lines" in shown:  # mitmproxy 11, the newest for Python 3.11
            text = "\n".join("".join(piece for _, piece in line) for line in shown["lines"])
            shown = {"text": f"{text}\n", "view_name": shown["description"].rpartition("] ")[2]}
        return shown

    def body(self, flow: dict[str, Any]) -> bytes:
        """The answer's bytes as the flow has them."""
        return self._page.get(f"/flows/{flow['id']}/response/content.data").raise_for_status().content

    def command(self, name: str, *arguments: str) -> dict[str, Any]:
        """Type a command; returns its `value`, or its `error`."""
        answer = self._page.post(f"/commands/{name}", json={"arguments": arguments})
        result: dict[str, Any] = answer.raise_for_status().json()
        return result

    def close(self) -> None:
        self._page.close()


@pytest.fixture
def watch_web(watch: Callable[..., Mitmdump]) -> Iterator[Callable[..., Mitmweb]]:
    """`watch_web(upstream_url, *arguments)`: mitmweb with the debug view. Its page is at `web_url`."""
    opened: list[Mitmweb] = []

    def make(upstream: str, *arguments: str) -> Mitmweb:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ("web_open_browser=false", "web_host=127.0.0.1", f"web_port={port}", f"web_password={WEB_PASSWORD}")
        settings = [word for option in options for word in ("--set", option)]
        running = watch(upstream, *settings, *arguments, program="mitmweb")
        _wait(running, port)
        opened.append(Mitmweb(running, f"http://127.0.0.1:{port}", WEB_PASSWORD))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
