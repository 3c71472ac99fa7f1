"""The book of calls, on both stores of notes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from shim.notes import open_notes
from shim.usage import CallBook, CallRecord, add_up
from shim.usage import book as module

DAY = 86400.0
NOON = 20_000 * DAY + DAY / 2


class Time:
    now = NOON


def call(place: int = 0, *, at: float = NOON, **facts: Any) -> CallRecord:
    return CallRecord(f"req_{place}", at, facts.pop("api", "chat"), facts.pop("status", "stop"), 12.0, **facts)


@pytest.fixture
async def books(store_place: dict[str, Any]) -> AsyncIterator[tuple[CallBook, CallBook]]:
    """Two workers' books on one store, and no background."""
    async with AsyncExitStack() as stack:
        notes = [await stack.enter_async_context(open_notes(**store_place)) for _ in range(2)]
        one, two = (CallBook(each, clock=lambda: Time.now) for each in notes)
        yield one, two


async def test_sums_of_all_workers_add_up(books: tuple[CallBook, CallBook]) -> None:
    one, two = books
    one.note(call(key="ci", model="gpt-5", account="a", tokens=(10, 5), first_ms=100.0, stream=True))
    one.note(call(key="ci", model="gpt-5", account="a", tokens=(1, 1), first_ms=50.0, stream=True))
    two.note(call(key="ci", model="auto", account="b", status="rate_limit_exceeded", failed=True))
    two.note(call(key="me", api="messages"))
    await two.write()
    rows = await one.usage(1)
    (ci, me) = add_up(rows, ["key"])
    assert (ci.key, ci.requests, ci.errors, ci.prompt_tokens, ci.completion_tokens) == ("ci", 3, 1, 11, 6)
    assert (ci.streams, ci.first_ms) == (2, 150.0)
    assert (me.key, me.requests, me.errors) == ("me", 1, 0)
    assert [(row.api, row.model) for row in add_up(rows, ["api", "model"])] == [
        ("chat", "auto"),
        ("chat", "gpt-5"),
        ("messages", ""),
    ]


async def test_rows_of_a_day_share_their_strings(books: tuple[CallBook, CallBook]) -> None:
    one, _ = books
    for account in "abcd":
        # Each call brings strings of its own.
        one.note(call(account=account, key="-".join(("env", "1")), model="-".join(("gpt", "5"))))
    rows = one._sums.values()
    assert [len({id(getattr(row, name)) for row in rows}) for name in ("day", "key", "model")] == [1, 1, 1]


async def test_a_day_that_ends_is_written_as_it_was(books: tuple[CallBook, CallBook], monkeypatch: Any) -> None:
    one, _ = books
    one.note(call(at=NOON - DAY))
    one.note(call(at=NOON))
    one.note(call(at=NOON))
    rows = add_up(await one.usage(2), ["day"])
    assert [(row.day, row.requests) for row in rows] == [("2024-10-03", 1), ("2024-10-04", 2)]
    assert [row.requests for row in add_up(await one.usage(1), ["day"])] == [2]


async def test_the_last_calls_the_newest_first(books: tuple[CallBook, CallBook]) -> None:
    one, two = books
    for number in range(450):
        one.note(call(number, at=NOON + number, key="ci" if number % 2 else "me"))
    two.note(call(999, at=NOON + 449.5, status="upstream_cut", failed=True, code=502, key="ci"))
    await two.write()
    newest = await one.calls(3, {})
    assert [record.id for record in newest] == ["req_999", "req_449", "req_448"]
    assert [record.id for record in await one.calls(2, {"key": "me"})] == ["req_448", "req_446"]
    assert [record.id for record in await one.calls(5, {}, failed=True)] == ["req_999"]
    assert [record.id for record in await one.calls(5, {"code": "502"})] == ["req_999"]
    assert len(await one.calls(1000, {})) == 451
    assert await one.calls(5, {"id": "req_nobody"}) == []


async def test_pages_of_calls_leave_none_out_and_show_none_twice(books: tuple[CallBook, CallBook]) -> None:
    one, two = books
    for number in range(700):  # of two workers at once, and some that end at the same moment
        (one, two)[number % 2].note(call(number, at=NOON + number // 3 * 0.5, model="GPT-5" if number % 5 else "auto"))
        if number % 90 == 0:
            await one.write()
    await two.write()
    seen: list[CallRecord] = []
    while page := await one.calls(64, {}, before=seen[-1].place if seen else None):
        seen += page
    assert len(seen) == 700
    assert [record.place for record in seen] == sorted((record.place for record in seen), reverse=True)
    assert len(await one.calls(1000, {}, text="gpt")) == 560
    assert len(await one.calls(99, {}, text="REQ_69")) == 11  # in any case: 69 and 690 to 699


async def test_what_clients_make_up_does_not_fill_the_store(
    books: tuple[CallBook, CallBook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ROWS", 10)
    one, _ = books
    for number in range(1000):
        one.note(call(number, model=f"made-up-{number}"))
    rows = await one.usage(1)
    assert len(rows) == 11
    assert sum(row.requests for row in rows) == 1000
    assert max(rows, key=lambda row: row.requests).model == "other"


async def test_what_can_not_be_written_is_tried_again(
    books: tuple[CallBook, CallBook], monkeypatch: pytest.MonkeyPatch
) -> None:
    from shim.notes import NotesError

    one, _ = books
    one.note(call(1))

    async def away(*_: object) -> None:
        raise NotesError("away")

    with monkeypatch.context() as patch:
        patch.setattr(one._sums_shelf, "put", away)
        patch.setattr(one._calls_shelf, "put", away)
        for _ in range(2):
            with pytest.raises(NotesError):
                await one.write()
    assert [row.requests for row in await one.usage(1)] == [1]
    assert [record.id for record in await one.calls(5, {})] == ["req_1"]
