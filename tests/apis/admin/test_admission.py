"""Sessions, tokens and the limit on guesses, by a clock of their own."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.apis.admin.sessions import (
    IDLE_SECONDS,
    LIFE_SECONDS,
    RENEW_SECONDS,
    AdminSessions,
    GuessLimiter,
    peer_name,
)
from shim.http.origins import is_loopback, is_loopback_name, is_same_origin

NOW = 1_800_000_000.0
ID = secrets.token_urlsafe(32)
SESSIONS = AdminSessions("key")
COOKIE = SESSIONS.begin(ID, NOW)


def session_at(now, cookie=COOKIE, sessions=SESSIONS):
    return sessions.read(cookie, now)


def test_a_session_is_read_back_in_every_process_with_the_key():
    elsewhere = AdminSessions("key")
    session = session_at(NOW + 5, sessions=elsewhere)
    assert (session.id, session.began, session.used) == (ID, NOW, NOW)
    assert elsewhere.token(session) == SESSIONS.token(session)


def test_another_key_knows_neither_session_nor_token():
    other = AdminSessions("other")
    assert session_at(NOW, sessions=other) is None
    session = session_at(NOW)
    assert not other.has_token(session, SESSIONS.token(session))


def test_a_token_is_of_one_session():
    mine, theirs = session_at(NOW), SESSIONS.read(SESSIONS.begin("another", NOW), NOW)
    assert SESSIONS.has_token(mine, SESSIONS.token(mine))
    assert not SESSIONS.has_token(mine, SESSIONS.token(theirs))
    assert not SESSIONS.has_token(mine, "")


def test_a_signature_for_one_purpose_is_none_for_another():
    session = session_at(NOW)
    forged = f"{session.began}.{session.used}.{ID}.{SESSIONS.token(session)}"
    assert session_at(NOW, forged) is None


def test_a_session_ends_when_nobody_uses_it_and_after_its_life():
    assert session_at(NOW + IDLE_SECONDS - 1) is not None
    assert session_at(NOW + IDLE_SECONDS) is None
    cookie, now = COOKIE, NOW
    while now < NOW + LIFE_SECONDS - IDLE_SECONDS / 2:
        now += IDLE_SECONDS / 2
        session = session_at(now, cookie)
        if session is None:
            break
        cookie = SESSIONS.renewed(session, now) or cookie
    assert now == NOW + LIFE_SECONDS - IDLE_SECONDS / 2
    assert session_at(NOW + LIFE_SECONDS - 1, cookie) is not None
    assert session_at(NOW + LIFE_SECONDS, cookie) is None


def test_a_cookie_is_renewed_no_more_than_once_a_minute():
    session = session_at(NOW)
    assert SESSIONS.renewed(session, NOW + RENEW_SECONDS - 1) is None
    renewed = session_at(NOW + RENEW_SECONDS, SESSIONS.renewed(session, NOW + RENEW_SECONDS))
    assert (renewed.began, renewed.used) == (NOW, NOW + RENEW_SECONDS)


def test_a_session_of_the_future_is_none():
    assert session_at(NOW - 30) is not None
    assert session_at(NOW - 3600) is None


def test_an_ended_session_is_refused_here_and_the_memory_of_it_is_bounded():
    sessions = AdminSessions("key")
    sessions.end(session_at(NOW))
    assert session_at(NOW, sessions=sessions) is None
    for number in range(3000):
        sessions.end(SESSIONS.read(SESSIONS.begin(f"id{number}", NOW), NOW))
    assert len(sessions._ended) <= 1024


@given(st.text(max_size=200))
def test_no_text_is_a_session(text):
    assert SESSIONS.read(text, NOW) is None


@given(st.integers(0, len(COOKIE) - 1), st.characters(max_codepoint=0x2FF))
def test_no_changed_cookie_is_a_session(place, letter):
    changed = COOKIE[:place] + letter + COOKIE[place + 1 :]
    assert (SESSIONS.read(changed, NOW) is not None) == (changed == COOKIE)


def fail(limiter, peer, now, times=1):
    for _ in range(times):
        assert limiter.wait(peer, now) == 0
        limiter.failed(peer, now)


def test_five_failures_are_free_then_the_wait_doubles_up_to_five_minutes():
    limiter, now, waits = GuessLimiter(), NOW, []
    fail(limiter, "a", now, times=limiter.FREE - 1)
    for _ in range(8):
        fail(limiter, "a", now)
        waits.append(limiter.wait("a", now))
        now += waits[-1]
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_peer_waits_alone_and_failures_are_forgotten():
    limiter = GuessLimiter()
    fail(limiter, "a", NOW, times=limiter.FREE)
    assert limiter.wait("a", NOW + 9.9) > 0
    assert limiter.wait("b", NOW) == 0
    later = NOW + limiter.FORGOTTEN + 1
    fail(limiter, "a", later, times=limiter.FREE - 1)
    assert limiter.wait("a", later) == 0


def test_all_together_are_limited_by_the_minute():
    limiter = GuessLimiter()
    for number in range(limiter.ALL):
        fail(limiter, f"peer {number}", NOW + number)
    assert limiter.wait("new", NOW + limiter.ALL) == 60 - limiter.ALL
    assert limiter.wait("new", NOW + 60) == 0


def test_the_limiter_remembers_a_bounded_number_of_peers():
    limiter = GuessLimiter()
    for number in range(limiter.PEERS + 500):
        limiter.failed(f"peer {number}", NOW + number)
    assert len(limiter._peers) == limiter.PEERS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 400)), max_size=120))
def test_whatever_they_do_guessers_stay_under_the_limits(steps):
    """Never more than FREE + 3 tries a peer and minute, nor ALL of all together."""
    limiter, now, tries = GuessLimiter(), NOW, []
    for peer, pause in steps:
        now += pause / 20
        if limiter.wait(peer, now) == 0:
            limiter.failed(peer, now)
            tries.append((peer, now))
    for peer, begin in tries:
        near = [when for who, when in tries if who == peer and begin <= when < begin + 60]
        assert len(near) <= limiter.FREE + 3
    assert all(sum(begin <= when < begin + 60 for _, when in tries) <= limiter.ALL for _, begin in tries)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_addresses(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "10.0.0.1", "localhost", "::ffff:10.0.0.1", "fe80::1", "127.0.0.1.evil.example"])
def test_other_addresses(host):
    assert not is_loopback(host)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5005", "127.0.0.1:5005", "[::1]:5005", "[::1]"])
def test_loopback_names(host):
    assert is_loopback_name(host)


@pytest.mark.parametrize(
    "host",
    ["", "rebind.example:5005", "localhost.evil.example", "localhost@evil.example", "127.0.0.1.nip.io", "[::1", "[x]"],
)
def test_names_that_may_be_anybodys(host):
    assert not is_loopback_name(host)


def test_ipv6_peers_are_one_by_network_and_mapped_ones_are_ipv4():
    assert peer_name("2001:db8::1") == peer_name("2001:db8::ffff:1") != peer_name("2001:db8:0:1::1")
    assert peer_name("::ffff:192.0.2.1") == peer_name("192.0.2.1") == "192.0.2.1"
    assert peer_name("somewhere") == "unknown"


@pytest.mark.parametrize(
    ("same", "headers"),
    [
        (True, {"origin": None, "site": None}),
        (True, {"origin": "http://host:5005", "site": None}),
        (True, {"origin": "https://host:5005", "site": None}),
        (True, {"origin": "https://public.example", "site": None}),
        (True, {"origin": "http://elsewhere", "site": "same-origin"}),
        (False, {"origin": "http://host:5006", "site": None}),
        (False, {"origin": "http://host", "site": None}),
        (False, {"origin": "null", "site": None}),
        (False, {"origin": "http://host:5005.evil.example", "site": None}),
        (False, {"origin": "http://host:x", "site": None}),
        (False, {"origin": "http://host:5005", "site": "cross-site"}),
        (False, {"origin": None, "site": "same-site"}),
        (False, {"origin": None, "site": "none"}),
    ],
)
def test_same_origin(same, headers):
    assert is_same_origin("host:5005", "https://public.example/x", **headers) is same


def test_the_address_bar_is_no_other_page():
    assert is_same_origin("host", "", origin=None, site="none", navigates=True)
    assert not is_same_origin("host", "", origin=None, site="cross-site", navigates=True)
