"""Stores that are damaged or taken away while they are used; large work beside which others go on."""

import asyncio
import json
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


def schema(number):
    """No two are the same, for one that was looked at before is not looked at again."""
    properties = {f"property {n}": {"type": "string"} for n in range(1500)}
    return {"type": "object", "description": f"{number}", "properties": properties}


ASKED = {"model": "auto", "messages": [{"role": "user", "content": "x"}]}
LARGE_BODIES = {
    CHAT: lambda names: (
        ASKED
        | {
            "tools": [
                {"type": "function", "function": {"name": name, "parameters": schema(f"chat {name}")}} for name in names
            ]
        }
    ),
    "/v1/responses/input_tokens": lambda names: {
        "input": "x",
        "tools": [{"type": "function", "name": name, "parameters": schema(f"responses {name}")} for name in names],
    },
    "/v1/messages/count_tokens": lambda names: (
        ASKED | {"tools": [{"name": name, "input_schema": schema(f"messages {name}")} for name in names]}
    ),
}


@pytest.mark.parametrize("path", LARGE_BODIES)
def test_others_go_on_beside_a_large_request(path, start_gateway, shared_standin):
    """Its reading and its checking take a second: schemas of 190,000 properties, also where tokens are only counted."""
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url)
    body = json.dumps(LARGE_BODIES[path]([f"f{n}" for n in range(128)])).encode()

    async def measured():
        async with httpx.AsyncClient(base_url=gateway.base_url, trust_env=False, timeout=90) as client:
            begun = time.monotonic()
            large = asyncio.create_task(client.post(path, content=body, headers={"content-type": "application/json"}))
            longest = 0.0
            while not large.done():
                began = time.monotonic()
                assert (await client.get("/healthz")).status_code == 200
                longest = max(longest, time.monotonic() - began)
                await asyncio.sleep(0.02)
            assert (await large).status_code in {200, 400}, (await large).text  # 400: too long for upstream
            return longest, time.monotonic() - begun

    longest, whole = asyncio.run(measured())
    assert longest < whole / 2
