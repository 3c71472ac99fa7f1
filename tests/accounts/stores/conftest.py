"""The stores on the real thing: a file in a fresh folder, and a real redis-server on loopback.

Rule: every server and every child started here is ended here by its own handle, and every store made is closed.
"""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shim.accounts.stores import Store
from shim.accounts.stores.choose import open_store

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).parents[3]


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
