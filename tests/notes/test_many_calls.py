"""More calls at once than there are connections to Redis: they wait for one another, but for no server that hangs."""

import asyncio
import signal
from collections.abc import Callable

import pytest

from shim.databases import redis
from shim.databases.redis import RedisScripts
from tests.redis_server import RedisServer


class AwayError(Exception):
    """What the calls fail with."""


async def eventually(server: RedisScripts) -> None:
    """Its answer; with so little patience a busy machine may take a few calls."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert await server.run("one", [], []) == 1
            except AwayError:
                continue
            return


async def test_a_server_that_answers_others_is_not_away(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "WAIT_SECONDS", 1.5)
    monkeypatch.setattr(redis, "MAX_CONNECTIONS", 2)
    async with redis.client_of(start_redis().url) as client:
        # Each has its connection for a while; together they take longer than one is waited for that answers nobody.
        assert await asyncio.gather(*(client.blpop(["nothing"], timeout=0.1) for _ in range(40))) == [None] * 40


async def test_for_a_server_that_hangs_nobody_waits_behind_others(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CALL_SECONDS": 0.2, "WAIT_SECONDS": 0.2, "MAX_CONNECTIONS": 2}.items():
        monkeypatch.setattr(redis, name, value)
    started = start_redis()
    server = RedisScripts(started.url, "", {"one": "return 1"}, AwayError)
    try:
        await eventually(server)
        assert started.process is not None
        started.process.send_signal(signal.SIGSTOP)
        calls = [server.run("one", [], []) for _ in range(400)]  # one after the other they would take 40 seconds
        async with asyncio.timeout(38):
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in ended} == {AwayError}
        started.process.send_signal(signal.SIGCONT)
        await eventually(server)
    finally:
        await server.close()
