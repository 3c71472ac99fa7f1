"""The processes of the bench: started here, measured from outside, ended by the ids they were started under.

Rule: one worker each, on a free port of loopback, in a folder of its own, so that no `.env` is read by chance.
"""

import contextlib
import http.client
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

PROJECT = Path(__file__).parents[2]
GATEWAY = PROJECT / ".venv/bin/chat2api"
MITMDUMP = PROJECT / ".venv-mitmproxy/bin/mitmdump"

# Two calls a turn, as when the aims were set; with two steps there is one more.
_ONE_STEP = {"SENTINEL": "one-step"}
# For a loaded machine; mostly it is one second. The gateway itself waits for open streams before it ends.
_START_SECONDS = 30.0
_STOP_SECONDS = 15.0


class ServerError(Exception):
    """A server of the bench did not start."""


class Target:
    """Any server that is up already, known by its base URL. Where it is on this machine, its processes are found by the
    port they listen on."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        self.name = name
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.path = parts.path.removesuffix("/").removesuffix("/v1")

    def get(self, path: str) -> bytes:
        """The body of an answer to GET, whatever its status."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def cpu(self) -> float:
        """Seconds of CPU, user and system, that its processes have used so far; nan where there are none to be seen."""
        processes = self._processes()
        if not processes:
            return math.nan
        seconds = 0.0
        for process in processes:
            # psutil counts in hundredths of a second; Linux gives out the exact clock of a process by its id.
            if sys.platform == "linux":
                with contextlib.suppress(OSError):
                    seconds += time.clock_gettime(~process.pid << 3 | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
                    continue
            times = process.cpu_times()
            seconds += times.user + times.system
        return seconds

    def memory(self, *, shared_once: bool = False) -> int:
        """Bytes its processes have resident, one by one; `shared_once`: what they share among them counts once."""
        if shared_once:
            return sum(process.memory_full_info().pss for process in self._processes())
        return sum(process.memory_info().rss for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        listening = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr.port == self.port and one.pid
        }
        found = [psutil.Process(pid) for pid in listening]
        found += [child for process in found for child in process.children(recursive=True)]
        return list(dict.fromkeys(found))


class Server(Target):
    """A server of the bench's own, and all processes below it."""

    def __init__(self, name: str, command: list[str], port: int, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(name, f"http://127.0.0.1:{port}")
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment_of(environment), stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid
        # Its standard input ends with this process, also where that is killed and can end nobody itself.
        self._guard = subprocess.Popen(["/bin/sh", "-c", f"read -r _; kill {self.pid}"], stdin=subprocess.PIPE)
        self._root = psutil.Process(self.pid)

    def wait(self) -> None:
        """Return when it answers. Raises ServerError with the end of its log."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.get("/healthz")
                return
            time.sleep(0.005)
        raise ServerError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self) -> None:
        """End it, and whatever it left."""
        self._guard.kill()
        self._guard.communicate()
        # Before it ends, because nobody knows whose children they were afterwards.
        processes = self._processes() if self._process.poll() is None else []
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()  # psutil checks that the id has not been given to another process

    def _processes(self) -> list[psutil.Process]:
        return [self._root, *self._root.children(recursive=True)]


@contextlib.contextmanager
def running(name: str, command: list[str], folder: Path, environment: dict[str, str], port: int) -> Iterator[Server]:
    """A server that answers while the block runs. Raises ServerError."""
    server = Server(name, command, port, folder, environment)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def upstream(folder: Path, port: int | None = None) -> Iterator[Server]:
    """The scripted upstream."""
    port = port or free_port()
    # As the gateway serves itself; the backlogs are larger than any load, so that nothing waits to be accepted.
    command = [
        *(sys.executable, "-m", "granian", "--interface", "asginl", "--loop", "uvloop", "--no-ws"),
        *("--host", "127.0.0.1", "--port", str(port), "--backlog", "4096", "--backpressure", "4096"),
        *("--log-level", "warning", "scripts.benchmark.upstream:app"),
    ]
    with running("upstream", command, folder, {"PYTHONPATH": str(PROJECT)}, port) as server:
        yield server


@contextlib.contextmanager
def pass_through(folder: Path, upstream_port: int, kind: str = "aiohttp") -> Iterator[Server]:
    """A bare pass-through in front of it: "aiohttp" or "raw" sockets."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.benchmark.passthrough", kind, str(port), str(upstream_port)]
    with running(kind, command, folder, {"PYTHONPATH": str(PROJECT)}, port) as server:
        yield server


@contextlib.contextmanager
def libraries(folder: Path, upstream_port: int) -> Iterator[Server]:
    """What the gateway is made of, alone, served as it is served itself."""
    port = free_port()
    command = [
        *(str(GATEWAY.parent / "granian"), "--interface", "asgi", "--loop", "uvloop", "--no-ws", "--http", "1"),
        *("--host", "127.0.0.1", "--port", str(port), "--backlog", "4096", "--backpressure", "65536"),
        *("--log-level", "warning", "scripts.benchmark.libraries:app"),
    ]
    environment = {"PYTHONPATH": str(PROJECT), "LIBRARIES_UPSTREAM": f"http://127.0.0.1:{upstream_port}"}
    with running("libraries", command, folder, environment, port) as server:
        yield server


@contextlib.contextmanager
def gateway(
    folder: Path,
    upstream_port: int,
    *,
    prefix: str = "",
    name: str = "chat2api",
    workers: int = 1,
    program: Path = GATEWAY,
) -> Iterator[Server]:
    """The gateway as users run it, in front of the upstream's paths below `prefix`."""
    port = free_port()
    environment = {"CHATGPT_BASE_URL": f"http://127.0.0.1:{upstream_port}{prefix}", "DATA_DIR": str(folder / "data")}
    environment |= _ONE_STEP
    command = [str(program), "serve", "--port", str(port), "--workers", str(workers)]
    with running(name, command, folder, environment, port) as server:
        yield server


@contextlib.contextmanager
def bridge(folder: Path, upstream_port: int) -> Iterator[Server]:
    """mitmdump with the bridge, in front of the upstream."""
    port = free_port()
    url = f"http://127.0.0.1:{upstream_port}"
    environment = {"CHATGPT_BASE_URL": url, "DATA_DIR": str(folder / "bridge-data"), "PYTHONPATH": str(PROJECT)}
    environment |= _ONE_STEP
    command = [str(MITMDUMP), "-s", str(PROJECT / "addons/bridge.py"), "--mode", f"reverse:{url}"]
    command += ["--listen-host", "127.0.0.1", "-p", str(port), "--set", f"confdir={folder / 'mitmproxy'}"]
    with running("bridge", command, folder, environment, port) as server:
        yield server


def free_port() -> int:
    """A port of loopback nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment_of(extra: dict[str, str]) -> dict[str, str]:
    """What a process of the bench sees: none of the settings the caller may have exported."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | extra


_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
