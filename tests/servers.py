"""Gateways and stand-in upstreams for tests: real servers on real sockets, most of them in threads of this process.

A process of its own costs seconds to start on a busy machine. It is used where the process is the point: where it is
killed, has workers below it, is measured, or where `chat2api serve` itself is what the test is about.

Rule: loopback only, and whoever starts a server ends it by its own handle.
"""

import asyncio
import io
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec
import pytest
import uvloop

from pow import Solver
from shim.accounts import outcomes
from shim.app import create_app
from shim.exchange.driving import replay_of
from shim.protocol.answer import follow_up, looks
from shim.server.granian import serve_app
from shim.settings import load_settings
from shim.standin.options import StandinOptions
from shim.standin.server import serve_standin

ROOT = Path(__file__).parents[1]
# Users run the runtime environment, which has no test tools in it; so do the tests, where it has been made.
RUNTIME = ROOT / ".venv" / "bin" / "python"
PYTHON = str(RUNTIME) if RUNTIME.exists() else sys.executable
# How long a start may take is no promise of ours: enough for a machine that is ten times overloaded.
START_SECONDS = 90
STOP_SECONDS = 60

_Serving = AbstractAsyncContextManager[str]
_numbers = itertools.count(1)


class Running(Protocol):
    """A server that answers: where it listens, what it has logged, and how it is asked and ended."""

    base_url: str

    @property
    def log(self) -> str: ...
    def get(self, path: str) -> httpx.Response: ...
    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response: ...
    def stop(self) -> int: ...


class _Asked:
    """The part of a running server that sends it requests."""

    base_url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.base_url + path, trust_env=False, timeout=60)

    def post(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        return httpx.post(self.base_url + path, json=body, headers=headers, trust_env=False, timeout=60)


class Process(_Asked):
    """A server in a process of its own; `stop` returns its exit code."""

    def __init__(self, process: "subprocess.Popen[bytes]", base_url: str, log: Path) -> None:
        self.process, self.base_url, self._log = process, base_url, log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End it without a word, as the machine's end would: workers first, which notice that their parent is gone."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (*map(int, children), self.process.pid):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> int:
        """End it as an operator would, and hard if it does not; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_SECONDS)


class Thread(_Asked):
    """A server in a thread of this process, with an event loop of its own: a test that blocks does not block it."""

    def __init__(self, name: str, serving: Callable[[], _Serving]) -> None:
        self._name, self._serving = f"{name}-{next(_numbers)}", serving
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._said = io.StringIO()
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            raise AssertionError(f"{self._name} did not start:\n{self.log}")
        self._raise_failure()

    @property
    def log(self) -> str:
        return self._said.getvalue()

    def stop(self) -> int:
        """End it as its process would be ended; 0, as a process that ends well would return."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(STOP_SECONDS)
            assert not self._thread.is_alive(), f"{self._name} does not end:\n{self.log}"
        self._raise_failure()
        return 0

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise AssertionError(f"{self._name} failed:\n{self.log}") from self._failed

    def _run(self) -> None:
        with _logged(self._name, self._said):
            try:
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(self._serve())
            except BaseException as error:  # noqa: BLE001  # it is raised again where the thread is waited for
                self._failed = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        # Named after this thread, so that what they log is found to be this server's.
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix=self._name))
        async with self._serving() as self.base_url:
            self._ready.set()
            await self._stopped.wait()


@contextmanager
def _logged(thread: str, said: io.StringIO) -> Iterator[None]:
    """Writes to `said` what threads of this name log, in the format and from the level that a process has."""
    handler = logging.StreamHandler(said)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    # By the thread that logs, and not by the record's: whoever sets a process's log up turns that off.
    handler.addFilter(lambda _record: threading.current_thread().name.partition("_")[0] == thread)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


# --- stand-ins --------------------------------------------------------------------------------------------------------


@contextmanager
def standins(folders: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`make(process=False, seed=1, ...)`: a stand-in with these options; all are ended with the block."""
    started: list[Running] = []

    def make(*, process: bool = False, **options: Any) -> Running:
        if process:
            port = free_port()
            flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            command = ["-m", "shim.standin", "--port", str(port), *flags]
            folder = folders.mktemp("standin")
            running: Running = start(command, port, "/standin/stats", folder, clean_environment())
        else:

            @asynccontextmanager
            async def serving() -> Any:
                async with serve_standin(StandinOptions(**options)) as served:
                    yield served.base_url

            running = Thread("standin", serving)
        started.append(running)
        return running

    try:
        yield make
    finally:  # also of a script that fails
        _end(started)


def _end(started: list[Running]) -> None:
    """All of them; processes at once, as each takes a second to end."""
    for one in started:
        if isinstance(one, Process) and one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
    for one in started:
        one.stop()


# --- gateways ---------------------------------------------------------------------------------------------------------


@contextmanager
def gateways(folders: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`make(NAME="value", ...)`: a gateway with these settings and no others; `process` makes it a real `chat2api
    serve`, whose health is checked at `health`. All are ended with the block."""
    started: list[Running] = []

    def make(health: str = "/healthz", *, process: bool = False, **settings: str) -> Running:
        folder = folders.mktemp("gateway")
        settings = {"DATA_DIR": str(folder / "data"), **settings}
        if process:
            port = free_port()
            environment = clean_environment(PORT=str(port), **settings)
            running: Running = start(["-m", "shim", "serve"], port, health, folder, environment)
        else:
            running = Thread("gateway", lambda: _serving(settings))
            assert running.get(health).status_code < 500, running.log
        started.append(running)
        return running

    try:
        yield make
    finally:  # also of a script that fails
        _end(started)


@asynccontextmanager
async def _serving(environment: dict[str, str]) -> Any:
    settings = load_settings(environment, dotenv=Path(os.devnull))
    async with serve_app(create_app(settings, transport=replay_of(settings))) as port:
        yield f"http://127.0.0.1:{port}"


class _SharedSolver:
    """In the place of each gateway's solver: the real one, but one for all of them. Its process takes half a second
    to start, and none of these tests is about it."""

    _real = Solver()

    def __init__(self, *, workers: int = 1) -> None:
        self.solve = self._real.solve

    async def start(self) -> None:
        await self._real.start()

    async def close(self) -> None:
        pass


REAL_POLLS, REAL_RESUMES, REAL_BACKOFF = dict(follow_up.POLLS), follow_up.RESUMES, outcomes._BACKOFF_SECONDS
REAL_LOOKS_APART = looks.LOOKS_APART
"""The rhythms as the product has them, for tests that are about them while gateways run in this process"""


@contextmanager
def in_this_process() -> Iterator[None]:
    """What gateways and stand-ins find changed in this process while it has some."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shim.exchange.driving.Solver", _SharedSolver)
        patch.setattr("shim.server.granian.START_SECONDS", float(START_SECONDS))
        # The waits between looks at a conversation are seconds, for upstream's sake (their length is held in
        # tests/protocol/test_following). The stand-in may be asked as often as one likes.
        for what, rhythm in follow_up.POLLS.items():
            patch.setitem(follow_up.POLLS, what, msgspec.structs.replace(rhythm, first=0.05))
        patch.setattr(looks, "LOOKS_APART", 0.05)
        # So may it be asked to open a stream again: as often as in the product, but not for half a minute.
        patch.setattr(follow_up, "RESUMES", msgspec.structs.replace(follow_up.RESUMES, first=0.05, longest=0.3))
        # And it may be tried again at once (how the waits grow is held in tests/accounts/test_outcomes).
        patch.setattr(outcomes, "_BACKOFF_SECONDS", 0.01)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        patch.setenv("NO_PROXY", "*")
        logging.getLogger("chat2api").setLevel(logging.INFO)  # as LOG_LEVEL has it in a process
        yield
    logging.getLogger("chat2api").setLevel(logging.NOTSET)
    asyncio.run(_SharedSolver._real.close())


# --- processes --------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(**more: str) -> dict[str, str]:
    """This machine's environment without anything that is a setting of ours or a proxy."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return kept | {"PYTHONPATH": str(ROOT), "NO_PROXY": "*"} | more


def start(arguments: list[str], port: int, ready_path: str, folder: Path, environment: dict[str, str]) -> Process:
    """Start `python ARGUMENTS` in `folder` and wait until `ready_path` answers."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    with log.open("wb") as out:
        process = subprocess.Popen([PYTHON, *arguments], cwd=folder, env=environment, stdout=out, stderr=out)
    running = Process(process, f"http://127.0.0.1:{port}", log)
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{running.log}")
        try:
            if running.get(ready_path).status_code < 500:
                return running
        except httpx.TransportError:
            time.sleep(0.05)
    running.stop()
    raise AssertionError(f"the server did not start:\n{running.log}")
