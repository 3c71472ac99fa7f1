"""Notes on the real thing: a file in a fresh folder, and a real redis-server on loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shim.notes import Notes, Shelf, open_notes


@pytest.fixture
async def open_at() -> AsyncIterator[Callable[..., Any]]:
    """`await open_at(**store_place)`: open notes; another call stands for another process."""
    async with AsyncExitStack() as stack:

        async def make(**address: Any) -> Notes:
            return await stack.enter_async_context(open_notes(**address))

        yield make


@pytest.fixture
async def shelf(open_at: Callable[..., Any], store_place: dict[str, Any]) -> Shelf:
    return (await open_at(**store_place)).shelf("things", most=10, largest=1000)


@pytest.fixture
async def other(open_at: Callable[..., Any], store_place: dict[str, Any]) -> Shelf:
    """The same shelf as another process has it."""
    return (await open_at(**store_place)).shelf("things", most=10, largest=1000)
