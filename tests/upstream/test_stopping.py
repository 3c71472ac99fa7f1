"""A client that leaves stops what upstream does in the background, too (protocol.md 4.5)."""

import asyncio
from typing import Any

import pytest

KEPT = {"HISTORY_DISABLED": "false"}


@pytest.mark.parametrize("how", ["polled for", "resumed", "promised"])
async def test_who_leaves_an_answer_that_moved_stops_it(going: Any, how: str) -> None:
    prompt = {
        "polled for": "[[script=handoff_poll options=resume polls=-1]]",
        "resumed": "[[script=handoff options=resume then=long words=2000 delay=0.05]]",
        "promised": "[[script=image_never]]",
    }[how]
    async with going(**KEPT) as seen:
        asking = asyncio.ensure_future(seen.ask(prompt))
        path = "/resume" if how == "resumed" else "/stream_status"
        while not seen.requests(path) and not asking.done():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await seen.gateway.turns.settled()
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
