"""Several origins or proxies: stable, healthy ones first, back after a rest."""

from collections import Counter

from shim.transport.failover import FailoverList

URLS = ("http://a", "http://b/", "http://c")


def test_an_identity_keeps_its_way_and_ways_share_the_identities():
    ways = FailoverList(URLS)
    picks = {f"id-{number}": ways.pick(f"id-{number}", 0.0) for number in range(300)}
    assert all(ways.pick(name, 99.0) == url for name, url in picks.items())
    assert set(Counter(picks.values())) == {"http://a", "http://b", "http://c"}
    assert min(Counter(picks.values()).values()) > 60


def test_a_failed_way_is_passed_over_and_only_its_own_identities_move():
    ways = FailoverList(URLS)
    before = {f"id-{number}": ways.pick(f"id-{number}", 0.0) for number in range(100)}
    ways.failed("http://a", 0.0)
    for name, url in before.items():
        now = ways.pick(name, 1.0)
        assert now == url if url != "http://a" else now != "http://a"
    assert ways.resting(1.0) == 1
    assert {name: ways.pick(name, 31.0) for name in before} == before


def test_rests_grow_in_a_row_and_end_with_a_success():
    ways = FailoverList(("http://a", "http://b"))
    ways.failed("http://a", 0.0)
    ways.failed("http://a", 30.0)
    assert ways.resting(80.0) == 1
    ways.worked("http://a")
    assert ways.resting(80.0) == 0
    ways.failed("http://a", 100.0)
    assert ways.resting(131.0) == 0


def test_where_all_are_resting_one_is_tried_all_the_same():
    ways = FailoverList(("http://a",))
    ways.failed("http://a", 0.0)
    assert ways.pick("x", 1.0) == "http://a"


def test_no_ways_is_no_way():
    assert FailoverList(()).pick("x", 0.0) is None
