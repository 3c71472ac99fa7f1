"""The pool lends the right account, spreads load evenly, and forgets nothing that is to be stored."""

import itertools
import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shim.accounts.account import EVERY_MODEL, Account, Condition
from shim.accounts.pool_state import PoolState
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import (
    BY_TIME,
    TRANSITIONS,
    AccountEvent,
    Adjusted,
    Limited,
    PoolError,
    Refused,
    Released,
    RenewalBegan,
    RenewalDropped,
    RenewalFailed,
    RenewalRefused,
    Renewed,
    Reset,
    State,
    Succeeded,
    Supplied,
    TokenExpired,
    Unused,
    after,
    replace,
    state_of,
)

MODEL = ("gpt-4o",)
FAR = 1e9
GOOD = Condition()
numbers = itertools.count()


def account(id: str, **fields) -> Account:
    return Account(id, **({"access_token": f"token of {id}", "expires": FAR} | fields))


def renewable(id: str, **fields) -> Account:
    return account(id, **({"refresh_token": f"refresh token of {id}"} | fields))


def pool_of(*members: str | Account, limit: int = 1) -> PoolState:
    pool = PoolState(limit)
    for member in members:
        assert pool.add(account(member) if isinstance(member, str) else member, GOOD, 0.0)
    return pool


def lend(pool: PoolState, now: float = 1.0, slugs: tuple[str, ...] = MODEL, **options):
    return pool.lease(slugs, now, slot_id=str(next(numbers)), **options)


def shortage(pool: PoolState, now: float = 1.0, slugs: tuple[str, ...] = MODEL, **options) -> NoAccountError:
    with pytest.raises(NoAccountError) as caught:
        lend(pool, now, slugs, **options)
    return caught.value


def state(pool: PoolState, id: str, now: float = 1.0) -> State:
    return pool.view(id, now).state


# --- who is next


def test_the_longest_unused_takes_the_turn():
    pool = pool_of("a", "b", "c")
    taken = []
    for now in range(1, 7):
        lease = lend(pool, now)
        taken.append(lease.account.id)
        pool.end(lease, lease.succeeded(), now + 0.5)
    assert taken == ["a", "b", "c", "a", "b", "c"]


def test_300_turns_one_after_another_differ_by_at_most_one():
    pool = pool_of("a", "b", "c", limit=5)
    for now in range(1, 302):
        lease = lend(pool, now)
        pool.end(lease, lease.succeeded(), now)
        turns = [view.turns for view in pool.snapshot(now)]
        assert max(turns) - min(turns) <= 1


def test_300_turns_at_once_differ_by_at_most_one():
    pool = pool_of("a", "b", "c", limit=150)
    assert set(Counter(lend(pool).account.id for _ in range(300)).values()) == {100}


def test_a_slow_account_gets_as_many_turns_as_a_quick_one():
    pool = pool_of("slow", "quick", "quicker", limit=100)
    taken = Counter()
    for now in range(1, 301):
        lease = lend(pool, now)
        taken[lease.account.id] += 1
        if lease.account.id != "slow":
            pool.end(lease, lease.succeeded(), now)
    assert set(taken.values()) == {100}


def test_what_was_used_before_a_restart_comes_last():
    pool = PoolState()
    pool.add(account("late"), Condition(last_used=20.0), 100.0)
    pool.add(account("early"), Condition(last_used=10.0), 100.0)
    pool.add(account("new"), GOOD, 100.0)
    pool.add(account("clock was wrong"), Condition(last_used=FAR), 100.0)
    assert [lend(pool, 100.0).account.id for _ in range(4)] == ["new", "early", "late", "clock was wrong"]


def test_turns_on_other_models_count_as_use():
    pool = pool_of("a", "b")
    first = lend(pool, 1.0, ("o3",))
    pool.end(first, first.succeeded(), 2.0)
    assert lend(pool, 3.0).account.id == "b"


def test_the_clock_may_be_put_back():
    pool = pool_of("a", "b", "c")
    taken = []
    for now in (500.0, 400.0, 300.0, 200.0, 100.0, 1.0):
        lease = lend(pool, now)
        taken.append(lease.account.id)
        pool.end(lease, lease.succeeded(), now)
    assert taken == ["a", "b", "c", "a", "b", "c"]


# --- who is not


def test_never_more_turns_at_once_than_the_limit():
    pool = pool_of("a", "b", limit=2)
    leases = [lend(pool) for _ in range(4)]
    assert Counter(lease.account.id for lease in leases) == {"a": 2, "b": 2}
    error = shortage(pool)
    assert error.busy
    assert error.retry_after is None
    pool.end(leases[1], Released(), 2.0)
    assert lend(pool).account.id == "b"


def test_a_limited_account_serves_again_when_upstream_said():
    pool = pool_of("a")
    pool.end(lend(pool), Limited(5401.0, None, "cap"), 2.0)
    assert state(pool, "a") is State.COOLING
    error = shortage(pool, 3.0)
    assert (error.shortage, error.retry_after, error.counts) == (Shortage.LATER, 5398.0, {"cooling": 1})
    told = "every account that could serve has to wait (1 limited: cap, until 1970-01-01T01:30:01Z)"
    assert str(error) == told
    assert shortage(pool, math.nextafter(5401.0, 0.0)).retry_after > 0
    assert lend(pool, 5401.0).account.id == "a"


def test_the_soonest_account_says_when_to_come_back():
    pool = pool_of("a", "b", "dead")
    pool.report("a", Limited(500.0), 1.0)
    pool.report("b", Limited(400.0, "gpt-4o"), 1.0)
    pool.report("dead", Refused("deactivated"), 1.0)
    for _ in range(2):
        error = shortage(pool, 100.0)
        assert (error.retry_after, error.counts) == (300.0, {"cooling": 2, "parked": 1})


def test_a_limit_on_one_model_leaves_the_others():
    pool = pool_of("a")
    pool.end(lend(pool, slugs=("gpt-4",)), Limited(500.0, "gpt-4"), 2.0)
    assert shortage(pool, 3.0, ("gpt-4",)).retry_after == 497.0
    assert lend(pool, 3.0).account.id == "a"


def test_a_parked_account_is_not_asked_again_until_it_is_reset():
    pool = pool_of("a")
    pool.end(lend(pool), Refused("deactivated"), 2.0)
    error = shortage(pool, FAR - 1)
    assert (error.shortage, error.retry_after, error.counts) == (Shortage.NEVER, None, {"parked": 1})
    pool.report("a", Reset(), 3.0)
    assert lend(pool, 4.0).account.id == "a"


def test_an_expired_account_is_lent_where_it_can_be_renewed():
    pool = pool_of(account("dead", expires=10.0), renewable("alive", expires=10.0))
    lease = lend(pool, 10.0)
    assert (lease.account.id, lease.needs_renewal) == ("alive", True)
    assert pool.counts(10.0)[State.EXPIRED] == 2
    assert shortage(pool, 10.0).busy


def test_an_account_whose_renewal_failed_waits_for_its_time():
    pool = pool_of(renewable("a", expires=10.0))
    pool.report("a", RenewalBegan(), 20.0)
    waits = lend(pool, 20.0)
    assert waits.needs_renewal
    pool.report("a", RenewalFailed("timeout", 50.0), 21.0)
    pool.end(waits, Unused(), 21.0)
    error = shortage(pool, 22.0)
    assert (error.shortage, error.retry_after) == (Shortage.NOT_RENEWED, 28.0)
    assert error.counts == {"not renewed: timeout": 1}
    assert pool.view("a", 22.0).why == "timeout"
    assert lend(pool, 50.0).needs_renewal


def test_a_model_that_only_an_account_without_a_list_may_have_is_told_as_that():
    pool = pool_of("a", renewable("b", expires=10.0))
    pool.learn("a", MODEL)
    pool.report("b", RenewalBegan(), 20.0)
    pool.report("b", RenewalFailed("timeout", 50.0), 21.0)
    error = shortage(pool, 22.0, ("gpt-0",))
    assert (error.shortage, error.unlisted, error.again().unlisted) == (Shortage.NOT_RENEWED, True, True)
    lend(pool, 22.0)
    assert not shortage(pool, 22.0).unlisted
    pool.learn("b", ("gpt-0",))
    assert not shortage(pool, 22.0, ("gpt-0",)).unlisted


def test_a_token_renewed_ahead_of_time_goes_on_serving():
    pool = pool_of(renewable("a"), limit=9)
    pool.report("a", RenewalBegan(), 1.0)
    assert not lend(pool).needs_renewal
    pool.report("a", RenewalFailed("timeout", 50.0), 2.0)
    assert not lend(pool).needs_renewal
    assert state(pool, "a") is State.READY


def test_accounts_already_tried_are_passed_over_and_keep_their_place():
    pool = pool_of("a", "b", "c")
    assert lend(pool, exclude=frozenset({"a", "b"})).account.id == "c"
    assert lend(pool).account.id == "a"
    assert shortage(pool, exclude=frozenset({"b"})).busy, "c and a have a turn, and may end it"
    pool.report("a", Refused("dead"), 1.0)
    pool.report("c", Refused("dead"), 1.0)
    assert shortage(pool, exclude=frozenset({"b", "gone"})).shortage is Shortage.TRIED


def test_a_tried_account_that_turned_out_to_be_limited_says_when_to_come_back():
    pool = pool_of("a")
    pool.end(lend(pool), Limited(500.0), 2.0)
    error = shortage(pool, 3.0, exclude=frozenset({"a"}))
    assert (error.shortage, error.retry_after) == (Shortage.LATER, 497.0)


def test_waiting_is_no_use_where_only_tried_accounts_are_busy():
    pool = pool_of("a")
    lend(pool)
    assert shortage(pool, exclude=frozenset({"a"})).shortage is Shortage.TRIED


# --- models


def test_an_empty_pool_says_so():
    assert shortage(PoolState()).shortage is Shortage.EMPTY


def test_who_has_the_model_takes_the_turn_under_its_own_name():
    pool = pool_of("a", "b")
    pool.learn("a", ["mini"])
    pool.learn("b", ["mini", "gpt-4-turbo"])
    lease = lend(pool, slugs=("gpt-4", "gpt-4-turbo"))
    assert (lease.account.id, lease.slug) == ("b", "gpt-4-turbo")


def test_nobody_has_the_model():
    pool = pool_of("a")
    pool.learn("a", ["mini"])
    assert shortage(pool).shortage is Shortage.NO_MODEL
    assert shortage(pool, owner="a").shortage is Shortage.NO_MODEL


def test_an_account_that_is_over_does_not_keep_an_unknown_model_alive():
    """What it had was never learned, and never will be: so nobody has the model."""
    pool = pool_of("a", renewable("b"))
    pool.learn("a", ["mini"])
    pool.report("b", RenewalBegan(), 1.0)
    pool.report("b", RenewalRefused("refresh_token_reused"), 1.0)
    assert shortage(pool).shortage is Shortage.NO_MODEL
    pool.report("b", Reset(), 1.0)
    assert lend(pool).account.id == "b"


def test_nor_does_one_that_has_expired_for_good():
    pool = pool_of("a", account("b", expires=0.5))
    pool.learn("a", ["mini"])
    assert shortage(pool).shortage is Shortage.NO_MODEL


def test_one_that_only_waits_may_have_the_model():
    pool = pool_of("a", "b")
    pool.learn("a", ["mini"])
    pool.report("b", Limited(500.0), 1.0)
    assert shortage(pool).shortage is Shortage.LATER


def test_where_no_list_is_known_nobody_says_that_there_is_no_such_model():
    pool = pool_of("a")
    pool.report("a", Refused("revoked"), 1.0)
    assert shortage(pool).shortage is Shortage.NEVER


def test_auto_is_always_there():
    pool = pool_of("a")
    pool.learn("a", ["mini"])
    assert lend(pool, slugs=("auto",)).slug == "auto"


def test_an_unknown_list_is_taken_to_have_it():
    pool = pool_of("a")
    pool.learn("a", ["mini"])
    pool.learn("a", [])
    assert lend(pool, slugs=("o3", "mini")).slug == "o3"


def test_what_is_learned_later_counts():
    pool = pool_of("a", "b", limit=9)
    assert lend(pool).account.id == "a"
    pool.learn("b", ["mini"])
    assert [lend(pool).account.id for _ in range(2)] == ["a", "a"]
    pool.learn("b", ["mini", "gpt-4o"])
    assert lend(pool).account.id == "b"


def test_names_that_clients_make_up_do_not_make_the_pool_grow():
    pool = pool_of("a", limit=10)

    def kept() -> dict[str, int]:
        return {name: len(each) for name, each in vars(pool).items() if hasattr(each, "__len__")}

    pool.end(lend(pool), Released(), 1.0)
    before = kept()
    for number in range(1000):
        pool.end(lend(pool, slugs=(f"made up {number}",)), Released(), 1.0)
    assert kept() == before


# --- conversations


def test_a_continued_conversation_stays_with_its_account():
    pool = pool_of("a", "b")
    lease = lend(pool, owner="b")
    assert lease.account.id == "b"
    assert shortage(pool, owner="b").busy
    pool.end(lease, Limited(100.0), 2.0)
    assert shortage(pool, 3.0, owner="b").retry_after == 97.0
    pool.report("b", Refused("dead"), 4.0)
    assert shortage(pool, 5.0, owner="b").shortage is Shortage.NEVER
    assert shortage(pool, 5.0, owner="gone").shortage is Shortage.GONE
    assert shortage(pool, 5.0, owner="a", exclude=frozenset({"a"})).shortage is Shortage.TRIED


# --- turns that end late


def test_a_turn_that_began_before_the_limit_does_not_end_it():
    pool = pool_of("a", limit=2)
    early, other = lend(pool, 1.0), lend(pool, 2.0)
    pool.end(other, Limited(500.0, "gpt-4o"), 3.0)
    pool.end(early, early.succeeded(), 4.0)
    assert shortage(pool, 5.0).retry_after == 495.0


def test_a_probe_that_goes_well_ends_the_limit():
    pool = pool_of("a")
    pool.report("a", Limited(500.0), 3.0)
    pool.report("a", Succeeded("gpt-4o", 4.0), 5.0)
    assert lend(pool, 6.0).account.id == "a"


@pytest.mark.parametrize("event", [TokenExpired(), Refused("revoked")])
def test_a_refusal_of_a_token_that_was_renewed_meanwhile_counts_for_nothing(event):
    pool = pool_of(renewable("a"))
    lease = lend(pool)
    pool.report("a", RenewalBegan(), 2.0)
    pool.report("a", Renewed(renewable("a", access_token="new", version=1)), 3.0)
    pool.end(lease, event, 4.0)
    assert state(pool, "a") is State.READY


def test_a_refusal_of_the_renewed_token_counts():
    pool = pool_of(renewable("a", expires=0.5))
    lease = lend(pool)
    pool.report("a", RenewalBegan(), 2.0)
    pool.report("a", Renewed(renewable("a", access_token="new", version=1)), 3.0)
    assert pool.account_of(lease).access_token == "new"
    pool.end(lease, Refused("deactivated"), 4.0)
    assert state(pool, "a") is State.PARKED


def test_ending_twice_does_nothing():
    pool = pool_of("a", limit=2)
    lease = lend(pool)
    for event in (lease.succeeded(), Refused("late")):
        pool.end(lease, event, 2.0)
    view = pool.view("a", 3.0)
    assert (view.turns, view.active, view.state) == (1, 0, State.READY)


def test_a_lease_that_came_to_no_turn_is_not_counted():
    pool = pool_of("a")
    pool.end(lend(pool), Unused(), 2.0)
    assert pool.take_uses() == {}


def test_a_lease_needs_an_id_of_its_own():
    pool = pool_of("a", limit=2)
    pool.lease(MODEL, 1.0, slot_id="x")
    with pytest.raises(PoolError):
        pool.lease(MODEL, 1.0, slot_id="x")


# --- coming, going, and being the same


def test_the_same_account_given_twice_is_one():
    pool = pool_of(account("a", user="u", workspace_id="t"))
    assert not pool.add(account("a"), GOOD, 1.0)
    assert not pool.add(account("b", user="u", workspace_id="t"), GOOD, 1.0)
    assert pool.find(account("b", user="u", workspace_id="t")) == "a"
    assert pool.add(account("c", user="u"), GOOD, 1.0), "another workspace"
    assert len(pool) == 2


def test_a_renewal_may_show_that_two_accounts_are_one():
    known = account("known", user="u")
    pool = pool_of(known, Account("given", refresh_token="r"), limit=2)
    turn = lend(pool, 1.0)
    other = lend(pool, 1.0, ("o3",), owner="known")
    pool.end(other, Limited(500.0, "o3"), 2.0)
    pool.report("given", RenewalBegan(), 2.0)
    renewed = Account("given", user="u", access_token="new", refresh_token="r2", expires=FAR, version=1)
    assert pool.report("given", Renewed(renewed), 3.0) == "known"
    assert len(pool) == 1
    assert pool.account("given") == renewed
    assert pool.account_of(turn) == renewed
    assert shortage(pool, 4.0, ("o3",)).retry_after == 496.0
    pool.end(turn, Refused("its token was another one"), 4.0)
    view = pool.view("given", 5.0)
    assert (view.active, view.turns, view.state) == (0, 2, State.READY)
    assert pool.take_uses() == {"given": (1.0, 2)}
    assert pool.take_dirty().keys() == {"given"}


def test_a_removed_account_is_gone_and_its_turns_say_nothing():
    pool = pool_of("a", "b")
    lease = lend(pool)
    assert pool.remove("a")
    assert not pool.remove("a")
    assert pool.account_of(lease) is None
    pool.end(lease, Refused("late"), 2.0)
    assert pool.take_dirty() == {}
    assert lend(pool).account.id == "b"
    assert pool.clear() == 1
    assert shortage(pool).shortage is Shortage.EMPTY


def test_removed_and_added_again_it_still_has_its_turns_and_its_renewal():
    pool = pool_of(renewable("a"))
    lease = lend(pool)
    pool.report("a", RenewalBegan(), 1.0)
    pool.clear()
    pool.add(renewable("a"), GOOD, 2.0)
    assert shortage(pool, 3.0).busy
    assert state(pool, "a") is State.REFRESHING
    pool.report("a", RenewalDropped(), 3.0)
    pool.end(lease, lease.succeeded(), 4.0)
    assert lend(pool, 5.0).account.id == "a"


def test_nothing_is_kept_of_removed_accounts_once_all_has_ended():
    pool = pool_of(renewable("a"))
    lease = lend(pool)
    pool.report("a", RenewalBegan(), 1.0)
    pool.remove("a")
    pool.end(lease, lease.succeeded(), 2.0)
    pool.report("a", RenewalFailed("timeout", 9.0), 2.0)
    assert not pool._removed
    assert not pool._slots


# --- renewals


def test_only_one_renewal_at_a_time():
    pool = pool_of(renewable("a"), "fixed")
    pool.report("a", RenewalBegan(), 1.0)
    with pytest.raises(PoolError, match="RenewalBegan can't happen to an account that is refreshing"):
        pool.report("a", RenewalBegan(), 1.0)
    with pytest.raises(PoolError, match="can't be renewed"):
        pool.report("fixed", RenewalBegan(), 1.0)
    with pytest.raises(PoolError, match="another account"):
        pool.report("a", Renewed(account("fixed", version=1)), 1.0)


def test_a_dead_refresh_token_parks_the_account_with_the_reason():
    pool = pool_of(renewable("a"))
    pool.report("a", RenewalBegan(), 1.0)
    pool.report("a", RenewalRefused("refresh_token_reused"), 1.0)
    view = pool.view("a", 2.0)
    assert (view.state, view.why) == (State.PARKED, "refresh_token_reused")


def test_credentials_given_by_hand_outlive_the_failure_of_older_ones():
    pool = pool_of(renewable("a", expires=0.5))
    pool.report("a", RenewalBegan(), 1.0)
    pool.report("a", Supplied(renewable("a", access_token="by hand", version=1)), 1.5)
    pool.report("a", RenewalRefused("dead"), 2.0)
    assert state(pool, "a") is State.READY
    assert pool.account("a").access_token == "by hand"


def test_late_credentials_are_not_taken():
    pool = pool_of(renewable("a", version=3))
    pool.report("a", Supplied(renewable("a", access_token="old", version=2)), 1.0)
    pool.replace(renewable("a", access_token="old", version=2), GOOD, 1.0)
    assert pool.account("a").access_token == "token of a"


def test_who_is_due_for_renewal():
    pool = pool_of(
        renewable("soon", expires=150.0),
        renewable("later", expires=500.0),
        account("fixed", expires=150.0),
        Account("never used", refresh_token="r"),
        renewable("dead", expires=150.0),
        renewable("failed", expires=150.0),
        renewable("refused"),
    )
    pool.report("dead", Refused("dead"), 1.0)
    pool.report("failed", RenewalBegan(), 1.0)
    pool.report("failed", RenewalFailed("timeout", 120.0), 1.0)
    pool.report("refused", TokenExpired(), 1.0)
    assert pool.due(100.0, 60.0) == ["soon", "refused"]
    pool.report("soon", RenewalBegan(), 100.0)
    assert pool.due(120.0, 60.0) == ["failed", "refused"]


# --- other processes


def test_a_change_from_another_process_is_taken_and_not_stored_again():
    pool = pool_of(renewable("a"))
    lease = lend(pool)
    pool.end(lease, lease.succeeded(), 2.0)
    theirs = Condition(cooling={EVERY_MODEL: 500.0}, reasons={EVERY_MODEL: "cap"}, since={EVERY_MODEL: 2.0})
    pool.replace(renewable("a", access_token="new", version=1), theirs, 3.0)
    assert pool.account("a").access_token == "new"
    assert shortage(pool, 4.0).retry_after == 496.0
    assert pool.view("a", 4.0).turns == 1
    assert pool.take_dirty() == {}
    pool.replace(renewable("a", version=1), GOOD, 5.0)
    assert lend(pool, 6.0).account.id == "a"


def test_ours_counts_where_it_is_not_stored_yet():
    pool = pool_of(renewable("a"))
    pool.report("a", Limited(500.0), 1.0)
    pool.report("a", TokenExpired(), 1.0)
    pool.replace(renewable("a", access_token="theirs", version=1), GOOD, 2.0)
    assert state(pool, "a", 3.0) is State.COOLING, "their new token ended the expiry, not the limit"
    assert pool.take_dirty()["a"].cooling == {EVERY_MODEL: 500.0}


def test_an_account_added_by_another_process_is_there():
    pool = pool_of("a")
    lend(pool)
    pool.replace(account("b"), GOOD, 2.0)
    assert lend(pool).account.id == "b"


def test_a_pause_by_another_process_counts_and_takes_nothing_else_back():
    pool = pool_of("a")
    pool.report("a", TokenExpired(), 1.0)
    pool.replace(account("a", paused=2.0, version=1), GOOD, 2.0)
    assert shortage(pool, 3.0).counts == {"paused": 1}
    pool.replace(account("a", version=2), GOOD, 4.0)
    assert state(pool, "a", 5.0) is State.EXPIRED, "the token is the one that upstream refused"


def test_an_account_s_own_limit_of_turns_counts_for_it():
    pool = pool_of(account("one", limit=1), account("three", limit=3), "any", limit=2)
    lent = [lend(pool).account.id for _ in range(6)]
    assert Counter(lent) == {"one": 1, "three": 3, "any": 2}
    assert shortage(pool).busy


def test_of_many_accounts_a_client_is_told_the_reasons_and_when_the_first_is_back():
    pool = pool_of("a", "b", "c", "d", account("e", paused=1.0, label="Anna's", mail="an…@example.test"))
    for number, id in enumerate("ab"):
        pool.report(id, Limited(1000.0 + number, None, "usage_limit_reached"), 1.0)
    pool.report("c", Refused("account_deactivated"), 1.0)
    pool.report("d", Refused("a sentence of upstream's"), 1.0)
    told = str(shortage(pool))
    assert told.endswith(
        "(2 limited: usage_limit_reached, the first until 1970-01-01T00:16:40Z; 1 parked; "
        "1 parked: account_deactivated; 1 paused)"
    )
    assert not [secret for secret in ("Anna", "example.test", "sentence", "token of") if secret in told]


# --- what is stored and shown


def test_uses_are_told_once():
    pool = pool_of("a")
    for now in (1.0, 2.0):
        lease = lend(pool, now)
        pool.end(lease, lease.succeeded(), now + 0.5)
    assert pool.take_uses() == {"a": (2.0, 2)}
    assert pool.take_uses() == {}
    assert pool.take_dirty() == {}


def test_what_could_not_be_stored_stays_dirty():
    pool = pool_of("a")
    pool.report("a", Limited(500.0), 1.0)
    dirty = pool.take_dirty()
    assert pool.take_dirty() == {}
    pool.mark_dirty([*dirty, "gone"])
    assert pool.take_dirty() == dirty


def test_a_page_of_accounts():
    pool = pool_of(*(f"a{number}" for number in range(10)))
    for number in (2, 4, 6):
        pool.report(f"a{number}", Limited(500.0, None, "cap"), 1.0)
    assert [view.id for view in pool.snapshot(2.0, offset=3, limit=2)] == ["a3", "a4"]
    page = pool.snapshot(2.0, state=State.COOLING, offset=1)
    assert [(view.id, view.why, view.until) for view in page] == [("a4", "cap", 500.0), ("a6", "cap", 500.0)]
    assert pool.counts(2.0) == {
        State.NEW: 0,
        State.READY: 7,
        State.COOLING: 3,
        State.PARKED: 0,
        State.EXPIRED: 0,
        State.REFRESHING: 0,
        State.PAUSED: 0,
    }


# --- the table and the pool agree: every case by brute force

SOON, BEGUN, THEN, LATE = 200.0, 10.0, 100.0, 300.0
ACCOUNTS = [
    renewable("a", expires=expires, access_token=token, paused=paused)
    for expires in (50.0, SOON, FAR)
    for token in ("t", None)
    for paused in (None, 7.0)
]
CONDITIONS = [
    Condition(parked, dict.fromkeys(keys, until), {}, dict.fromkeys(keys, 5.0), expired, retry_at)
    for parked in (None, "dead")
    for keys in ((), (EVERY_MODEL,), ("m",), (EVERY_MODEL, "m"))
    for until in (SOON, LATE)
    for expired in (False, True)
    for retry_at in (0.0, LATE)
]


def events(of: Account) -> list[AccountEvent]:
    new = [replace(of, access_token="new", expires=expires, version=1) for expires in (50.0, FAR)]
    return [
        *(Adjusted(replace(of, paused=paused, version=1)) for paused in (None, 9.0)),
        *(Succeeded("m", begun) for begun in (1.0, BEGUN)),
        *(Limited(until, model) for until in (THEN, LATE) for model in (None, "m")),
        *(Renewed(each) for each in new),
        *(Supplied(each) for each in new),
        *(Refused("dead"), TokenExpired(), Released(), Unused(), Reset()),
        *(RenewalBegan(), RenewalFailed("timeout", LATE), RenewalRefused("dead"), RenewalDropped()),
    ]


def start(of: Account, condition: Condition, renewing: bool) -> PoolState:
    pool = PoolState()
    pool.add(of, condition, 0.0)
    if renewing:
        pool.report("a", RenewalBegan(), THEN)
    return pool


def test_every_event_leads_exactly_where_the_table_says():
    seen: dict[State, dict[type[AccountEvent], set[State]]] = {each: {} for each in State}
    cases = itertools.product(ACCOUNTS, CONDITIONS, (False, True))
    for of, condition, renewing, event in ((*case, event) for case in cases for event in events(case[0])):
        pool = start(of, condition, renewing)
        before = state(pool, "a", THEN)
        if type(event) in TRANSITIONS[before]:
            pool.report("a", event, THEN)
            seen[before].setdefault(type(event), set()).add(state(pool, "a", THEN))
        else:
            with pytest.raises(PoolError):
                pool.report("a", event, THEN)
    assert seen == TRANSITIONS


def test_time_leads_exactly_where_the_table_says():
    seen: dict[State, set[State]] = {each: set() for each in State}
    for of, condition, renewing in itertools.product(ACCOUNTS, CONDITIONS, (False, True)):
        pool = start(of, condition, renewing)
        for later in (THEN, SOON, LATE):
            seen[state(pool, "a", THEN)].add(state(pool, "a", later))
    assert seen == BY_TIME


# --- against a naive pool: whatever happens, in whatever order

SLUGS = ("x", "y", "z")
IDS = tuple("abcde")
ids = st.sampled_from(IDS)
spans = st.sampled_from([0.5, 5.0, 40.0])
slugs_or_none = st.none() | st.sampled_from(SLUGS)
questions = st.permutations(SLUGS).flatmap(lambda every: st.sampled_from([tuple(every[:1]), tuple(every[:2])]))


class Known:
    """What the naive pool knows of one account: the same data, and its place in time as a number that only rises."""

    def __init__(self, of: Account, rank: tuple[int, int]) -> None:
        self.of, self.condition, self.rank = of, Condition(), rank
        self.renewing: int | None = None
        self.slugs: set[str] = set()

    def slug(self, asked: tuple[str, ...]) -> str | None:
        return next((slug for slug in asked if not self.slugs or slug in self.slugs), None)

    def usable(self, asked: tuple[str, ...], now: float) -> bool:
        """Said in plain words, not with `usable_from`."""
        condition = self.condition
        if condition.parked is not None:
            return False
        if any(condition.cooling.get(key, 0.0) > now for key in (self.slug(asked), EVERY_MODEL)):
            return False
        fresh = self.of.access_token is not None and self.of.expires > now and not condition.expired
        waits = self.renewing is not None
        return fresh or waits or (self.of.refresh_token is not None and condition.retry_at <= now)

    def limited(self, asked: tuple[str, ...], now: float) -> bool:
        condition = self.condition
        over = (condition.cooling.get(key, 0.0) <= now for key in (self.slug(asked), EVERY_MODEL))
        return condition.parked is None and not all(over)

    def usable_again(self, asked: tuple[str, ...], now: float) -> float:
        """By trying every moment at which anything ends."""
        moments = {*self.condition.cooling.values(), self.condition.retry_at}
        return min((at for at in moments if at > now and self.usable(asked, at)), default=math.inf)


class PoolAgainstScan(RuleBasedStateMachine):
    @initialize(limit=st.integers(1, 3), members=st.sets(ids))
    def begin(self, limit, members):
        self.pool, self.limit, self.now = PoolState(limit), limit, 100.0
        self.known: dict[str, Known] = {}
        self.stored: dict[str, tuple[Account, Condition]] = {}
        self.leases: list = []
        self.removed: dict[str, Known] = {}
        self.numbers = itertools.count()
        for id in sorted(members):
            self.add(id, can_renew=True, lasts=40.0)

    # what a person does

    @rule(id=ids, can_renew=st.booleans(), lasts=spans)
    def add(self, id, can_renew, lasts):
        made = (renewable if can_renew else account)(id, expires=self.now + lasts)
        assert self.pool.add(made, GOOD, self.now) == (id not in self.known)
        if id not in self.known:
            before = self.removed.pop(id, None)
            self.known[id] = Known(made, (0, next(self.numbers)))
            self.known[id].renewing = before.renewing if before else None
            self.stored[id] = made, GOOD

    @rule(id=ids)
    def remove(self, id):
        gone = self.known.pop(id, None)
        assert self.pool.remove(id) == (gone is not None)
        if gone is not None:
            self.removed[id] = gone
            self.stored.pop(id)

    @rule(id=ids)
    def reset(self, id):
        self.happened(id, Reset())

    # what upstream does

    @rule(id=ids, slugs=st.sets(st.sampled_from(SLUGS)))
    def learn(self, id, slugs):
        self.pool.learn(id, slugs)
        if id in self.known:
            self.known[id].slugs = slugs

    @rule(id=ids, seconds=spans, model=slugs_or_none)
    def limit_it(self, id, seconds, model):
        self.happened(id, Limited(self.now + seconds, model))

    @rule(id=ids, event=st.sampled_from([Refused("dead"), TokenExpired()]))
    def refuse(self, id, event):
        self.happened(id, event)

    def happened(self, id, event):
        self.pool.report(id, event, self.now)
        if id in self.known:
            self.known[id].condition = after(self.known[id].condition, event, self.now)

    @rule(seconds=st.sampled_from([-3.0, 0.0, 0.5, 5.0, 40.0]))
    def pass_time(self, seconds):
        self.now += seconds

    # turns

    @rule(asked=questions, exclude=st.frozensets(ids, max_size=2), owner=st.none() | st.none() | ids)
    def lease(self, asked, exclude, owner):
        able = {id: each for id, each in self.known.items() if each.slug(asked) and owner in {None, id}}
        usable = {id for id, each in able.items() if each.usable(asked, self.now)}
        free = [id for id in usable - exclude if self.active(id) < self.limit]
        if not free:
            error = shortage(self.pool, self.now, asked, exclude=exclude, owner=owner)
            again = min((each.usable_again(asked, self.now) for each in able.values()), default=math.inf)
            asked_of = len(self.known) if owner is None else 1
            expected = self.shortage(able, usable, exclude, owner, again, asked_of)
            if expected is Shortage.LATER and not any(each.limited(asked, self.now) for each in able.values()):
                expected = Shortage.NOT_RENEWED
            assert error.shortage is expected
            waits = error.shortage in {Shortage.LATER, Shortage.NOT_RENEWED}
            assert error.retry_after == (again - self.now if waits else None)
            return
        lease = lend(self.pool, self.now, asked, exclude=exclude, owner=owner)
        chosen = self.known[lease.account.id]
        assert lease.account.id == min(free, key=lambda id: self.known[id].rank)
        assert (lease.slug, lease.account) == (chosen.slug(asked), chosen.of)
        chosen.rank = (1, next(self.numbers))
        self.leases.append(lease)

    def active(self, id):
        return sum(lease.account.id == id for lease in self.leases)

    def shortage(self, able, usable, exclude, owner, again, asked_of):
        if owner is not None and owner not in self.known:
            return Shortage.GONE
        if not able:
            return Shortage.NO_MODEL if self.known else Shortage.EMPTY
        if usable:
            return Shortage.BUSY if usable - exclude else Shortage.TRIED
        if again < math.inf:
            return Shortage.LATER
        unknown = all(not each.slugs for each in able.values())
        return Shortage.NO_MODEL if unknown and len(able) < asked_of else Shortage.NEVER

    @precondition(lambda self: self.leases)
    @rule(
        which=st.integers(0, 100),
        event=st.sampled_from([None, Released(), Unused(), Refused("dead"), TokenExpired()])
        | st.builds(lambda seconds, model: (seconds, model), spans, slugs_or_none),
    )
    def end(self, which, event):
        lease = self.leases.pop(which % len(self.leases))
        if event is None:
            event = lease.succeeded()
        elif isinstance(event, tuple):
            event = Limited(self.now + event[0], event[1])
        self.pool.end(lease, event, self.now)
        self.pool.end(lease, Refused("ended twice"), self.now)
        holder = self.known.get(lease.account.id)
        if holder is None:
            return
        token_is_old = not lease.needs_renewal and lease.account.access_token != holder.of.access_token
        if not (isinstance(event, Refused | TokenExpired) and token_is_old):
            holder.condition = after(holder.condition, event, self.now)

    # renewals

    @rule(id=ids)
    def begin_renewal(self, id):
        holder = self.known.get(id)
        if holder is not None and (holder.renewing is not None or not holder.of.renewable):
            with pytest.raises(PoolError):
                self.pool.report(id, RenewalBegan(), self.now)
            return
        self.pool.report(id, RenewalBegan(), self.now)
        if holder is not None:
            holder.renewing = holder.of.version

    @rule(id=ids, seconds=spans, outcome=st.sampled_from([Renewed, RenewalFailed, RenewalRefused, RenewalDropped]))
    def end_renewal(self, id, seconds, outcome):
        holder = self.known.get(id) or self.removed.get(id)
        if holder is None or holder.renewing is None:
            return
        version, holder.renewing = holder.renewing, None
        made = replace(holder.of, access_token=f"{version} {self.now}", expires=self.now + seconds, version=version + 1)
        event = {
            Renewed: Renewed(made),
            RenewalFailed: RenewalFailed("timeout", self.now + seconds),
            RenewalRefused: RenewalRefused("dead"),
            RenewalDropped: RenewalDropped(),
        }[outcome]
        self.pool.report(id, event, self.now)
        if id in self.known and version == holder.of.version:
            holder.condition = after(holder.condition, event, self.now)
            if outcome is Renewed:
                self.put(id, made)

    @rule(id=ids, seconds=spans)
    def give_by_hand(self, id, seconds):
        holder = self.known.get(id)
        if holder is not None:
            version = holder.of.version + 1
            made = replace(holder.of, access_token=f"hand {version}", expires=self.now + seconds, version=version)
            self.happened(id, Supplied(made))
            self.put(id, made)

    def put(self, id, made):
        self.known[id].of = made
        self.stored[id] = made, self.stored[id][1]  # as the driver does before it tells the pool

    # what must hold at any time

    @rule()
    def store(self):
        """The dirty conditions, and nothing else, are enough to build the same pool again."""
        for id, condition in self.pool.take_dirty().items():
            self.stored[id] = self.stored[id][0], condition
        again = PoolState(self.limit)
        for of, condition in self.stored.values():
            again.add(of, condition, self.now)
        for id, holder in self.known.items():
            one, other = self.pool.condition(id), again.condition(id)
            assert replace(one, last_used=0.0, turns=0) == replace(other, last_used=0.0, turns=0)
            assert again.account(id) == self.pool.account(id)
            if holder.renewing is None:
                assert again.view(id, self.now).state is self.pool.view(id, self.now).state

    @invariant()
    def what_is_shown_is_so(self):
        if not hasattr(self, "pool"):
            return
        views = self.pool.snapshot(self.now)
        assert [view.id for view in views] == list(self.known)
        assert self.pool.counts(self.now) == {each: sum(view.state is each for view in views) for each in State}
        for view, holder in zip(views, self.known.values(), strict=True):
            renewing = holder.renewing is not None
            assert view.state is state_of(holder.of, holder.condition, renewing, self.now)
            assert view.active == self.active(view.id)
            assert self.pool.condition(view.id).cooling == holder.condition.cooling


TestPoolAgainstScan = PoolAgainstScan.TestCase
TestPoolAgainstScan.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
