"""The stores on the real thing: a file in a fresh folder, and a real redis-server on loopback.

Rule: every server and every child started here is ended here by its own handle, and every store made is closed.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from shim.accounts.stores import Store
from shim.accounts.stores.choose import open_store

REDIS = shutil.which("redis-server") or "/usr/bin/redis-server"
CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).parents[3]


class RedisServer:
    """One redis-server that appends to a file in `folder`. `options` are its command line's."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [REDIS, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        persistent = ["--save", "", "--appendonly", "yes", "--databases", "4096", "--logfile", "redis.log"]
        self.process = subprocess.Popen([*command, *persistent, *self._options])
        until = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < until, (self.folder / "redis.log").read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RedisServer]]:
    """`start_redis("--option", "value", ...)`: a server of one's own."""
    if not Path(REDIS).exists():
        pytest.skip("there is no redis-server on this machine (Debian and Ubuntu: apt-get install redis-server)")
    started: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        server = RedisServer(tmp_path_factory.mktemp("redis"), *options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="session")
def shared_redis(start_redis: Callable[..., RedisServer]) -> Callable[[], str]:
    """`shared_redis()`: the address of an empty database on a server that all tests share."""
    server = start_redis()
    databases = count()
    return lambda: f"{server.url}/{next(databases)}"


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What `open_store` is given: an empty store, of either kind."""
    url = request.getfixturevalue("shared_redis")() if request.param == "redis" else ""
    return {"data_dir": str(tmp_path / "data"), "redis_url": url}


@pytest.fixture
async def open_at() -> AsyncIterator[Callable[..., Any]]:
    """`await open_at(**address)`: an open store; another call stands for another process."""
    made: list[Store] = []

    async def make(**address: Any) -> Store:
        store = open_store(**address)
        made.append(store)
        await store.open()
        return store

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(open_at: Callable[..., Any], address: dict[str, Any]) -> Store:
    opened: Store = await open_at(**address)
    return opened


@pytest.fixture
async def other(open_at: Callable[..., Any], address: dict[str, Any], store: Store) -> Store:
    """The same store as another process has it, which has loaded what there is."""
    opened: Store = await open_at(**address)
    await opened.load()
    return opened


@pytest.fixture
def start_child() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """`start_child("what", address, ...)`: child.py in a process of its own, with pipes."""
    started: list[subprocess.Popen[str]] = []

    def start(what: str, address: dict[str, Any], *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(CHILD), what, json.dumps(address), *map(str, arguments)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env={"PYTHONPATH": str(ROOT)}))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()
