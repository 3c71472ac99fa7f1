"""Keys on the real thing: a file in a fresh folder, and a real redis-server on loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from shim.keys import ApiKeys, open_keys
from tests.redis_server import shared_redis, start_redis  # noqa: F401  fixtures


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """What `open_keys` is given: an empty store, of either kind."""
    url = request.getfixturevalue("shared_redis")() if request.param == "redis" else ""
    return {"data_dir": tmp_path / "data", "redis_url": url}


@pytest.fixture
async def open_at() -> AsyncIterator[Callable[..., Any]]:
    """`await open_at(**place)`: open keys; another call stands for another process."""
    async with AsyncExitStack() as stack:

        async def make(**place: Any) -> ApiKeys:
            return await stack.enter_async_context(open_keys(**place))

        yield make


@pytest.fixture
async def keys(open_at: Callable[..., Any], place: dict[str, Any]) -> ApiKeys:
    return await open_at(**place)


@pytest.fixture
async def other(open_at: Callable[..., Any], place: dict[str, Any]) -> ApiKeys:
    """The same keys as another process has them."""
    return await open_at(**place)
