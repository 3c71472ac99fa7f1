"""Every row of protocol.md 9.1 on demand, at the sentinel and at the turn."""

import pytest

from shim.standin.failures import FAILURES, HTML, JSON, PlannedFailure

BLOCK_MARKS = ("cf-please-wait", "cf-spinner-please-wait", "Just a moment...", "challenge-platform")


def check(answer, failure):
    assert answer.status_code == failure.status
    assert answer.headers["content-type"].partition(";")[0] == failure.media_type
    if failure.media_type != JSON:
        assert answer.text == failure.detail
    elif isinstance(failure.detail, str):
        assert answer.json()["detail"].startswith(failure.detail.partition("<uuid>")[0])
    else:
        assert answer.json() == {"detail": failure.detail}


async def test_every_row_at_the_sentinel_and_at_the_turn(served):
    client = served.client("alice")
    for name, failure in FAILURES.items():
        await served.account(name="alice", failures=[{"where": "sentinel", "failure": name}])
        check(await client.post("/sentinel/chat-requirements"), failure)
        await served.account(name="alice", failures=[{"where": "turn", "failure": name}])
        check(await client.turn(), failure)
        assert (await client.turn()).status_code == 200


async def test_every_row_by_directive(served):
    client = served.client("alice")
    for name, failure in FAILURES.items():
        check(await client.turn(f"Please [[failure={name}]]"), failure)


async def test_block_page(served):
    answer = await served.client().turn("[[html=403]]")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert all(mark in answer.text for mark in BLOCK_MARKS)


async def test_by_status(served):
    for status in sorted({failure.status for failure in FAILURES.values()} | {418}):
        assert (await served.client().turn(f"[[status={status}]]")).status_code == status


async def test_clears_in(served):
    detail = (await served.client().turn("[[status=429 clears_in=5]]")).json()["detail"]
    assert detail == {
        "clears_in": 5,
        "code": "model_cap_exceeded",
        "message": "You have sent too many messages to the model. Please try again later.",
    }


async def test_times_and_order_of_plans(served):
    client = served.client("alice")
    await served.account(
        name="alice",
        failures=[{"status": 500, "times": 2}, {"status": 429, "clears_in": 7}, {"status": 503, "html": True}],
    )
    answers = [await client.turn() for _ in range(5)]
    assert [answer.status_code for answer in answers] == [500, 500, 429, 503, 200]
    assert answers[2].json()["detail"]["clears_in"] == 7
    assert answers[3].headers["content-type"].startswith(HTML)


async def test_a_plan_for_ever_and_a_detail_of_ones_own(served):
    client = served.client("alice")
    await served.account(name="alice", failures=[{"status": 400, "detail": {"code": "odd"}, "times": -1}])
    for _ in range(3):
        answer = await client.turn()
        assert (answer.status_code, answer.json()) == (400, {"detail": {"code": "odd"}})


async def test_failures_belong_to_one_account(served):
    await served.account(name="alice", failures=[{"status": 500, "times": -1}])
    assert (await served.client("alice").turn()).status_code == 500
    assert (await served.client("bob").turn()).status_code == 200


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="unknown failure 'nope'"):
        PlannedFailure(failure="nope")


async def test_unknown_paths_and_methods_have_the_envelope(served):
    answer = await served.http.get("/backend-api/nothing/here")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    answer = await served.http.delete("/backend-api/conversation")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
