"""A real redis-server on loopback, for the tests of whatever is kept on one; tests/conftest.py has it for all.

Rule: every server started here is ended here by its own handle.
"""

import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

REDIS = shutil.which("redis-server") or "/usr/bin/redis-server"


class RedisServer:
    """One redis-server that appends to a file in `folder`. `options` are its command line's."""

    def __init__(self, folder: Path, *options: str) -> None:
        # Kept, and never listening: a port that is free while the server is down may become another test's, or the
        # other end of a client that tries to reach it.
        self._reservation = socket.socket()
        self._reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reservation.bind(("127.0.0.1", 0))
        self.port: int = self._reservation.getsockname()[1]
        weakref.finalize(self, self._reservation.close)
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
        until = time.monotonic() + 30
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


@pytest.fixture(params=["sqlite", "redis"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where an empty store is, of either kind: `data_dir` and `redis_url`, as whoever opens one is given them."""
    url = request.getfixturevalue("shared_redis")() if request.param == "redis" else ""
    return {"data_dir": tmp_path / "data", "redis_url": url}


@pytest.fixture(scope="session")
def shared_redis(start_redis: Callable[..., RedisServer]) -> Callable[[], str]:
    """`shared_redis()`: the address of an empty database on a server that all tests share."""
    server = start_redis()
    databases = count()
    return lambda: f"{server.url}/{next(databases)}"
