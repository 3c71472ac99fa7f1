"""When memory is given back: after much was let go of, while more is, and once when that is over."""

import asyncio

import pytest

from shim import heap
from shim.heap import LARGE, Bulk
from shim.http.intake import _UnderWay

MUCH = 8 * 1024 * 1024


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One for each time that it was."""
    times: list[None] = []
    monkeypatch.setattr(heap, "_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(heap, "give_back", lambda: times.append(None))
    return times


async def watched(bulk: Bulk, given: list[None], times: int) -> None:
    """Until it watches no more, and has given back so many times."""
    async with asyncio.timeout(20):
        while bulk._watching or len(given) < times:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.005)
    assert len(given) == times


async def test_little_is_not_worth_it(given: list[None]) -> None:
    bulk = Bulk()
    bulk.let_go(MUCH - 1)
    assert not bulk._watching


async def test_what_the_last_few_had_goes_back_too(given: list[None]) -> None:
    """They are less than what the first look was for, and it used to be the only one."""
    bulk = Bulk()
    bulk.let_go(MUCH)
    async with asyncio.timeout(20):
        while not given:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    bulk.let_go(1)
    await watched(bulk, given, 3)  # at first, for the one behind it, and when it was quiet
    bulk.let_go(MUCH)
    await watched(bulk, given, 5)


async def test_many_small_bodies_are_no_large_one(given: list[None]) -> None:
    """Looking for what can go back takes the loop's time; under any load it would be looked for without end."""
    held = _UnderWay(MUCH)
    for _ in range(3 * MUCH // LARGE):
        held.take(LARGE - 1)
        held.release(LARGE - 1)
    assert not held._bulk._watching
    for _ in range(MUCH // LARGE):
        held.take(LARGE)
        held.release(LARGE)
    assert held._bulk._watching
    await watched(held._bulk, given, 2)
