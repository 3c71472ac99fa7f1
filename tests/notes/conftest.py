"""Notes on the real thing: a file in a fresh folder, and a real redis-server on loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from shim.notes import Notes, Shelf, open_notes
from tests.redis_server import shared_redis, start_redis  # noqa: F401  fixtures


@pytest.fixture(params=["sqlite", "redis"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What `open_notes` is given: an empty store, of either kind."""
    url = request.getfixturevalue("shared_redis")() if request.param == "redis" else ""
    return {"data_dir": tmp_path / "data", "redis_url": url}


@pytest.fixture
async def open_at() -> AsyncIterator[Callable[..., Any]]:
    """`await open_at(**address)`: open notes; another call stands for another process."""
    async with AsyncExitStack() as stack:

        async def make(**address: Any) -> Notes:
            return await stack.enter_async_context(open_notes(**address))

        yield make


@pytest.fixture
async def shelf(open_at: Callable[..., Any], address: dict[str, Any]) -> Shelf:
    return (await open_at(**address)).shelf("things", most=10, largest=1000)


@pytest.fixture
async def other(open_at: Callable[..., Any], address: dict[str, Any]) -> Shelf:
    """The same shelf as another process has it."""
    return (await open_at(**address)).shelf("things", most=10, largest=1000)
