"""The same content goes upstream once for each account, whoever asks and whoever leaves."""

import asyncio

import pytest

from shim.errors import UpstreamError
from shim.files.together import together
from shim.files.upload_cache import UploadCache, UploadKey

KEY = UploadKey("account", "digest", "image/png")


class Uploads:
    """Counts uploads; each waits for `go` where there is one."""

    def __init__(self, *, held=False, failing=False):
        self.begun = self.ended = self.cancelled = 0
        self.go = asyncio.Event()
        self.failing = failing
        if not held:
            self.go.set()

    async def __call__(self):
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failing:
            raise UpstreamError("no")
        self.ended += 1
        return f"file-{self.begun}"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


async def test_once_for_each_account_content_and_type():
    cache, uploads = UploadCache(Clock()), Uploads()
    assert await cache.get(KEY, uploads) == await cache.get(KEY, uploads) == "file-1"
    others = [UploadKey("other", "digest", "image/png"), UploadKey("account", "x", "image/png")]
    for key in (*others, UploadKey("account", "digest", "text/plain")):
        await cache.get(key, uploads)
    assert uploads.begun == 4


async def test_an_id_is_kept_for_a_time():
    clock, uploads = Clock(), Uploads()
    cache = UploadCache(clock, kept=60)
    await cache.get(KEY, uploads)
    clock.now += 59
    assert await cache.get(KEY, uploads) == "file-1"
    clock.now += 1
    assert await cache.get(KEY, uploads) == "file-2"


async def test_only_so_many_are_kept_the_last_used():
    cache, uploads = UploadCache(Clock(), most=2), Uploads()
    keys = [UploadKey("account", str(number), "image/png") for number in range(3)]
    await cache.get(keys[0], uploads)
    await cache.get(keys[1], uploads)
    await cache.get(keys[0], uploads)
    await cache.get(keys[2], uploads)  # the second goes
    assert uploads.begun == 3
    await cache.get(keys[0], uploads)
    assert uploads.begun == 3
    await cache.get(keys[1], uploads)
    assert uploads.begun == 4


async def test_all_who_ask_at_once_share_one_upload():
    cache, uploads = UploadCache(Clock()), Uploads(held=True)
    tasks = [asyncio.create_task(cache.get(KEY, uploads)) for _ in range(5)]
    await asyncio.sleep(0)
    uploads.go.set()
    assert await asyncio.gather(*tasks) == ["file-1"] * 5
    assert uploads.begun == 1


async def test_a_waiter_that_leaves_breaks_nothing():
    cache, uploads = UploadCache(Clock()), Uploads(held=True)
    first, second = (asyncio.create_task(cache.get(KEY, uploads)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    uploads.go.set()
    assert await second == "file-1"
    assert (uploads.begun, uploads.cancelled) == (1, 0)


async def test_an_upload_nobody_waits_for_ends_and_the_next_begins_anew():
    cache, uploads = UploadCache(Clock()), Uploads(held=True)
    only = asyncio.create_task(cache.get(KEY, uploads))
    await asyncio.sleep(0.01)
    only.cancel()
    await asyncio.gather(only, return_exceptions=True)
    again = asyncio.create_task(cache.get(KEY, uploads))
    await asyncio.sleep(0.01)
    uploads.go.set()
    assert await again == "file-2"
    assert (uploads.begun, uploads.ended, uploads.cancelled) == (2, 1, 1)


async def test_a_failure_is_told_to_all_and_kept_for_nobody():
    cache, uploads = UploadCache(Clock()), Uploads(held=True, failing=True)
    tasks = [asyncio.create_task(cache.get(KEY, uploads)) for _ in range(2)]
    await asyncio.sleep(0)
    uploads.go.set()
    assert [type(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == [UpstreamError] * 2
    uploads.failing = False
    assert await cache.get(KEY, uploads) == "file-2"


async def test_jobs_run_together_but_only_a_few():
    running = most = 0

    async def job(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return number

    jobs = [lambda number=number: job(number) for number in range(6)]
    assert await together(jobs, at_once=2) == list(range(6))
    assert most == 2


async def test_the_first_failure_ends_the_other_jobs():
    ended = []

    async def patient():
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    async def failing():
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([patient, failing, patient], at_once=3)
    assert ended == [True, True]
