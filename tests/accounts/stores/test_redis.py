"""What is particular to a server: it goes away and comes back, forgets, hangs, refuses; and what is said of it."""

import asyncio
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.asyncio import Redis

from shim.accounts.account import Account, Condition
from shim.accounts.stores import Change, Store, StoreError
from shim.accounts.stores import redis as module
from shim.accounts.stores.choose import open_store
from shim.accounts.stores.redis import RedisStore
from shim.accounts.stores.sqlite import SqliteStore
from shim.databases import redis as database
from shim.databases.redis import RedisScripts

ANNA, BERT = Account("anna", refresh_token="refresh-a"), Account("bert", refresh_token="refresh-b")


def test_which_store(tmp_path: Path) -> None:
    assert isinstance(open_store(data_dir=tmp_path), SqliteStore)
    assert isinstance(open_store(data_dir=tmp_path, redis_url="redis://127.0.0.1"), RedisStore)


@pytest.fixture
def server(start_redis: Callable[..., Any]) -> Any:
    """A server of the test's own, that has on disk what it says."""
    return start_redis("--appendfsync", "always")


# --- away and back ----------------------------------------------------------------------------------------------------


async def test_a_server_killed_and_started_again_loses_nothing(server: Any, open_at: Callable[..., Any]) -> None:
    store, other = [await open_at(data_dir="", redis_url=server.url) for _ in range(2)]
    await other.load()
    kept: dict[str, Account] = {}
    refused: list[str] = []
    writing = [asyncio.create_task(write_on(store, f"{number}", kept, refused)) for number in range(4)]
    for _ in range(3):
        before = len(kept)
        await until(lambda before=before: len(kept) > before + 20)
        server.kill()
        failed = len(refused)
        await until(lambda failed=failed: len(refused) > failed + 3)
        with pytest.raises(StoreError, match="can't be reached"):
            await other.changes()
        server.start()
        await until(lambda before=before: len(kept) > before + 40)
    for task in writing:
        task.cancel()
    await asyncio.gather(*writing, return_exceptions=True)
    found = {account.id: account for account, _ in await store.load()}
    assert all(found[id].version >= account.version for id, account in kept.items())
    told = {change.id: change.account for change in await other.changes()}
    assert told == found
    assert await other.changes() == []


async def write_on(store: Store, name: str, kept: dict[str, Account], refused: list[str]) -> None:
    """Add and renew accounts for ever, noting in `kept` what was acknowledged."""
    for number in range(1_000_000):
        account = Account(f"{name}-{number}", refresh_token="0")
        renewed = Account(account.id, refresh_token="1", version=1)
        try:
            await store.add([account])
            kept[account.id] = account
            assert await store.save_account(renewed)
            kept[account.id] = renewed
        except StoreError as error:
            refused.append(str(error))
            await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come about")


async def restart(server: Any) -> None:
    server.kill()
    server.start()
    await asyncio.sleep(0.01)  # the loop did not run meanwhile: now it hears that the connections have ended


async def test_an_idle_store_notices_nothing_of_a_restart(server: Any, open_at: Callable[..., Any]) -> None:
    store, other = [await open_at(data_dir="", redis_url=server.url) for _ in range(2)]
    await store.add([ANNA])
    await other.load()
    await restart(server)
    assert await store.claim("anna", "lease", 1, 60)
    assert await other.changes() == []
    await store.add([BERT])
    assert await other.changes() == [Change("bert", BERT, Condition())]


async def test_changes_a_restart_lost_are_told_back(server: Any, open_at: Callable[..., Any]) -> None:
    """The server comes back as it was a while ago, and goes on to the very number of changes it had before."""
    store, other = [await open_at(data_dir="", redis_url=server.url) for _ in range(2)]
    await store.add([ANNA])
    kept = {path: path.read_bytes() for path in server.folder.rglob("*.aof*")}
    await store.add([BERT])
    await other.load()
    server.kill()
    for path, content in kept.items():
        path.write_bytes(content)
    server.start()
    await asyncio.sleep(0.01)
    await store.save_condition("anna", Condition(retry_at=5.0))
    assert await other.changes() == [
        Change("bert", None, None),
        Change("anna", ANNA, Condition(retry_at=5.0)),
    ]
    assert await store.changes() == [Change("bert", None, None)]


async def test_a_server_that_forgot_everything(server: Any, open_at: Callable[..., Any]) -> None:
    store, other = [await open_at(data_dir="", redis_url=server.url) for _ in range(2)]
    await store.add([ANNA])
    await other.load()
    async with Redis.from_url(server.url) as client:
        await client.flushall()
    await store.add([BERT, Account("third")])
    assert await other.changes() == [
        Change("anna", None, None),
        Change("bert", BERT, Condition()),
        Change("third", Account("third"), Condition()),
    ]
    assert await store.changes() == [Change("anna", None, None)]


async def test_what_an_unanswered_call_did_is_told(server: Any, open_at: Callable[..., Any]) -> None:
    """The caller had an error and does not know of the account: then it is news, though it was our own doing."""
    store = await open_at(data_dir="", redis_url=server.url)
    await store.add([BERT])
    await store.load()
    adding = asyncio.create_task(store.add([ANNA]))
    os.kill(server.process.pid, signal.SIGSTOP)
    await asyncio.sleep(0.05)
    adding.cancel()
    with suppress(asyncio.CancelledError):
        await adding
    os.kill(server.process.pid, signal.SIGCONT)
    await asyncio.sleep(0.05)
    assert await store.add([ANNA]) == [False], "the server had been asked, and did it"
    assert await store.changes() == [Change("anna", ANNA, Condition())]


async def test_a_server_that_hangs_is_not_waited_for(
    server: Any, open_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CALL_SECONDS", 0.3)
    store = await open_at(data_dir="", redis_url=server.url)
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    answers = await asyncio.gather(*(store.claim("a", f"{n}", 9, 60) for n in range(10)), return_exceptions=True)
    assert time.monotonic() - began < 2.9  # one after another: 3
    assert {str(answer) for answer in answers} == {f"{server.url} does not answer in time"}
    os.kill(server.process.pid, signal.SIGCONT)
    assert await store.claim("b", "lease", 1, 60)


async def test_a_server_away_at_the_start(server: Any, open_at: Callable[..., Any]) -> None:
    server.kill()
    store = open_store(data_dir="", redis_url=server.url)
    with pytest.raises(StoreError, match="can't be reached"):
        await store.open()
    server.start()
    await store.open()
    assert await store.add([ANNA]) == [True]
    await store.close()


async def test_more_calls_at_once_than_connections(server: Any, open_at: Callable[..., Any]) -> None:
    store = await open_at(data_dir="", redis_url=server.url)
    assert all(await asyncio.gather(*(store.claim(f"{n}", "lease", 1, 60) for n in range(500))))
    async with Redis.from_url(server.url) as client:
        assert (await client.info("clients"))["connected_clients"] <= database.MAX_CONNECTIONS + 1


# --- who may, and what is said ----------------------------------------------------------------------------------------


async def test_a_password(start_redis: Callable[..., Any], open_at: Callable[..., Any]) -> None:
    server = start_redis("--requirepass", "open-sesame")
    host = f"127.0.0.1:{server.port}"
    for wrong in ("redis://", "redis://:hunter2@", "redis://user:hunter2@"):
        with pytest.raises(StoreError, match="refuses the user or password") as failure:
            await open_at(data_dir="", redis_url=wrong + host)
        assert "hunter2" not in str(failure.value)
        assert failure.value.__cause__ is None
    store = await open_at(data_dir="", redis_url=f"redis://:open-sesame@{host}")
    assert await store.add([ANNA]) == [True]
    server.kill()
    with pytest.raises(StoreError) as failure:
        await store.load()
    assert str(failure.value) == f"redis://{host} can't be reached"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host",
        "redis://user:hunter2@host:65536",
        "redis://host:hunter2@6379:x",
        "unix://",
        "hunter2",
    ],
)
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(StoreError, match="the address of Redis can't be used") as failure:
        open_store(data_dir="", redis_url=url)
    assert "hunter2" not in str(failure.value)


async def test_a_wrong_option() -> None:
    store = open_store(data_dir="", redis_url="redis://:hunter2@127.0.0.1:1/?socket_timeout=hunter2")
    with pytest.raises(StoreError, match="after the `\\?` is wrong") as failure:
        await store.open()
    assert "hunter2" not in str(failure.value)


async def test_a_user_who_may_not_ask_about_the_server(server: Any, open_at: Callable[..., Any]) -> None:
    async with Redis.from_url(server.url) as client:
        await client.execute_command("ACL", "SETUSER", "limited", "on", ">word", "~chat2api:*", "+@all", "-info")
        await client.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "-@all", "+get")
    host = f"127.0.0.1:{server.port}"
    store, other = [await open_at(data_dir="", redis_url=f"redis://limited:word@{host}") for _ in range(2)]
    await other.load()
    await store.add([ANNA])
    assert await other.changes() == [Change("anna", ANNA, Condition())]
    assert await other.changes() == []
    with pytest.raises(StoreError, match="does not allow the user what is needed"):
        await open_at(data_dir="", redis_url=f"redis://reader:word@{host}")


async def test_a_server_that_would_lose_accounts_is_warned_of(
    start_redis: Callable[..., Any], open_at: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_redis("--maxmemory-policy", "allkeys-lru")
    async with Redis.from_url(server.url) as client:
        await client.config_set("appendonly", "no")
    with caplog.at_level(logging.WARNING, "chat2api"):
        await open_at(data_dir="", redis_url=server.url)
    assert [record.getMessage() for record in caplog.records] == [
        f"{server.url} loses what is new when it restarts: set appendonly to yes there",
        f"{server.url} drops accounts when it is full: set maxmemory-policy to noeviction there",
    ]


async def test_a_good_server_is_not_warned_of(
    server: Any, open_at: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    await open_at(data_dir="", redis_url=server.url)
    assert caplog.records == []


async def test_errors_of_the_server_quote_nothing(
    server: Any, open_at: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    store = await open_at(data_dir="", redis_url=server.url)
    async with Redis.from_url(server.url) as client:
        await client.set("chat2api:accounts:accounts", "no hash")
        with pytest.raises(StoreError, match=r"refused the call \(WRONGTYPE\)"):
            await store.add([ANNA])
        await client.delete("chat2api:accounts:accounts")
        await store.add([ANNA])
        await client.hset("chat2api:accounts:accounts", "anna", b"\xff very secret")
        assert await store.load() == []
        assert "anna is left out" in caplog.text
        assert "secret" not in caplog.text
        await client.config_set("maxmemory", "1")
        with pytest.raises(StoreError, match="is out of memory"):
            await store.add([BERT])


async def test_a_newer_format_is_refused(server: Any, open_at: Callable[..., Any]) -> None:
    async with Redis.from_url(server.url) as client:
        await client.set("chat2api:accounts:format", module.FORMAT + 1)
    with pytest.raises(StoreError, match="newer chat2api"):
        await open_at(data_dir="", redis_url=server.url)


async def test_all_keys_have_the_prefix_and_what_ends_is_swept(server: Any) -> None:
    store = RedisStore(server.url, prefix="mine:")
    await store.open()
    await store.add([ANNA])
    await store.claim("anna", "lease", 1, 600)
    await store.lock("name", "me", 600)
    async with Redis.from_url(server.url) as client:
        assert all(key.startswith(b"mine:") for key in await client.keys())
        assert {b"mine:claims:anna", b"mine:lock:name"} <= set(await client.keys())
        await store.claim("bert", "lease", 1, 0.05)
        await store.lock("other", "me", 0.05)
        async with asyncio.timeout(60):
            while {b"mine:claims:bert", b"mine:lock:other"} & set(await client.keys()):  # noqa: ASYNC110  # no event
                await asyncio.sleep(0.02)
    await store.close()


async def test_the_list_of_changes_is_bounded(
    server: Any, open_at: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_CHANGES", 10)
    store = await open_at(data_dir="", redis_url=server.url)
    await store.add([ANNA])
    for _ in range(400):
        await store.save_condition("anna", Condition())
    async with Redis.from_url(server.url) as client:
        assert await client.xlen("chat2api:accounts:changes") <= 10 + 100, "trimmed by whole blocks of a hundred"


# --- other ways there -------------------------------------------------------------------------------------------------


async def test_a_socket_file(start_redis: Callable[..., Any], open_at: Callable[..., Any], tmp_path: Path) -> None:
    start_redis("--unixsocket", str(tmp_path / "socket"))
    store = await open_at(data_dir="", redis_url=f"unix://{tmp_path}/socket")
    assert await store.add([ANNA]) == [True]


async def test_tls(start_redis: Callable[..., Any], open_at: Callable[..., Any], tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    start_redis(
        "--tls-port", str(port), "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"
    )
    store = await open_at(data_dir="", redis_url=f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
    assert await store.add([ANNA]) == [True]
    with pytest.raises(StoreError, match="can't be reached"):
        await open_at(data_dir="", redis_url=f"rediss://127.0.0.1:{port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificate(folder: Path) -> tuple[str, str]:
    """Files of a certificate for 127.0.0.1 that vouches for itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "redis of a test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return str(folder / "certificate.pem"), str(folder / "key.pem")


@pytest.mark.parametrize("rubbish", [b"rubbish", b"\xff\xfe", b""])
async def test_one_row_that_can_not_be_read_is_left_out_and_told_of(
    server: Any, open_at: Callable[..., Any], caplog: pytest.LogCaptureFixture, rubbish: bytes
) -> None:
    store = await open_at(data_dir="", redis_url=server.url)
    await store.add([ANNA, BERT])
    client = Redis.from_url(server.url)
    await client.hset("chat2api:accounts:accounts", "anna", rubbish)
    await client.aclose()
    other = await open_at(data_dir="", redis_url=server.url)
    assert [account.id for account, _ in await other.load()] == ["bert"]
    await other.load()
    told = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == (1 if rubbish else 0)  # an empty one is one that is gone
    assert "anna" in "".join(told) or not rubbish
    assert await other.remove(["anna"]) == 1


@pytest.mark.parametrize(
    "reply",
    [b":secret\r\n", b"$secret\r\n", b":" + b"9" * 5000 + b"\r\n", b"*1\r\n" * 5000, b"HTTP/1.1 400 secret\r\n"],
)
async def test_what_is_no_redis_is_told_as_such_and_nothing_of_its_answer_is_left_for_the_next_call(
    reply: bytes,
) -> None:
    is_well = False

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while asked := await reader.read(65536):
            commands = len(re.findall(rb"\*\d+\r\n", asked))
            writer.write(b":7\r\n" * commands if is_well else reply)
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as peer:
        url = f"redis://127.0.0.1:{peer.sockets[0].getsockname()[1]}"
        scripts = RedisScripts(url, "", {"any": "return 7"}, StoreError)
        with pytest.raises(StoreError, match="is no reply of Redis") as caught:
            await scripts.run("any", [], [])
        assert "secret" not in repr(caught.value)
        is_well = True
        assert await scripts.run("any", [], []) == 7
        await scripts.close()
