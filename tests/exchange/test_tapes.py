"""Tapes: what is recorded when an operator asks for it, and what is not."""

import asyncio
import time
from typing import Any

import pytest

from shim.cassettes.recording import CapturedCall
from shim.cassettes.taping import MAX_TAPE_BYTES, Tape, TapedTransport, is_taping
from shim.errors import UpstreamError
from shim.exchange.tapes import RecordingOrder, Tapes
from shim.notes import NotesError, open_notes
from shim.protocol.commands import HttpRequest
from shim.transport import ConnectionKey
from shim.usage import CallRecord

ANSWER = b'{"models": []}'
REQUEST = HttpRequest("GET", "https://upstream.test/backend-api/models", {"authorization": "Bearer secret-token"})


class Answering:
    """An upstream that always says the same; `breaks`: and then breaks off."""

    def __init__(self, *, breaks: bool = False) -> None:
        self.status, self.headers = 200, {"content-type": "application/json"}
        self._pieces = [ANSWER, b""]
        self._breaks = breaks

    async def send(self, _request: HttpRequest, _connection: ConnectionKey) -> "Answering":
        return Answering(breaks=self._breaks)

    async def chunk(self) -> bytes:
        piece = self._pieces.pop(0)
        if not piece and self._breaks:
            raise UpstreamError("broken", code="upstream_connection")
        return piece

    def close(self) -> None:
        """Nothing to do."""

    def release(self, then: Any) -> None:
        then()


def record(id: str = "req_1", **facts: Any) -> CallRecord:
    return CallRecord(id, 0.0, facts.pop("api", "chat"), "stop", 1.0, **facts)


class Time:
    now = 1000.0


@pytest.fixture
async def tapes(tmp_path):
    async with open_notes(data_dir=tmp_path) as notes:
        made = Tapes(notes, clock=lambda: Time.now, new_id=iter("abcdefghij").__next__)
        yield made
        await made.close()


async def call(tapes: Tapes, told: CallRecord, transport: Any = None) -> bool:
    """One call upstream as a client's call makes it, in a context of its own; whether it was taped."""

    async def run() -> bool:
        tape = await tapes.begin(told.key, told.api)
        response = await TapedTransport(transport or Answering()).send(REQUEST, ConnectionKey("me"))
        taped = is_taping()
        try:
            while await response.chunk():
                pass
        except UpstreamError:
            response.close()
        if tape is not None:
            tapes.end(tape, told)
        return taped

    return await asyncio.create_task(run())


async def settled(tapes: Tapes) -> None:
    await tapes.close()


async def test_only_what_was_ordered_and_only_so_often(tapes: Tapes) -> None:
    assert await call(tapes, record(key="ci")) is False
    order = await tapes.order(RecordingOrder("", Time.now + 60, 2, key="ci", account="one"))
    assert await call(tapes, record("req_2", key="me", account="one")) is False
    assert await call(tapes, record("req_3", key="ci", account="two")) is True  # by whom is known at the end
    for number in range(4, 7):
        await call(tapes, record(f"req_{number}", key="ci", account="one"))
        await settled(tapes)
    assert [taken.call.id for taken in await tapes.taken(order.id)] == ["req_4", "req_5"]
    assert await tapes.cassette(order.id, "req_6") is None
    cassette = await tapes.cassette(order.id, "req_4")
    assert cassette is not None
    assert b"secret-token" not in cassette
    assert b"models" in cassette
    assert await call(tapes, record("req_8", key="ci", account="one")) is False  # there is nothing left to record


async def test_an_order_ends_by_time(tapes: Tapes, monkeypatch: pytest.MonkeyPatch) -> None:
    order = await tapes.order(RecordingOrder("", Time.now + 60))
    monkeypatch.setattr(Time, "now", Time.now + 61)
    assert await call(tapes, record()) is False
    assert [one.id for one in await tapes.orders()] == [order.id]
    assert await tapes.forget(order.id) is True
    assert await tapes.forget(order.id) is False


async def test_what_can_not_be_kept_uses_nothing_up_and_is_not_quoted(
    tapes: Tapes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    order = await tapes.order(RecordingOrder("", Time.now + 60))

    def broken(_tape: Tape) -> bytes:
        raise ValueError("secret-token")

    with monkeypatch.context() as patch:
        patch.setattr(Tape, "cassette", broken)
        await call(tapes, record("req_1"))
        await settled(tapes)
    with monkeypatch.context() as patch:
        patch.setattr(tapes._cassettes, "_largest", 10)
        await call(tapes, record("req_2"))
        await settled(tapes)
    assert await tapes.taken(order.id) == []
    assert "a recording could not be made: ValueError" in caplog.text
    assert "a recording was not kept" in caplog.text
    assert "secret-token" not in caplog.text
    await call(tapes, record("req_3"))
    await settled(tapes)
    assert [taken.call.id for taken in await tapes.taken(order.id)] == ["req_3"]


async def test_a_connection_that_broke_is_one_in_the_cassette(tapes: Tapes) -> None:
    order = await tapes.order(RecordingOrder("", Time.now + 60, failed=True))
    await call(tapes, record("req_1"))
    await call(tapes, record("req_2", failed=True), Answering(breaks=True))
    await settled(tapes)
    assert [taken.call.id for taken in await tapes.taken(order.id)] == ["req_2"]
    assert b'"cut": true' in (await tapes.cassette(order.id, "req_2") or b"")


async def test_calls_at_once_do_not_hear_each_other(tapes: Tapes) -> None:
    order = await tapes.order(RecordingOrder("", Time.now + 60, 10, key="ci"))
    await asyncio.gather(*(call(tapes, record(f"req_{place}", key="ci" if place < 3 else "me")) for place in range(20)))
    await settled(tapes)
    assert [taken.interactions for taken in await tapes.taken(order.id)] == [1, 1, 1]


def test_a_tape_is_bounded() -> None:
    tape = Tape()
    large = CapturedCall("POST", "/x", [], bytes(MAX_TAPE_BYTES // 2 - 9), 200, [], [(0.0, b"answer")])
    for _ in range(4):
        tape.add(large)
    assert (len(tape), tape.left_out) == (2, 2)
    tape.end()
    tape.add(CapturedCall("GET", "/y", [], b"", 200, [], []))
    assert len(tape) == 2


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_store_that_is_away_holds_up_no_call(tapes: Tapes, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    asked = 0

    async def away(**_: object) -> Any:
        nonlocal asked
        asked += 1
        if how == "refuses":
            raise NotesError("away")
        await asyncio.sleep(60)

    monkeypatch.setattr(tapes._orders_shelf, "page", away)
    began = time.monotonic()
    for _ in range(100):
        assert await call(tapes, record()) is False
    assert asked == 1
    assert time.monotonic() - began < 5
