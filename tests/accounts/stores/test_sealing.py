"""Tokens at rest: sealed with a key, plain without, and never shown where they can't be opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shim.accounts.account import Account
from shim.accounts.stores import Store, StoreError
from shim.accounts.stores.sealing import TOKENS, Sealing
from shim.databases.keys import new_key

OLD, NEW = new_key(), new_key()
ANNA = Account("anna", user="user-1", access_token="token-one", refresh_token="token-two", session_token="token-three")
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tokens = words | words.map(lambda word: f"sealed:{word}") | words.map(lambda word: f"plain:{word}")


def test_these_are_the_tokens() -> None:
    assert TOKENS == ("access_token", "refresh_token", "session_token", "proxy_url")


@given(tokens, tokens, tokens, st.sampled_from([(), (NEW,), (NEW, OLD)]))
def test_what_is_sealed_is_opened(one: str | None, two: str | None, three: str | None, keys: tuple[str, ...]) -> None:
    account = Account("anna", access_token=one, refresh_token=two, session_token=three)
    sealing = Sealing(keys)
    assert sealing.unseal(sealing.seal(account)) == account


def test_without_a_key_a_token_is_kept_as_it_is() -> None:
    assert Sealing().seal(ANNA) == ANNA


def test_with_a_key_only_the_tokens_are_sealed() -> None:
    proxied = replace(ANNA, proxy_url="http://user:password@proxy.test:8080")
    sealed = Sealing([NEW]).seal(proxied)
    assert all(getattr(sealed, name).startswith("sealed:gAAAA") for name in TOKENS)
    assert replace(sealed, **{name: getattr(proxied, name) for name in TOKENS}) == proxied
    assert "password" not in repr(proxied)


def test_the_first_key_seals_and_all_open() -> None:
    both = Sealing([NEW, OLD])
    assert both.unseal(Sealing([OLD]).seal(ANNA)) == ANNA
    assert Sealing([NEW]).unseal(both.seal(ANNA)) == ANNA
    with pytest.raises(StoreError):
        Sealing([OLD]).unseal(both.seal(ANNA))


def test_plain_tokens_are_read_with_a_key_too() -> None:
    assert Sealing([NEW]).unseal(Sealing().seal(ANNA)) == ANNA


@pytest.mark.parametrize(("keys", "complaint"), [((), "are sealed: set STORE_KEY"), ((OLD,), "with another key")])
def test_no_key_or_a_wrong_one(keys: tuple[str, ...], complaint: str) -> None:
    sealed = Sealing([NEW]).seal(ANNA)
    with pytest.raises(StoreError, match=complaint) as failure:
        Sealing(keys).unseal(sealed)
    assert "token-" not in str(failure.value)
    assert "gAAAA" not in str(failure.value)


@pytest.mark.parametrize("key", ["short", "é" * 44, "A" * 44, ""])
def test_a_key_that_is_none_is_not_shown(key: str) -> None:
    with pytest.raises(StoreError, match="not a Fernet key") as failure:
        Sealing([NEW, key])
    assert key == "" or key not in str(failure.value)


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["plain", "sealed"])
async def test_no_token_is_in_the_file(tmp_path: Path, open_at: Callable[..., Any], keys: tuple[str, ...]) -> None:
    store = await open_at(data_dir=tmp_path, keys=keys)
    await fill(store)
    assert (b"token-" in raw(tmp_path)) == (not keys)
    assert b"user-1" in raw(tmp_path)


@pytest.mark.parametrize("keys", [(), (NEW,)], ids=["plain", "sealed"])
async def test_no_token_is_on_the_server(
    start_redis: Callable[..., Any], open_at: Callable[..., Any], keys: tuple[str, ...]
) -> None:
    server = start_redis("--appendfsync", "always")
    await fill(await open_at(data_dir="", redis_url=server.url, keys=keys))
    assert (b"token-" in raw(server.folder)) == (not keys)
    assert b"user-1" in raw(server.folder)


async def test_a_key_that_comes_later_or_is_changed(address: dict[str, Any], open_at: Callable[..., Any]) -> None:
    """Rows are sealed when they are next written; until then old and new ones stand side by side."""
    plain = await open_at(**address)
    await plain.add([ANNA, Account("bert", access_token="token-b")])
    first = await open_at(**address, keys=[OLD])
    await first.save_account(replace(ANNA, version=1))
    with pytest.raises(StoreError, match="are sealed"):
        await plain.load()
    with pytest.raises(StoreError, match="are sealed"):
        await plain.changes()
    second = await open_at(**address, keys=[NEW, OLD])
    await second.add([Account("carl", access_token="token-c")])
    assert [account.access_token for account, _ in await second.load()] == ["token-one", "token-b", "token-c"]
    assert await second.save_account(replace(ANNA, version=1)), "the same again, though sealed with another key"
    with pytest.raises(StoreError, match="with another key"):
        await first.load()


async def test_changes_that_could_not_be_read_are_told_later(
    address: dict[str, Any], open_at: Callable[..., Any]
) -> None:
    plain = await open_at(**address)
    sealed = await open_at(**address, keys=[NEW])
    await plain.load()
    await sealed.add([ANNA])
    for _ in range(2):
        with pytest.raises(StoreError, match="are sealed"):
            await plain.changes()
    await sealed.remove(["anna"])
    await sealed.add([Account("without a token")])
    assert [change.id for change in await plain.changes()] == ["without a token"]


async def fill(store: Store) -> None:
    await store.add([ANNA])
    await store.save_account(replace(ANNA, refresh_token="token-four", version=1))
    await store.load()


def raw(folder: Path) -> bytes:
    """All that is in the files there."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
