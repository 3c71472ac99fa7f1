"""Several origins or proxies: stable, healthy ones first, back after a rest."""

from collections import Counter

from shim.transport.failover import FailoverList

URLS = ("http://a", "http://b/", "http://c")


def test_an_identity_keeps_its_url_and_urls_share_the_identities():
    urls = FailoverList(URLS)
    picks = {f"id-{number}": urls.pick(f"id-{number}", 0.0) for number in range(300)}
    assert all(urls.pick(name, 99.0) == url for name, url in picks.items())
    assert set(Counter(picks.values())) == {"http://a", "http://b", "http://c"}
    assert min(Counter(picks.values()).values()) > 60


def test_a_failed_url_is_passed_over_and_only_its_own_identities_move():
    urls = FailoverList(URLS)
    before = {f"id-{number}": urls.pick(f"id-{number}", 0.0) for number in range(100)}
    urls.failed("http://a", 0.0)
    for name, url in before.items():
        now = urls.pick(name, 1.0)
        assert now == url if url != "http://a" else now != "http://a"
    assert {name: urls.pick(name, 31.0) for name in before} == before


def test_rests_grow_in_a_row_and_end_with_a_success():
    urls = FailoverList(("http://a", "http://b"))
    name = next(f"id-{number}" for number in range(99) if urls.pick(f"id-{number}", 0.0) == "http://a")
    urls.failed("http://a", 0.0)
    assert urls.pick(name, 29.0) == "http://b"
    assert urls.pick(name, 30.0) == "http://a"
    urls.failed("http://a", 30.0)
    assert urls.pick(name, 80.0) == "http://b", "the second rest is twice as long"
    urls.worked("http://a")
    assert urls.pick(name, 80.0) == "http://a"
    urls.failed("http://a", 100.0)
    assert urls.pick(name, 130.0) == "http://a", "and the next one is short again"


def test_where_all_are_resting_one_is_tried_all_the_same():
    urls = FailoverList(("http://a",))
    urls.failed("http://a", 0.0)
    assert urls.pick("x", 1.0) == "http://a"


def test_of_no_urls_there_is_none():
    assert FailoverList(()).pick("x", 0.0) is None


def test_one_that_was_away_for_a_night_still_rests_five_minutes_at_most():
    urls = FailoverList(("http://a", "http://b"))
    name = next(f"id-{number}" for number in range(99) if urls.pick(f"id-{number}", 0.0) == "http://a")
    for _ in range(3000):
        urls.failed("http://a", 0.0)
    assert urls.pick(name, 299.0) == "http://b"
    assert urls.pick(name, 301.0) == "http://a"
