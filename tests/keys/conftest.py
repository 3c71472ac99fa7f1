"""Keys on the real thing: a file in a fresh folder, and a real redis-server on loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shim.keys import ApiKeys, open_keys


@pytest.fixture
async def open_at() -> AsyncIterator[Callable[..., Any]]:
    """`await open_at(**store_place)`: open keys; another call stands for another process."""
    async with AsyncExitStack() as stack:

        async def make(**place: Any) -> ApiKeys:
            return await stack.enter_async_context(open_keys(**place))

        yield make


@pytest.fixture
async def keys(open_at: Callable[..., Any], store_place: dict[str, Any]) -> ApiKeys:
    return await open_at(**store_place)


@pytest.fixture
async def other(open_at: Callable[..., Any], store_place: dict[str, Any]) -> ApiKeys:
    """The same keys as another process has them."""
    return await open_at(**store_place)
