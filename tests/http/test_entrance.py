"""Many requests at once: those that have begun go on between the new ones."""

import asyncio

from shim.http.entrance import Entrance

_MANY = 1000


async def test_the_first_of_a_crowd_is_answered_long_before_the_last_begins() -> None:
    entrance, told = Entrance(), list[tuple[str, int]]()

    async def request(number: int) -> None:
        await entrance.enter()
        told.append(("begun", number))
        for _ in range(3):  # what it waits for is there at once
            await asyncio.sleep(0)
        told.append(("answered", number))

    await asyncio.gather(*map(request, range(_MANY)))

    assert [number for what, number in told if what == "begun"] == list(range(_MANY))
    assert told.index(("answered", 0)) < told.index(("begun", _MANY // 4))


async def test_who_gives_up_while_it_waits_takes_nobodys_turn() -> None:
    entrance, begun = Entrance(), list[int]()

    async def request(number: int) -> None:
        await entrance.enter()
        begun.append(number)

    requests = [asyncio.create_task(request(number)) for number in range(_MANY)]
    await asyncio.sleep(0)
    for one in requests[100:900]:
        one.cancel()
    await asyncio.gather(*requests, return_exceptions=True)

    assert begun == [*range(100), *range(900, _MANY)]
    await asyncio.wait_for(request(_MANY), 30)  # and the entrance is free again
    assert begun[-1] == _MANY
