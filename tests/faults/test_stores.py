"""Stores that are damaged or taken away while they are used; large work beside which others go on."""

import asyncio
import sqlite3
import time
from contextlib import closing

import httpx
import pytest

from shim.accounts.account import Account
from shim.accounts.pool import AccountPool, PoolOptions
from shim.accounts.stores.sqlite import SqliteStore
from shim.errors import RequestError
from shim.files.fetch import Fetcher
from shim.files.targets import AllowList

CHAT = "/v1/chat/completions"


async def test_one_row_that_can_not_be_read_is_left_out_and_told_of(tmp_path, caplog):
    store = SqliteStore(tmp_path)
    await store.open()
    await store.add([Account("anna", access_token="a"), Account("bert", access_token="b")])
    with closing(sqlite3.connect(tmp_path / "accounts.sqlite3")) as db:
        db.execute("UPDATE accounts SET account = 'rubbish' WHERE id = 'anna'")
        db.commit()
    assert [account.id for account, _ in await store.load()] == ["bert"]
    await store.load()
    assert [record.getMessage() for record in caplog.records if "anna" in record.getMessage()] == [
        "account anna is left out: the store holds an account that can't be read; remove it, and add it again"
    ]
    assert await store.remove(["anna"]) == 1
    await store.close()


async def test_a_file_that_is_deleted_while_it_is_used_is_filled_again(tmp_path, monkeypatch):
    monkeypatch.setattr("shim.accounts.pool._SYNC_SECONDS", 0.02)
    pool = AccountPool(SqliteStore(tmp_path), None, PoolOptions(), holder="x", clock=time.time, new_id=lambda: "1")
    await pool.open()
    await pool.add("r" * 45)
    for path in tmp_path.glob("accounts.sqlite3*"):
        path.unlink()
    await pool.add("s" * 45)

    async def kept():
        other = SqliteStore(tmp_path)
        await other.open()
        try:
            return len(await other.load())
        finally:
            await other.close()

    async with asyncio.timeout(20):
        while await kept() != 2:  # noqa: ASYNC110  another store tells nothing by itself
            await asyncio.sleep(0.05)
    assert len(pool) == 2
    await pool.close()


async def test_waiting_for_others_files_counts_as_waiting():
    fetcher = Fetcher(AllowList(["127.0.0.1"]), limit=100, timeout=0.2, user_agent="x")
    for _ in range(16):
        await fetcher._gate.acquire()
    began = time.monotonic()
    with pytest.raises(RequestError, match="did not arrive within"):
        await fetcher.fetch("http://127.0.0.1:9/x")
    assert time.monotonic() - began < 5


def test_others_go_on_beside_a_large_request(start_gateway, shared_standin):
    """100,000 fields that nobody knows, or 50,000 messages: seconds of reading."""
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url)

    async def measured(body):
        async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=90) as client:
            large = asyncio.create_task(client.post(CHAT, json=body))
            longest = 0.0
            while not large.done():
                began = time.monotonic()
                assert (await client.get("/healthz")).status_code == 200
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(0.02)
            return longest, (await large).status_code

    tool = {"type": "object", "properties": {f"property number {n}": {"type": "string"} for n in range(1500)}}
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": tool}} for n in range(60)]
    longest, _status = asyncio.run(
        measured({"model": "auto", "messages": [{"role": "user", "content": "x"}], "tools": tools})
    )
    assert longest < 1.5
