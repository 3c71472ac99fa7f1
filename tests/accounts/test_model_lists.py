"""Model lists: fetched once, kept for a while, never in the way of a chat."""

import asyncio

import pytest

from shim.accounts.model_lists import ModelLists
from shim.errors import CredentialError, UpstreamError
from shim.protocol.catalog import Catalog, KnownModel


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def fetcher(result):
    async def fetch():
        fetch.calls += 1
        await asyncio.sleep(0)
        if isinstance(result, Exception):
            raise result
        return Catalog(tuple(map(KnownModel, result)))

    fetch.calls = 0
    return fetch


async def test_fifty_at_once_make_one_fetch_and_it_is_kept_for_an_hour():
    clock = Clock()
    lists, fetch = ModelLists(clock), fetcher(("gpt-4o",))
    got = await asyncio.gather(*(lists.get("a", fetch) for _ in range(50)))
    assert {one.slugs for one in got} == {("gpt-4o",)}
    clock.now += 3599
    await lists.get("a", fetch)
    assert fetch.calls == 1
    clock.now += 2
    await lists.get("a", fetch)
    assert fetch.calls == 2


async def test_each_identity_has_its_own():
    lists = ModelLists(Clock())
    assert (await lists.get("a", fetcher(("x",)))).slugs == ("x",)
    assert (await lists.get("b", fetcher(("y",)))).slugs == ("y",)


async def test_a_list_that_cannot_be_had_is_empty_and_asked_for_again_soon():
    clock = Clock()
    lists = ModelLists(clock)
    assert (await lists.get("a", fetcher(UpstreamError("no")))).slugs == ()
    clock.now += 31
    assert (await lists.get("a", fetcher(("x",)))).slugs == ("x",)


async def test_a_refused_token_is_told_and_not_kept():
    lists = ModelLists(Clock())
    with pytest.raises(CredentialError):
        await lists.get("a", fetcher(CredentialError("dead")))
    assert (await lists.get("a", fetcher(("x",)))).slugs == ("x",)


async def test_one_waiting_client_that_leaves_does_not_take_the_fetch_with_it():
    lists, go = ModelLists(Clock()), asyncio.Event()

    async def fetch():
        await go.wait()
        return Catalog((KnownModel("x"),))

    leaving = asyncio.create_task(lists.get("a", fetch))
    staying = asyncio.create_task(lists.get("a", fetch))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.sleep(0)
    go.set()
    assert (await staying).slugs == ("x",)


async def test_a_list_that_was_had_once_outlasts_a_failure_to_fetch_it():
    clock = Clock()
    lists = ModelLists(clock)
    await lists.get("a", fetcher(("x",)))
    clock.now += 3601
    assert lists.is_due("a")
    assert (await lists.get("a", fetcher(UpstreamError("no")))).slugs == ("x",)
    assert lists.last("a").slugs == ("x",)
