"""One call at a time for each key: shared, not ended by those who leave, and a failure kept for nobody."""

import asyncio

import pytest

from shim.single_flight import SingleFlight


class Call:
    """A call that ends when it is told to."""

    def __init__(self):
        self.go, self.begun, self.cancelled = asyncio.Event(), 0, False
        self.error = None

    async def __call__(self):
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        return self.begun


async def waiting(flights, call, number, key="a"):
    tasks = [asyncio.create_task(flights.run(key, call)) for _ in range(number)]
    await asyncio.sleep(0.01)
    return tasks


async def test_fifty_at_once_are_one_call_and_the_next_is_another():
    flights, call = SingleFlight(), Call()
    tasks = await waiting(flights, call, 50)
    call.go.set()
    assert await asyncio.gather(*tasks) == [1] * 50
    assert await flights.run("a", call) == 2
    assert flights.tasks() == {}


async def test_each_key_has_its_own():
    flights, call = SingleFlight(), Call()
    tasks = [*await waiting(flights, call, 2, "a"), *await waiting(flights, call, 2, "b")]
    assert set(flights.tasks()) == {"a", "b"}
    call.go.set()
    await asyncio.gather(*tasks)
    assert call.begun == 2


async def test_a_failure_is_told_to_all_who_wait_and_kept_for_nobody():
    flights, call = SingleFlight(), Call()
    tasks = await waiting(flights, call, 3)
    call.error = ValueError("no")
    call.go.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError] * 3
    call.error = None
    assert await flights.run("a", call) == 2


async def test_who_asks_in_the_moment_between_end_and_callback_gets_a_call_of_their_own():
    flights, call = SingleFlight(), Call()
    (task,) = await waiting(flights, call, 1)
    call.error = ValueError("no")
    call.go.set()
    while not flights.tasks()["a"].done():  # noqa: ASYNC110  the moment is what is looked for
        await asyncio.sleep(0)
    call.error = None
    assert await flights.run("a", call) == 2
    with pytest.raises(ValueError, match="no"):
        await task


@pytest.mark.parametrize("ends_unawaited", [False, True])
async def test_one_that_leaves_changes_nothing_for_the_others(ends_unawaited):
    flights, call = SingleFlight(ends_unawaited=ends_unawaited), Call()
    leaving, staying = await waiting(flights, call, 2)
    leaving.cancel()
    await asyncio.sleep(0.01)
    call.go.set()
    assert await staying == 1


async def test_where_all_have_left_it_goes_on_or_ends_as_was_asked_for():
    for ends_unawaited in (False, True):
        flights, call = SingleFlight(ends_unawaited=ends_unawaited), Call()
        (task,) = await waiting(flights, call, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert call.cancelled is ends_unawaited
        assert bool(flights.tasks()) is not ends_unawaited
        call.go.set()
        assert await flights.run("a", call) == (2 if ends_unawaited else 1)
