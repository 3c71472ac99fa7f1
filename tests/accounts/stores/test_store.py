"""What both stores promise (base.py), on the real thing."""

import asyncio
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shim.accounts.account import Account, Condition
from shim.accounts.stores import Change, Store, StoreError
from shim.accounts.stores.choose import open_store
from shim.accounts.stores.records import decode_account, decode_condition
from shim.errors import Evidence
from shim.standin import make_access_token

ANNA = Account("anna", user="user-1", plan="plus", access_token="access-a", refresh_token="refresh-a", added=1.5)
BERT = Account("bert", workspace_id="team", session_token="session-b", expires=1e9, added=2.5)
COOLING = Condition(cooling={"gpt-5": 99.5}, reasons={"gpt-5": "limited"}, retry_at=7.25)


def renewed(account: Account, token: str = "") -> Account:
    return replace(account, refresh_token=token or f"refresh-{account.version + 1}", version=account.version + 1)


# --- what is kept -----------------------------------------------------------------------------------------------------


async def test_nothing_is_in_a_new_store(store: Store) -> None:
    assert await store.load() == []
    assert await store.changes() == []


async def test_what_was_added_is_loaded_in_the_order_of_adding(store: Store, other: Store) -> None:
    first = [Account(f"z{number}") for number in range(30)]
    assert await store.add(first) == [True] * 30
    assert await other.add([ANNA]) == [True]
    await store.remove(["z3"])
    assert await store.add([BERT, first[3]]) == [True, True]
    expected = [*(one for one in first if one.id != "z3"), ANNA, BERT, first[3]]
    assert await store.load() == [(account, Condition()) for account in expected]
    assert await other.load() == await store.load()


async def test_one_that_is_there_stays_as_it_is(store: Store) -> None:
    await store.add([ANNA])
    await store.save_condition("anna", COOLING)
    assert await store.add([replace(ANNA, refresh_token="older"), BERT, BERT]) == [False, True, False]
    assert await store.load() == [(ANNA, COOLING), (BERT, Condition())]


async def test_more_accounts_than_go_into_one_call(store: Store) -> None:
    many = [Account(f"{number:x}", access_token=f"token {number}") for number in range(1203)]
    assert await store.add(many) == [True] * 1203
    await store.add_uses({account.id: (3.0, 1) for account in many})
    assert [account for account, _ in await store.load()] == many
    assert await store.remove([account.id for account in many[:1100]]) == 1100
    assert [account for account, _ in await store.load()] == many[1100:]


async def test_it_outlives_being_closed(store: Store) -> None:
    await store.add([ANNA])
    await store.save_condition("anna", COOLING)
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match="not open"):
        await store.load()
    await store.open()
    assert await store.load() == [(ANNA, COOLING)]


async def test_closing_what_was_never_opened(address: dict[str, Any]) -> None:
    await open_store(**address).close()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.none() | text
accounts = st.builds(
    Account,
    *(text, words, words, words, words, words, words, st.none() | numbers, numbers),
    version=st.integers(0, 2**31),
    mail=words,
    label=words,
    paused=st.none() | numbers,
    proxy_url=words,
    limit=st.none() | st.integers(1, 64),
)
conditions = st.builds(
    Condition,
    parked=words,
    cooling=st.dictionaries(text, numbers, max_size=3),
    reasons=st.dictionaries(text, text, max_size=3),
    expired=st.booleans(),
    retry_at=numbers,
    last_used=st.floats(0, 1e12),
    turns=st.integers(0, 2**40),
    evidence=st.dictionaries(text, st.builds(Evidence, st.integers(0, 599), text, text), max_size=3),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(account=accounts, condition=conditions)
async def test_anything_comes_back_as_it_was(
    store: Store, other: Store, account: Account, condition: Condition
) -> None:
    await store.remove(None)
    await other.changes()
    assert await store.add([account]) == [True]
    await store.save_condition(account.id, condition)
    await store.add_uses({account.id: (condition.last_used, condition.turns)})
    assert await store.load() == [(account, condition)]
    assert await other.changes() == [Change(account.id, account, condition)]


async def test_what_an_earlier_version_wrote_is_read_and_a_pause_of_it_is_seen_by_others(
    store: Store, other: Store
) -> None:
    """The JSON of both stores before accounts had labels, pauses, proxies and evidence."""
    before = b'{"id":"old","user":"user-2","team":"team","access_token":"token","added":1.5,"version":3}'
    account = decode_account(before)
    condition = decode_condition(b'{"parked":null,"cooling":{"*":9.5},"reasons":{"*":"cap"},"since":{"*":1.5}}', 4.5, 2)
    await store.add([account])
    await store.save_condition("old", condition)
    await store.add_uses({"old": (4.5, 2)})
    assert await other.changes() == [Change("old", account, condition)]
    paused = replace(account, version=4, paused=60.0, label="Old", proxy_url="http://u:p@proxy.test", limit=1)
    assert await other.save_account(paused)
    assert await store.changes() == [Change("old", paused, condition)]
    assert await store.load() == [(paused, condition)]
    assert not await store.save_account(replace(account, version=4, label="late"))


# --- credentials and conditions ---------------------------------------------------------------------------------------


async def test_what_a_token_says_is_told_of_an_account_that_was_kept_without_it(store: Store, other: Store) -> None:
    """As accounts were kept before plan and mail were read of their tokens."""
    token = make_access_token("anna", "plus", expires_at=4e9)
    await store.add([Account("anna", access_token=token), Account("bert", access_token="fk-opaque")])
    told = Account("anna", access_token=token, plan="plus", mail="an…@example.test", expires=4e9)
    assert [account for account, _ in await other.load()] == [told, Account("bert", access_token="fk-opaque")]
    assert await other.changes() == []
    known = replace(told, plan="team", mail="so…@example.test", expires=3e9, version=1)
    assert await store.save_account(known)
    assert [change.account for change in await other.changes()] == [known]


async def test_a_credential_is_saved_on_the_version_before_it_only(store: Store) -> None:
    await store.add([ANNA])
    assert await store.save_account(renewed(ANNA))
    assert not await store.save_account(renewed(ANNA, "a late one"))
    assert not await store.save_account(replace(ANNA, refresh_token="far ahead", version=9))
    assert not await store.save_account(renewed(BERT)), "it is not there"
    assert await store.load() == [(renewed(ANNA), Condition())]


async def test_the_same_credential_again_is_a_yes(store: Store, other: Store) -> None:
    """A call whose answer was lost is made again."""
    await store.add([ANNA])
    assert await store.save_account(renewed(ANNA))
    assert await store.save_account(renewed(ANNA))
    assert await other.save_account(renewed(ANNA))
    assert await store.save_account(renewed(renewed(ANNA)))
    assert not await store.save_account(renewed(ANNA)), "that one is gone by now"


async def test_of_many_writers_at_once_one_wins_each_version(store: Store, other: Store) -> None:
    await store.add([ANNA])
    newest = ANNA
    for turn in range(10):
        offers = [renewed(newest, f"turn {turn} offer {number}") for number in range(8)]
        saved = await asyncio.gather(*((store, other)[n % 2].save_account(offer) for n, offer in enumerate(offers)))
        assert sum(saved) == 1
        newest = offers[saved.index(True)]
    assert await store.load() == [(newest, Condition())]


async def test_of_conditions_the_last_one_counts(store: Store, other: Store) -> None:
    await store.add([ANNA])
    await store.save_condition("anna", COOLING)
    await other.save_condition("anna", Condition(parked="revoked"))
    await store.save_condition("nobody", COOLING)
    assert await store.load() == [(ANNA, Condition(parked="revoked"))]


async def test_a_condition_does_not_touch_credential_or_uses(store: Store) -> None:
    await store.add([ANNA])
    await store.add_uses({"anna": (50.0, 3)})
    await store.save_account(renewed(ANNA))
    await store.save_condition("anna", replace(COOLING, last_used=1.0, turns=1))
    assert await store.load() == [(renewed(ANNA), replace(COOLING, last_used=50.0, turns=3))]


async def test_uses_add_up(store: Store, other: Store) -> None:
    await store.add([ANNA, BERT])
    await asyncio.gather(
        *(one.add_uses({"anna": (100.5 + n, 2), "nobody": (1, 1)}) for n in range(5) for one in (store, other))
    )
    await store.add_uses({"anna": (7.0, 1)})
    await store.add_uses({})
    assert await other.load() == [(ANNA, Condition(last_used=104.5, turns=21)), (BERT, Condition())]


async def test_some_are_removed_or_all(store: Store) -> None:
    third = Account("third")
    await store.add([ANNA, BERT, third])
    assert await store.remove(["anna", "nobody", "anna"]) == 1
    assert await store.remove([]) == 0
    assert [account for account, _ in await store.load()] == [BERT, third]
    assert await store.remove(None) == 2
    assert await store.remove(None) == 0
    assert await store.load() == []


# --- what others did --------------------------------------------------------------------------------------------------


async def test_others_see_each_change_once_and_the_writer_sees_none(store: Store, other: Store) -> None:
    await store.add([ANNA, BERT])
    assert await other.changes() == [Change("anna", ANNA, Condition()), Change("bert", BERT, Condition())]
    await store.save_condition("anna", COOLING)
    await store.save_account(renewed(BERT))
    await store.save_account(renewed(renewed(BERT)))
    assert await other.changes() == [
        Change("anna", ANNA, COOLING),
        Change("bert", renewed(renewed(BERT)), Condition()),
    ]
    await store.remove(["anna"])
    assert await other.changes() == [Change("anna", None, None)]
    assert await other.changes() == []
    assert await store.changes() == []


async def test_changes_go_both_ways(store: Store, other: Store) -> None:
    await store.add([ANNA])
    await other.add([BERT])
    assert await store.changes() == [Change("bert", BERT, Condition())]
    assert await other.changes() == [Change("anna", ANNA, Condition())]
    await store.save_condition("bert", COOLING)
    await other.save_condition("anna", COOLING)
    assert await store.changes() == [Change("anna", ANNA, COOLING)]
    assert await other.changes() == [Change("bert", BERT, COOLING)]
    await other.remove(None)
    assert await store.changes() == [Change("anna", None, None), Change("bert", None, None)]


async def test_what_loading_has_told_is_no_change(store: Store, other: Store) -> None:
    await store.add([ANNA])
    await other.load()
    assert await other.changes() == []


async def test_uses_are_no_change_but_come_along(store: Store, other: Store) -> None:
    await store.add([ANNA])
    await other.changes()
    await store.add_uses({"anna": (5.0, 2)})
    assert await other.changes() == []
    await store.save_condition("anna", COOLING)
    assert await other.changes() == [Change("anna", ANNA, replace(COOLING, last_used=5.0, turns=2))]


async def test_come_and_gone_between_two_calls_is_nothing(store: Store, other: Store) -> None:
    await store.add([ANNA])
    await store.remove(["anna"])
    assert await other.changes() == []


async def test_who_missed_too_much_compares_everything(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of changes is bounded; then the difference is told, and nothing besides."""
    for module in ("sqlite", "redis"):
        monkeypatch.setattr(f"shim.accounts.stores.{module}.KEPT_CHANGES", 5)
    await store.add([ANNA, BERT, Account("third"), Account("fourth")])
    await other.changes()
    await other.save_condition("fourth", COOLING)
    await store.remove(["anna"])
    await store.save_account(renewed(BERT))
    for number in range(300):
        await store.save_condition("third", Condition(retry_at=float(number)))
    assert await other.changes() == [
        Change("anna", None, None),
        Change("bert", renewed(BERT), Condition()),
        Change("third", Account("third"), Condition(retry_at=299.0)),
    ]
    assert await other.changes() == []


async def test_without_loading_all_that_is_there_is_told(
    store: Store, open_at: Callable[..., Any], address: Any
) -> None:
    await store.add([ANNA, BERT])
    late = await open_at(**address)
    assert [change.id for change in await late.changes()] == ["anna", "bert"]


# --- claims -----------------------------------------------------------------------------------------------------------


async def test_no_more_claims_than_the_limit(store: Store, other: Store) -> None:
    asked = [(store, other)[n % 2].claim("anna", f"lease {n}", 7, 60) for n in range(200)]
    assert sum(await asyncio.gather(*asked)) == 7
    assert await store.claim("bert", "lease 0", 1, 60), "accounts are counted apart"
    assert not await store.claim("bert", "lease 1", 0, 60)


async def test_a_claim_given_back_can_be_had_by_others(store: Store, other: Store) -> None:
    assert await store.claim("anna", "one", 1, 60)
    assert not await other.claim("anna", "two", 1, 60)
    await other.release("anna", "two")
    await other.release("bert", "one")
    assert not await other.claim("anna", "two", 1, 60), "only its own lease gives it back"
    await store.release("anna", "one")
    await store.release("anna", "one")
    assert await other.claim("anna", "two", 1, 60)


async def test_a_claim_ends_by_itself_unless_it_is_prolonged(store: Store, other: Store) -> None:
    assert await store.claim("anna", "dead", 2, 0.2)
    assert await store.claim("anna", "alive", 2, 0.2)
    assert await store.claim("anna", "alive", 2, 60), "a further claim of the same lease takes no further lease"
    assert not await other.claim("anna", "third", 2, 60)
    await asyncio.sleep(0.3)
    assert await other.claim("anna", "third", 2, 60)
    assert not await other.claim("anna", "fourth", 2, 60)


async def test_claims_are_prolonged_together_and_come_back_to_life(store: Store, other: Store) -> None:
    assert await store.claim("anna", "h/1", 2, 0.2)
    assert await store.claim("bert", "h/2", 1, 0.2)
    await store.prolong([("anna", "h/1"), ("bert", "h/2")], 60)
    await asyncio.sleep(0.3)
    assert not await other.claim("bert", "third", 1, 60)
    await store.prolong([("anna", "ended long ago")], 60)
    assert not await other.claim("anna", "third", 2, 60)
    await store.prolong([], 60)


async def test_claims_of_holders_that_are_gone_are_given_back(store: Store, other: Store) -> None:
    assert await store.claim("anna", "dead/1", 1, 60)
    assert await store.claim("bert", "dead/2", 2, 60)
    assert await store.claim("bert", "alive/3", 2, 60)
    assert await other.release_held_by(lambda holder: holder == "dead") == 2
    assert await other.claim("anna", "new", 1, 60)
    assert await other.claim("bert", "new", 2, 60)
    assert not await other.claim("bert", "newer", 2, 60), "that of the living one stays"
    assert await other.release_held_by(lambda holder: holder == "dead") == 0


async def test_processes_never_hold_more_than_the_limit(
    address: dict[str, Any], start_child: Callable[..., "subprocess.Popen[str]"]
) -> None:
    children = [start_child("claim", address, f"child {number}") for number in range(5)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    said = await asyncio.gather(*(asyncio.to_thread(child.communicate, "go\n") for child in children))
    held = [tuple(map(float, line.split())) for out, _ in said for line in out.splitlines()]
    assert [child.returncode for child in children] == [0] * 5
    assert len(held) > 50
    assert 1 <= most_at_once(held) <= 3


def most_at_once(held: list[tuple[float, ...]]) -> int:
    steps = sorted([(began, 1) for began, _ in held] + [(ended, -1) for _, ended in held])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


# --- locks ------------------------------------------------------------------------------------------------------------


async def test_a_lock_has_one_holder(store: Store, other: Store) -> None:
    asked = [(store, other)[n % 2].lock("renew anna", f"holder {n}", 60) for n in range(50)]
    assert sum(await asyncio.gather(*asked)) == 1
    assert await other.lock("renew bert", "holder", 60)


async def test_only_its_holder_gives_a_lock_back(store: Store, other: Store) -> None:
    assert await store.lock("name", "me", 60)
    assert await store.lock("name", "me", 60), "it is mine already"
    await other.unlock("name", "you")
    assert not await other.lock("name", "you", 60)
    await store.unlock("name", "me")
    await store.unlock("name", "me")
    assert await other.lock("name", "you", 60)


async def test_a_lock_ends_by_itself(store: Store, other: Store) -> None:
    assert await store.lock("name", "me", 0.2)
    assert not await other.lock("name", "you", 60)
    await asyncio.sleep(0.3)
    assert await other.lock("name", "you", 60)
    await store.unlock("name", "me")
    assert not await store.lock("name", "me", 60), "the late holder gave back what was no longer its own"
