"""MAX_STREAMS: so many answers at once, a line behind them in order, and 503 for whoever would wait too far back."""

import asyncio

import httpx
import pytest

from shim.errors import UnavailableError
from shim.exchange.line import Line


async def waiting(line: Line, number: int) -> None:
    async with asyncio.timeout(10):
        while line.waiting != number:  # noqa: ASYNC110  nothing tells
            await asyncio.sleep(0)


async def test_whoever_came_first_is_first_and_exactly_one_is_let_in():
    line, came = Line(2, 10), []

    async def call(name: int) -> None:
        await line.enter()
        came.append(name)

    await line.enter()
    await line.enter()
    calls = [asyncio.create_task(call(number)) for number in range(4)]
    await waiting(line, 4)
    for number in range(4):
        line.leave()
        await asyncio.sleep(0.01)
        assert came == list(range(number + 1))
        assert line.open == 2
    await asyncio.gather(*calls)
    line.leave()
    line.leave()
    assert (line.open, line.waiting) == (0, 0)


async def test_beyond_the_line_it_is_refused_at_once():
    line = Line(1, 0)
    await line.enter()
    with pytest.raises(UnavailableError, match="MAX_STREAMS") as refused:
        await line.enter()
    assert refused.value.headers()["retry-after"] == "1"


async def test_nobody_waits_for_ever_and_whoever_gives_up_takes_no_place():
    line = Line(1, 5, patience=0.05)
    await line.enter()
    with pytest.raises(UnavailableError):
        await line.enter()
    gone = asyncio.create_task(line.enter())
    await waiting(line, 1)
    gone.cancel()
    line.leave()  # before the cancelled one knows it
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (line.open, line.waiting) == (0, 0)


async def test_whoever_is_let_in_as_it_gives_up_lets_the_next_one_in():
    line = Line(1, 5)
    await line.enter()
    first, second = asyncio.create_task(line.enter()), asyncio.create_task(line.enter())
    await waiting(line, 2)
    line.leave()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 5)
    assert (line.open, line.waiting) == (1, 0)


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "error.code"),
        ("/v1/responses", {"input": "hi"}, "error.code"),
        ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}, "error.type"),
    ],
)
async def test_each_api_tells_it_in_its_own_form(start_gateway, shared_standin, path, body, code):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, MAX_STREAMS="1", MAX_WAITING="1")
    long = {
        "model": "auto",
        "stream": True,
        "messages": [{"role": "user", "content": "[[script=long words=500 delay=0.05]] go"}],
    }
    async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=60) as client:
        async with client.stream("POST", "/v1/chat/completions", json=long) as first:
            assert first.status_code == 200
            async with asyncio.TaskGroup() as group:
                second = group.create_task(client.post(path, json=body | {"model": "auto"}))
                metrics = ""
                while "chat2api_waiting_requests 1.0" not in metrics:
                    metrics = (await client.get("/metrics")).text
                refused = await client.post(path, json=body | {"model": "auto"})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                told = refused.json()
                for name in code.split("."):
                    told = told[name]
                assert told in {"too_many_streams", "api_error", "overloaded_error"}
                assert "MAX_STREAMS" in refused.text
                await first.aclose()  # its place goes to the one that waits
        assert second.result().status_code == 200
