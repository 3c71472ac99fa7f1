"""A client that leaves stops what upstream does in the background, too (protocol.md 4.5)."""

import asyncio
from typing import Any

import pytest

from shim.exchange import Exchange

KEPT = {"HISTORY_DISABLED": "false"}


@pytest.mark.parametrize("how", ["polled for", "resumed", "promised"])
async def test_who_leaves_an_answer_that_moved_stops_it(going: Any, how: str) -> None:
    prompt = {
        "polled for": "[[script=handoff_poll options=resume polls=-1]]",
        "resumed": "[[script=handoff options=resume then=long words=2000 delay=0.05]]",
        "promised": "[[script=image_never]]",
    }[how]
    async with going(**KEPT) as seen:
        turns = seen.gateway.turns
        if how == "resumed":
            exchange = await seen.open(prompt)
        else:  # these have no head yet when their client leaves
            caught: list[Any] = []
            live = turns._live
            turns._live = lambda *given: caught.append(live(*given)) or caught[-1]
            opening = asyncio.ensure_future(seen.open(prompt))
            while not caught or caught[-1].answer.follow is None:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.01)
            opening.cancel()
            (exchange,) = await asyncio.gather(opening, return_exceptions=True)
        if isinstance(exchange, Exchange):
            exchange.close()
        await turns.settled()
        assert sum(seen.upstream.stats.stops.values()) == 1


@pytest.mark.parametrize("prompt", ["[[say=42]]", "[[script=handoff say=42]]", "[[script=long words=3000 delay=0.01]]"])
async def test_what_is_over_or_told_in_the_turns_own_stream_needs_no_stop(going: Any, prompt: str) -> None:
    async with going(**KEPT) as seen:
        exchange = await seen.open(prompt)
        if "long" not in prompt:
            await exchange.whole()
        exchange.close()
        await seen.gateway.turns.settled()
        assert not seen.upstream.stats.stops
