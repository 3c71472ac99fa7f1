"""The account's socket against the stand-in (protocol.md 5.7): the same answer as its stream, however it is told."""

import asyncio
from typing import Any

import pytest

from shim.errors import GatewayError
from shim.standin.accounts import Account
from shim.standin.failures import PlannedFailure
from shim.standin.wording import long_answer
from shim.transport.base import ConnectionKey


@pytest.mark.parametrize("how", ["plain", "noise", "undone", "endless"])
@pytest.mark.parametrize("script", ["text", "reasoning", "citations"])
async def test_the_socket_gives_the_same_answer_as_its_stream(going: Any, how: str, script: str) -> None:
    async with going() as seen:
        twin = await seen.ask(f"[[script={script} seed=5]]")
        told = await seen.ask(f"[[script=handoff options=socket socket={how} then={script} seed=5]]")
        assert told["choices"][0]["message"] == twin["choices"][0]["message"]
        assert seen.upstream.stats.sockets == {"opened": 1, "refused": 0}


async def test_answers_of_one_account_share_its_socket_and_get_what_is_theirs(going: Any) -> None:
    async with going() as seen:
        wanted = [200, 300, 400]
        prompts = [f"[[script=handoff options=socket socket=noise then=long words={n} delay=0.002]]" for n in wanted]
        told = await asyncio.gather(*map(seen.say, prompts))
        assert told == [long_answer(n) for n in wanted]
        assert seen.upstream.stats.sockets == {"opened": 1, "refused": 0}
        assert not seen.gateway.turns._sockets._shared


async def test_after_a_break_it_goes_on_at_a_new_address_from_where_it_was(going: Any) -> None:
    async with going() as seen:
        prompt = "[[script=handoff options=socket socket=noise breaks=2 then=long words=300]]"
        assert await seen.say(prompt) == long_answer(300)
        assert seen.upstream.stats.sockets["opened"] == 3
        assert seen.requests("/celsius/ws/user") == 3


@pytest.mark.parametrize("why", ["lost", "refused"])
@pytest.mark.parametrize("kept", [True, False])
async def test_where_the_socket_tells_nothing_the_next_way_is_gone(going: Any, why: str, kept: bool) -> None:
    failures = [PlannedFailure("socket", status=403, times=-1)] if why == "refused" else []
    prompt = "[[script=handoff options=socket socket=lost polls=1 say=42]]"
    async with going(Account("alice", failures=failures), HISTORY_DISABLED=str(not kept)) as seen:
        if kept:
            assert await seen.say(prompt) == "42"
            return
        with pytest.raises(GatewayError) as failed:
            await seen.ask(prompt)
        assert (failed.value.http_status, failed.value.code) == (502, "stream_handoff")


async def test_a_pro_answer_that_loses_its_stream_twice_and_its_socket_once_arrives_whole(going: Any) -> None:
    """Ten minutes in the compressed time of these tests."""
    prompt = "[[script=handoff_late breaks=3 resumes=2 socket=noise then=long words=600 delay=0.001]]"
    async with going(Account("alice", listing="presets"), HISTORY_DISABLED="false") as seen:
        assert await seen.say(prompt, "gpt-6-pro") == long_answer(600)
        assert seen.requests("/f/conversation/resume") == 3, "two that break, one that is refused"
        assert seen.upstream.stats.sockets["opened"] == 2, "one that breaks"
        assert seen.requests("/conversation") == 1


async def test_who_leaves_an_answer_on_the_socket_stops_it(going: Any) -> None:
    prompt = "[[script=handoff options=socket then=long words=2000 delay=0.02]]"
    async with going() as seen:
        exchange = await seen.open(prompt)
        asking = asyncio.ensure_future(exchange.whole())
        await asyncio.sleep(0.3)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        exchange.close()
        await seen.gateway.turns.settled()
        assert sum(seen.upstream.stats.stops.values()) == 1


async def test_an_address_that_nobody_was_given_is_refused(going: Any) -> None:
    async with going() as seen:
        with pytest.raises(GatewayError) as failed:
            url = seen.standin.base_url.replace("http", "ws") + "/p1/ws/user/user-x?verify=0-guess"
            await seen.gateway.turns._sockets._open_socket(url, {}, ConnectionKey("x"))
        assert "guess" not in failed.value.message
