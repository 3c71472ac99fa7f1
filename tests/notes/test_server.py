"""What is particular to notes on a server."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from shim.databases import redis as database
from shim.databases.keys import new_key
from shim.notes import NotesError


async def test_every_key_has_the_prefix_and_an_end(
    start_redis: Callable[..., Any], open_at: Callable[..., Any]
) -> None:
    server = start_redis()
    notes = await open_at(data_dir="", redis_url=server.url)
    await notes.shelf("things").put("key", b"value", 60)
    await notes.shelf("things").put("short", b"value", 0.2)
    await notes.shelf("others").put("short", b"value", 0.2)
    async with Redis.from_url(server.url) as client:
        found = await client.keys()
        assert found
        assert all(key.startswith((b"chat2api:notes:things:", b"chat2api:notes:others:")) for key in found)
        assert 50_000 < await client.pttl("chat2api:notes:things:note:key") <= 60_000
        assert 50_000 < await client.pttl("chat2api:notes:things:order") <= 61_000
        await asyncio.sleep(1.5)  # the lists of a shelf outlive its last note by a second
        assert set(await client.keys()) == {
            b"chat2api:notes:things:" + name for name in (b"note:key", b"order", b"ends", b"keys", b"sequence")
        }


async def test_what_has_ended_leaves_the_lists_with_the_next_note(
    start_redis: Callable[..., Any], open_at: Callable[..., Any]
) -> None:
    server = start_redis()
    shelf = (await open_at(data_dir="", redis_url=server.url)).shelf("things")
    for number in range(5):
        await shelf.put(f"{number}", b"value", 0.1)
    await asyncio.sleep(0.2)
    await shelf.put("next", b"value", 60)
    async with Redis.from_url(server.url) as client:
        for name in ("order", "ends", "keys"):
            assert await client.zrange(f"chat2api:notes:things:{name}", 0, -1) == [b"next"]


async def test_no_value_is_on_the_server_where_there_is_a_key(
    start_redis: Callable[..., Any], open_at: Callable[..., Any]
) -> None:
    server = start_redis()
    shelf = (await open_at(data_dir="", redis_url=server.url, keys=[new_key()])).shelf("things")
    await shelf.put("key", b"what nobody may read", 60)
    async with Redis.from_url(server.url) as client:
        assert b"nobody" not in await client.get("chat2api:notes:things:note:key")


async def test_a_server_that_is_away_raises_and_comes_back(
    start_redis: Callable[..., Any], open_at: Callable[..., Any]
) -> None:
    server = start_redis("--appendfsync", "always")
    shelf = (await open_at(data_dir="", redis_url=server.url)).shelf("things")
    await shelf.put("key", b"value", 60)
    server.kill()
    for call in (shelf.get("key"), shelf.put("key", b"other", 60), shelf.page(), shelf.delete("key")):
        with pytest.raises(NotesError, match="can't be reached"):
            await call
    server.start()
    assert await shelf.get("key") == b"value"


async def test_a_server_that_hangs_is_not_waited_for(
    start_redis: Callable[..., Any], open_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CALL_SECONDS", 0.3)
    server = start_redis()
    shelf = (await open_at(data_dir="", redis_url=server.url)).shelf("things")
    await shelf.put("key", b"value", 60)
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with pytest.raises(NotesError, match="does not answer in time"):
            await shelf.get("key")
        assert time.monotonic() - began < 5
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("url", ["http://somewhere:pass-word@x", "redis://:pass-word@host:no-port", "nothing"])
async def test_an_address_that_is_none_is_refused_and_not_shown(url: str, open_at: Callable[..., Any]) -> None:
    with pytest.raises(NotesError, match="address of Redis can't be used") as failure:
        await open_at(data_dir="", redis_url=url)
    assert "pass-word" not in str(failure.value)
