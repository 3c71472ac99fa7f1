"""States are derived, never stored; what may happen in each is a table."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.accounts.account import EVERY_MODEL, Account, Condition, Quota
from shim.accounts.states import (
    BY_TIME,
    RENEWAL,
    TRANSITIONS,
    AccountEvent,
    Adjusted,
    Limited,
    PoolError,
    Refused,
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
    TurnEvent,
    after,
    check,
    replace,
    state_of,
    united,
    usable_from,
)
from shim.accounts.views import view_of
from shim.errors import Evidence

ACCOUNT = Account("a", access_token="t", expires=1000.0)
RENEWABLE = Account("r", access_token="t", refresh_token="r", expires=1000.0)
GOOD = Condition()
NOW = 100.0


def made(kind: type[AccountEvent]) -> AccountEvent:
    fields = {"model": "m", "begun": 0.0, "until": 1.0, "reason": "why", "account": ACCOUNT, "retry_at": 1.0}
    fields |= {"evidence": Evidence(429, "slow down", "retry-after: 60")}
    return kind(**{name: fields[name] for name in kind.__struct_fields__})


# --- the table


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("kind", AccountEvent.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_event_in_every_state_is_in_the_table_or_raises(state, kind):
    if kind in TRANSITIONS[state]:
        assert TRANSITIONS[state][kind] <= set(State)
        assert TRANSITIONS[state][kind]
        check(state, made(kind))
    else:
        with pytest.raises(PoolError, match=f"{kind.__name__} can't happen to an account that is {state.value}"):
            check(state, made(kind))


def test_what_is_not_in_the_table_is_just_this():
    missing = {
        (state, kind) for state in State for kind in AccountEvent.__subclasses__() if kind not in TRANSITIONS[state]
    }
    outcomes = {Renewed, RenewalFailed, RenewalRefused, RenewalDropped}
    calm = set(State) - {State.REFRESHING}
    assert missing == {(State.REFRESHING, RenewalBegan)} | {(state, kind) for state in calm for kind in outcomes}


def test_how_a_turn_ended_may_be_told_in_every_state():
    for state in State:
        assert set(TurnEvent.__args__) <= TRANSITIONS[state].keys()


# --- states


def test_a_fresh_account_is_ready_until_its_token_expires():
    assert state_of(ACCOUNT, GOOD, False, 999.9) is State.READY
    assert state_of(ACCOUNT, GOOD, False, 1000.0) is State.EXPIRED


def test_a_cool_down_ends_exactly_at_its_time():
    cooling = after(GOOD, Limited(200.0), NOW)
    assert state_of(ACCOUNT, cooling, False, math.nextafter(200.0, 0.0)) is State.COOLING
    assert state_of(ACCOUNT, cooling, False, 200.0) is State.READY


def test_a_limit_on_one_model_leaves_the_account_ready():
    cooling = after(GOOD, Limited(200.0, "gpt-4", "cap"), NOW)
    assert state_of(ACCOUNT, cooling, False, NOW) is State.READY
    assert usable_from(ACCOUNT, cooling, False, "gpt-4", NOW) == 200.0
    assert usable_from(ACCOUNT, cooling, False, "gpt-4o", NOW) == NOW


def test_an_account_that_was_never_renewed_is_new_and_not_expired():
    never = Account("a", refresh_token="r")
    assert state_of(never, GOOD, False, NOW) is State.NEW
    assert state_of(never, after(GOOD, TokenExpired(), NOW), False, NOW) is State.NEW
    failed = after(GOOD, RenewalFailed("timeout", 3000.0), NOW)
    view = view_of(never, failed, False, 0, NOW)
    assert (view.state, view.why, view.until, view.since) == (State.NEW, "timeout", 3000.0, NOW)
    assert "expired" not in str(view_of(never, GOOD, False, 0, NOW))


def test_a_paused_account_is_paused_until_it_is_resumed_whatever_else_it_is():
    paused = replace(RENEWABLE, paused=50.0)
    for condition in (GOOD, after(GOOD, Refused("dead"), NOW), after(GOOD, Limited(500.0), NOW)):
        assert state_of(paused, condition, False, NOW) is State.PAUSED
        assert usable_from(paused, condition, False, "m", NOW) == math.inf
        assert after(condition, Adjusted(paused), NOW) is condition
    view = view_of(paused, after(GOOD, Refused("dead"), NOW), False, 0, NOW)
    assert (view.since, view.clears) == (50.0, "being resumed")
    assert "parked: dead" in view.why


# --- evidence

SAID = Evidence(429, "You've hit your limit", "retry-after: 60")


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (Limited(500.0, None, "usage_limit_reached", SAID), State.COOLING),
        (Refused("account_deactivated", SAID), State.PARKED),
        (TokenExpired(SAID), State.EXPIRED),
        (RenewalRefused("refresh_token_reused", SAID), State.PARKED),
    ],
)
def test_why_it_rests_is_shown_with_what_upstream_said_since_when_and_what_clears_it(event, state):
    view = view_of(RENEWABLE, after(GOOD, event, NOW), False, 0, NOW + 1)
    assert (view.state, view.evidence, view.since) == (state, SAID, NOW)
    assert view.clears


def test_a_model_that_rests_has_evidence_of_its_own():
    (model,) = view_of(ACCOUNT, after(GOOD, Limited(500.0, "m", "cap", SAID), NOW), False, 0, NOW).cooling
    assert (model.slug, model.since, model.evidence) == ("m", NOW, SAID)


def test_evidence_ends_with_what_it_is_evidence_of():
    limited = after(GOOD, Limited(500.0, None, "cap", SAID), NOW)
    assert after(limited, Succeeded("m", NOW + 1), NOW + 2).evidence == {}
    assert after(after(GOOD, Refused("dead", SAID), NOW), Supplied(ACCOUNT), NOW).evidence == {}
    assert after(limited, Supplied(ACCOUNT), NOW).evidence == {EVERY_MODEL: SAID}
    later = after(limited, Limited(900.0, None, "cap"), NOW + 1)
    assert later.evidence == {}, "what was said before is no evidence of the later limit"
    earlier = after(limited, Limited(300.0, None, "x", Evidence(429, "no")), NOW + 1)
    assert earlier.evidence == {EVERY_MODEL: SAID}, "the limit that counts is the one it was said of"
    quotas = (Quota("image_gen", 3),)
    assert after(replace(limited, quotas=quotas), Reset(), NOW) == Condition(quotas=quotas)


# --- usable from


def test_expired_is_usable_where_it_can_be_renewed():
    assert usable_from(ACCOUNT, GOOD, False, "m", 2000.0) == math.inf
    assert usable_from(RENEWABLE, GOOD, False, "m", 2000.0) == 2000.0


def test_a_failed_renewal_keeps_it_back_only_when_it_is_needed():
    failed = after(GOOD, RenewalFailed("timeout", 3000.0), NOW)
    assert usable_from(RENEWABLE, failed, False, "m", NOW) == NOW
    assert usable_from(RENEWABLE, failed, False, "m", 2000.0) == 3000.0
    assert usable_from(RENEWABLE, failed, True, "m", 2000.0) == 2000.0, "a renewal is under way: its outcome decides"


def test_a_token_that_ends_before_the_cool_down_does_is_no_hope():
    cooling = after(GOOD, Limited(1500.0), NOW)
    assert usable_from(ACCOUNT, cooling, False, "m", NOW) == math.inf
    assert usable_from(RENEWABLE, cooling, False, "m", NOW) == 1500.0


def test_parked_is_never_usable_even_while_it_is_renewed():
    parked = after(GOOD, Refused("deactivated"), NOW)
    assert usable_from(RENEWABLE, parked, True, "m", NOW) == math.inf


# --- what events change


def test_of_two_limits_the_later_counts_with_its_reason():
    twice = after(after(GOOD, Limited(500.0, "m", "cap"), NOW), Limited(160.0, "m", "no number given"), NOW + 1)
    assert (twice.cooling, twice.reasons, twice.since) == ({"m": 500.0}, {"m": "cap"}, {"m": NOW + 1})


def test_a_limit_that_is_over_already_changes_nothing():
    assert after(GOOD, Limited(NOW), NOW) is GOOD


def test_success_ends_the_limits_of_its_model_and_of_all():
    limited = after(after(after(GOOD, Limited(500.0), NOW), Limited(500.0, "m"), NOW), Limited(500.0, "other"), NOW)
    assert after(limited, Succeeded("m", NOW + 1), NOW + 2).cooling == {"other": 500.0}


@pytest.mark.parametrize("begun", [NOW - 1, NOW])
def test_a_turn_that_began_before_the_limit_was_learned_ends_none(begun):
    limited = after(GOOD, Limited(500.0), NOW)
    assert after(limited, Succeeded("m", begun), NOW + 2) is limited


def test_new_credentials_end_what_was_held_against_the_old_and_no_limit():
    condition = Condition()
    for event in (Limited(500.0), TokenExpired(), Refused("revoked"), RenewalFailed("timeout", 900.0)):
        condition = after(condition, event, NOW)
    for event in (Renewed(ACCOUNT), Supplied(ACCOUNT)):
        renewed = after(condition, event, NOW)
        assert renewed == after(GOOD, Limited(500.0), NOW)


def test_reset_forgets_all_but_the_uses():
    condition = Condition("dead", {"m": 500.0}, {"m": "cap"}, {"m": 1.0}, True, 900.0, last_used=50.0, turns=3)
    assert after(condition, Reset(), NOW) == Condition(last_used=50.0, turns=3)


def test_cool_downs_of_one_account_are_bounded():
    condition = after(GOOD, Limited(200.0), NOW)
    for number in range(1000):
        condition = after(condition, Limited(500.0 + number, f"m{number}"), NOW)
    assert len(condition.cooling) <= 65
    assert EVERY_MODEL in condition.cooling
    assert "m999" in condition.cooling
    assert condition.reasons.keys() == condition.since.keys() == condition.cooling.keys()


def test_reasons_are_bounded():
    for event in (Refused("x" * 5000), Limited(500.0, None, "x" * 5000), RenewalFailed("x" * 5000, 1.0)):
        condition = after(GOOD, event, NOW)
        assert all(len(reason) <= 300 for reason in [condition.parked or "", *condition.reasons.values()])


def test_two_that_are_one_have_all_limits_and_all_turns():
    one = Condition(cooling={"a": 300.0, "b": 400.0}, reasons={RENEWAL: "x", "b": "cap"}, last_used=5.0, turns=2)
    other = Condition("dead", {"a": 350.0, "*": 200.0}, {"a": "more"}, {"a": 7.0}, expired=True, last_used=9.0, turns=3)
    both = united(one, other)
    assert both.cooling == {"a": 350.0, "b": 400.0, "*": 200.0}
    assert both.reasons == {RENEWAL: "x", "a": "more", "b": "cap"}
    assert (both.parked, both.expired, both.last_used, both.turns) == (None, False, 9.0, 5)


# --- over time


times = st.sampled_from([0.0, 50.0, 100.0, 150.0, 200.0])
conditions = st.builds(
    Condition,
    parked=st.none() | st.just("dead"),
    cooling=st.dictionaries(st.sampled_from([EVERY_MODEL, "m"]), times),
    expired=st.booleans(),
    retry_at=times,
)
accounts = st.builds(
    Account,
    id=st.just("a"),
    access_token=st.none() | st.just("t"),
    refresh_token=st.none() | st.just("r"),
    expires=st.none() | times,
)


@given(accounts, conditions, st.booleans(), times, times)
def test_time_alone_leads_only_where_the_table_says(account, condition, renewing, now, later):
    before, then = sorted((now, later))
    at_first = state_of(account, condition, renewing, before)
    assert state_of(account, condition, renewing, then) in BY_TIME[at_first]


@given(accounts, conditions, st.booleans(), times)
def test_usable_from_is_the_first_moment_at_which_it_is_usable(account, condition, renewing, now):
    start = usable_from(account, condition, renewing, "m", now)
    assert start >= now
    moments = sorted({now, *(moment for moment in (25.0, 75.0, 125.0, 175.0, 225.0, start) if moment >= now)})
    for moment in moments:
        if moment < start:
            assert usable_from(account, condition, renewing, "m", moment) > moment
    if start < math.inf:
        assert usable_from(account, condition, renewing, "m", start) == start


@given(accounts, conditions, st.booleans(), times)
def test_what_is_shown_agrees_with_the_state_and_has_no_secret(account, condition, renewing, now):
    view = view_of(account, condition, renewing, 2, now)
    assert view.state is state_of(account, condition, renewing, now)
    assert view.until is None or view.until > now
    assert all(cooling.until > now and cooling.slug != EVERY_MODEL for cooling in view.cooling)
    assert (view.state is State.PARKED) <= (view.why == "dead")
    assert not {field for field in view.__struct_fields__ if "token" in field}
