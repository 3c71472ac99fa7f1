"""Exchanges: which accounts are tried and when no more, how choices share a stream, that everything is let go of."""

import asyncio
import json
import sys
from typing import Any

import pytest

from shim.apis.backend.relay import Client, Relay, SaidNoError
from shim.apis.backend.table import BackendRequest, row_for
from shim.apis.chat import ChatApi
from shim.errors import GatewayError, Sent
from shim.exchange import Exchange
from shim.exchange.choice import Choice
from shim.exchange.next_account import Attempted
from shim.protocol.events import Failed, FileRef, Finished, Picture
from shim.standin import make_access_token
from tests.upstream_says import DONE, ENDED, V1, added, append, bytewise, delta, message, snapshot

ANSWER = (V1, added(), append("Hello"), append(" there."), ENDED, DONE)
TAKEN = V1 + added("Hel")


async def streamed(exchange: Exchange) -> bytes:
    """All that the client of a streamed answer is sent."""
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    sent.append(await exchange.run(send))
    exchange.close()
    return b"".join(sent)


def text(stream: bytes, choice: int = 0) -> str:
    """The content of one choice."""
    lines = [json.loads(line[6:]) for line in stream.split(b"\n\n") if line.startswith(b"data: {")]
    choices = [one for line in lines for one in line.get("choices", ()) if one["index"] == choice]
    return "".join(one["delta"].get("content") or "" for one in choices)


# --- which accounts are tried -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", ["refused", "never connected"])
async def test_a_turn_upstream_has_not_taken_is_tried_with_another_account(
    open_house: Any, said: Any, lost: Any, failure: str
) -> None:
    async with open_house() as house:
        first = said.refusal(429) if failure == "refused" else lost(sent=Sent.NEVER)
        house.upstream.will_say(first, said(*ANSWER))
        assert text(await streamed(await house.open(stream=True))) == "Hello there."
        assert len({*house.conversations}) == 2


async def test_a_turn_that_upstream_may_have_taken_is_not_sent_again(open_house: Any, lost: Any) -> None:
    async with open_house() as house:
        house.upstream.will_say(lost())  # after the call was sent, before its answer
        with pytest.raises(GatewayError):
            await house.open()
        assert len(house.conversations) == 1


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_what_is_wrong_with_the_request_is_told_at_once(open_house: Any, said: Any, status: int) -> None:
    async with open_house() as house:
        house.upstream.will_say(said.refusal(status))
        with pytest.raises(GatewayError):
            await house.open()
        assert len(house.conversations) == 1


async def test_there_are_so_many_tries_and_no_more(open_house: Any, said: Any) -> None:
    async with open_house(accounts=9, retry_times=2) as house:
        house.upstream.will_say(*(said.refusal(429) for _ in range(3)))
        with pytest.raises(GatewayError):
            await house.open()
        assert len({*house.conversations}) == 3


async def test_a_turn_that_upstream_has_taken_is_not_sent_again(open_house: Any, said: Any, lost: Any) -> None:
    async with open_house() as house:
        house.upstream.will_say(taken := said(TAKEN, lost()))
        *_, last = (await streamed(await house.open(stream=True))).rstrip().split(b"\n\n")
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_connection"
        assert len(house.conversations) == 1
        assert taken.is_over


async def test_an_answer_in_one_piece_that_fails_is_raised(open_house: Any, said: Any, lost: Any) -> None:
    async with open_house() as house:
        house.upstream.will_say(said(TAKEN, lost()))
        exchange = await house.open()
        with pytest.raises(GatewayError) as failed:
            await exchange.whole()
        exchange.close()
        assert failed.value.code == "upstream_connection"


# --- one machine for both drivers -------------------------------------------------------------------------------------


async def test_a_pushed_answer_has_the_bytes_of_a_driven_one(open_house: Any, said: Any) -> None:
    bodies = []
    for pieces in (ANSWER, bytewise(b"".join(ANSWER)), [b"".join(ANSWER)]):
        async with open_house() as house:
            house.upstream.will_say(said(*pieces))
            bodies.append(text(await streamed(await house.open(stream=True))))
    async with open_house() as house:
        exchange = await house.adopt(stream=True)
        pushed = b"".join(map(exchange.receive, (*ANSWER, b"")))
        assert exchange.ended
        exchange.close()
    assert {*bodies, text(pushed)} == {"Hello there."}


async def test_a_pushed_answer_that_breaks_off_ends_with_the_error(open_house: Any, said: Any, lost: Any) -> None:
    async with open_house() as house:
        exchange = await house.adopt(stream=True)
        assert text(exchange.receive(TAKEN)) == "Hel"
        assert b"upstream_connection" in exchange.break_off(lost())
        assert exchange.ended
        exchange.close()


# --- several choices --------------------------------------------------------------------------------------------------


async def test_each_choice_is_a_turn_of_its_own(open_house: Any, said: Any) -> None:
    async with open_house() as house:
        turns = [
            said(snapshot(word), snapshot(f"{word}!", status="finished_successfully", end_turn=True), DONE)
            for word in "ab"
        ]
        house.upstream.will_say(*turns)
        stream = await streamed(await house.open(stream=True, n=2))
        assert sorted(text(stream, choice) for choice in range(2)) == ["a!", "b!"]
        assert stream.count(b"[DONE]") == 1
        assert all(turn.is_over for turn in turns)


async def test_a_choice_that_fails_ends_all_with_one_error(open_house: Any, said: Any, lost: Any) -> None:
    async with open_house() as house:
        turns = [said(TAKEN, lost()), said(TAKEN, *(append("x") for _ in range(50)), lost())]
        house.upstream.will_say(*turns)
        stream = await streamed(await house.open(stream=True, n=2))
        assert stream.count(b'"error"') == 1
        assert b"[DONE]" not in stream
        assert all(turn.is_over for turn in turns)


async def test_where_one_choice_cannot_begin_none_is_left_open(open_house: Any, said: Any) -> None:
    async with open_house(retry_times=0) as house:
        house.upstream.will_say(good := said(*ANSWER), said.refusal(422))
        with pytest.raises(GatewayError):
            await house.open(n=2)
        assert good.is_over


# --- letting go -------------------------------------------------------------------------------------------------------


async def test_closing_in_mid_answer_lets_go_of_upstream_and_of_the_account(open_house: Any, said: Any) -> None:
    async with open_house(accounts=1, account_limit=1) as house:
        house.upstream.will_say(under_way := said(TAKEN, append("lo")), said(*ANSWER))
        exchange = await house.open(stream=True)
        exchange.close()
        exchange.close()  # again does nothing
        assert under_way.closed
        assert text(await streamed(await house.open(stream=True))) == "Hello there."  # the one account is free again


async def test_an_answer_that_is_over_gives_its_connection_back(open_house: Any, said: Any) -> None:
    async with open_house() as house:
        house.upstream.will_say(answer := said(*ANSWER))
        await streamed(await house.open(stream=True))
        assert answer.released
        assert not answer.closed


# --- a second try at what a client asked for --------------------------------------------------------------------------


async def test_an_answer_that_is_no_json_is_asked_for_once_more(open_house: Any, said: Any) -> None:
    def whole(words: str) -> Any:
        return said(snapshot(words, status="finished_successfully", end_turn=True), DONE)

    async with open_house() as house:
        house.upstream.will_say(first := whole("no JSON at all"), whole('{"a": 1}'))
        exchange = await house.open(response_format={"type": "json_object"})
        (choice,) = json.loads(await exchange.whole())["choices"]
        exchange.close()
        assert json.loads(choice["message"]["content"]) == {"a": 1}
        assert first.is_over
        assert len(house.conversations) == 2


async def test_nothing_follows_a_picture_that_is_too_large_as_data(open_house: Any, said: Any) -> None:
    async with open_house(max_answer_bytes=10) as house:
        house.upstream.will_say(said(*ANSWER))
        exchange = await house.open(stream=True)
        choice = Choice(exchange.choices[0].turn, lambda *_: "link", max_bytes=10, inline=True)
        exchange.close()
        assert choice.take([Picture(FileRef(file_id="file-1")), Finished("stop")]) == []
        *_, last = choice.fetched("data:image/png;base64," + "x" * 100)
        assert isinstance(last, Failed)
        assert choice.ended


# --- how long an answer may be ----------------------------------------------------------------------------------------

PIECE = append("0123456789" * 100)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"response_format": {"type": "json_object"}},  # held until it is whole
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
    ],
)
async def test_an_answer_that_never_ends_fails_at_its_limit(
    open_house: Any, said: Any, stream: bool, more: Any
) -> None:
    async with open_house(max_answer_bytes=5000) as house:
        first = append('{"a": "' if "response_format" in more else "Well: ")
        house.upstream.will_say(endless := said(V1, added(), first, *[PIECE] * 1000))
        exchange = await house.open(stream=stream, **more)
        if stream:
            sent = await streamed(exchange)
            assert 4000 < len(text(sent)) < 7000
            *_, last = sent.rstrip().split(b"\n\n")
            assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_too_large"
        else:
            with pytest.raises(GatewayError, match="MAX_ANSWER_BYTES"):
                await exchange.whole()
            exchange.close()
        assert endless.closed


async def test_an_answer_as_long_as_it_may_be_is_whole(open_house: Any, said: Any) -> None:
    async with open_house(max_answer_bytes=5000) as house:
        house.upstream.will_say(said(V1, added(), *[PIECE] * 5, ENDED, DONE))
        exchange = await house.open()
        assert json.loads(await exchange.whole())["choices"][0]["message"]["content"] == "0123456789" * 500
        exchange.close()


# --- an end without an end --------------------------------------------------------------------------------------------


class Hanging:
    """An answer whose stream stays open behind its end, silent or with pings."""

    def __init__(self, said: Any, *, pings: bool) -> None:
        self._said, self._pings = said, pings
        self.status, self.headers = said.status, said.headers

    async def chunk(self) -> bytes:
        piece: bytes = await self._said.chunk()
        if not piece:
            await asyncio.sleep(0.02 if self._pings else 60)
        return piece or b"event: ping\ndata: 1\n\n"

    def close(self) -> None:
        self._said.close()

    def release(self, then: Any) -> None:
        self._said.release(then)


@pytest.mark.parametrize("pings", [False, True])
async def test_an_upstream_that_hangs_behind_the_end_of_its_answer_is_not_waited_for(
    open_house: Any, said: Any, monkeypatch: Any, pings: bool
) -> None:
    monkeypatch.setattr("shim.exchange.turns._AFTER_END_SECONDS", 0.1)
    async with open_house() as house:
        house.upstream.will_say(Hanging(answer := said(*ANSWER[:-1]), pings=pings))
        async with asyncio.timeout(5):
            sent = await streamed(await house.open(stream=True))
        assert text(sent) == "Hello there."
        assert sent.endswith(b"data: [DONE]\n\n")
        assert answer.closed


async def test_more_text_behind_an_end_is_waited_for(open_house: Any, said: Any, monkeypatch: Any) -> None:
    # Far apart, for a busy machine, and yet longer all together than one moment.
    monkeypatch.setattr("shim.exchange.turns._AFTER_END_SECONDS", 1.0)

    class Slow(Hanging):
        async def chunk(self) -> bytes:
            await asyncio.sleep(0.3)
            piece: bytes = await self._said.chunk()
            return piece

    async with open_house() as house:
        more = [added(str(number), id=f"a{number + 2}", c=number + 2, end_turn=True) for number in range(3)]
        house.upstream.will_say(Slow(said(V1, added("Hi", end_turn=True), *more, DONE), pings=False))
        assert text(await streamed(await house.open(stream=True))).endswith("2")


async def test_the_last_of_20000_pieces_costs_no_more_than_the_first(open_house: Any, said: Any) -> None:
    """In calls of functions, Python's and C's, which unlike time are the same on every machine."""
    calls = 0

    def count(_frame: object, event: str, _what: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    async with open_house() as house:
        house.upstream.will_say(said(V1 + added("Hel")))
        exchange = await house.open(stream=True)
        exchange.receive(append("lo"))
        costs = []
        for _ in range(20_000):
            calls = 0
            sys.setprofile(count)
            try:
                exchange.receive(delta(" word"))
            finally:
                sys.setprofile(None)
            costs.append(calls)
        exchange.close()
    # What happens once in a while (tokens are counted on the way, say) is spread over a thousand pieces.
    assert sum(costs[-1000:]) <= 1.1 * sum(costs[1000:2000])


async def test_an_answer_in_one_piece_is_written_once_and_nothing_on_the_way(
    open_house: Any, said: Any, monkeypatch: Any
) -> None:
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    def write(*_: object) -> None:
        raise AssertionError("a chunk is written that nobody reads")

    monkeypatch.setattr(ChatApi, "stream", write)
    async with open_house() as house:
        house.upstream.will_say(said(*ANSWER))
        exchange = await house.open(stream=False)
        assert await exchange.run(send) == b""
        (choice,) = json.loads(await exchange.whole())["choices"]
    assert choice["message"]["content"] == "Hello there."
    assert not sent


# --- an upstream that shows a page ------------------------------------------------------------------------------------

PAGE = b"<html><title>Just a moment...</title></html>"


@pytest.fixture
def hasty(monkeypatch: Any) -> None:
    monkeypatch.setattr("shim.accounts.outcomes._EDGE_SECONDS", 0.01)


@pytest.mark.usefixtures("hasty")
async def test_an_edge_that_says_wait_is_asked_once_more_by_the_same_account(open_house: Any, said: Any) -> None:
    async with open_house(accounts=3) as house:
        house.upstream.will_say(said(PAGE, status=403, content_type="text/html"), said(*ANSWER))
        assert text(await streamed(await house.open(stream=True))) == "Hello there."
        first, second = house.conversations
        assert first == second
        states = [view.state.value for view in house.gateway.leases.pool.page()]
        assert states == ["ready"] * 3


@pytest.mark.usefixtures("hasty")
async def test_a_page_for_every_account_is_told_as_what_it_is(open_house: Any, said: Any) -> None:
    async with open_house(accounts=2) as house:
        house.upstream.will_say(*(said(PAGE, status=403, content_type="text/html") for _ in range(3)))
        with pytest.raises(GatewayError) as caught:
            await house.open()
        assert (caught.value.http_status, caught.value.code) == (403, "cf-please-wait")
        assert len(house.conversations) == 3  # the first account twice


async def test_a_page_is_no_reason_to_ask_again_where_there_are_no_tries(open_house: Any, said: Any) -> None:
    async with open_house(accounts=1, retry_times=0) as house:
        house.upstream.will_say(said(PAGE, status=403, content_type="text/html"))
        with pytest.raises(GatewayError):
            await house.open()
        assert len(house.conversations) == 1


async def test_a_403_of_every_account_is_told_with_its_reason(open_house: Any, said: Any) -> None:
    async with open_house(accounts=2) as house:
        house.upstream.will_say(*(said.refusal(403, "Your workspace forbids this") for _ in range(2)))
        with pytest.raises(GatewayError, match="Your workspace forbids this") as caught:
            await house.open()
        assert caught.value.http_status == 403
        assert len({*house.conversations}) == 2


async def test_an_answer_that_is_cut_off_lets_go_of_upstream_and_of_the_account(open_house: Any, said: Any) -> None:
    async with open_house(accounts=1, account_limit=1) as house:
        house.upstream.will_say(under_way := said(TAKEN, append("lo")), said(*ANSWER))
        exchange = await house.open(stream=True)
        assert b"stops" in exchange.cut_off(GatewayError("The gateway stops"))
        exchange.close()
        assert under_way.closed
        assert text(await streamed(await house.open(stream=True))) == "Hello there."  # the one account is free again


async def test_a_pushed_answer_that_cannot_be_repaired_gives_its_account_back(open_house: Any, said: Any) -> None:
    async with open_house(accounts=1, account_limit=1) as house:
        exchange = await house.adopt(stream=True, response_format={"type": "json_object"})
        pushed = (snapshot("no JSON at all", status="finished_successfully", end_turn=True), DONE, b"")
        assert b'"error"' in b"".join(map(exchange.receive, pushed))
        exchange.close()
        house.upstream.will_say(said(*ANSWER))
        assert text(await streamed(await house.open(stream=True))) == "Hello there."


async def test_a_stranger_who_leaves_while_upstream_is_asked_is_forgotten(open_house: Any, monkeypatch: Any) -> None:
    async with open_house() as house:
        leases, asked = house.gateway.leases, asyncio.Event()

        async def never(*_: object) -> None:
            asked.set()
            await asyncio.sleep(60)

        monkeypatch.setattr(leases, "fetch", never)
        stranger = house.gateway.caller(f"Bearer {make_access_token('a stranger', 'plus')}")
        meeting = asyncio.ensure_future(leases.meet(stranger))
        async with asyncio.timeout(5):
            await asked.wait()
        meeting.cancel()
        await asyncio.wait({meeting})
        assert len(leases.guests) == 0


KEPT = {"temporary": False, "memory": False}
PATCHED = "/backend-api/conversation/c1"


@pytest.mark.parametrize("named_late", [False, True])
async def test_a_chat_that_is_to_be_forgotten_is_told_of_as_soon_as_it_has_a_name(
    open_house: Any, said: Any, named_late: bool
) -> None:
    unnamed = delta({"message": message("Hel"), "error": None}, p="", o="add", c=0)
    pieces = (V1, unnamed if named_late else added("Hel"), added("Hello", c=1), append(" there"), append(" again"))
    told: list[bool] = []
    async with open_house() as house:
        house.upstream.will_say(said(*pieces, ENDED, DONE), said(b"{}", content_type="application/json"))
        exchange = await house.open(stream=True, chatgpt=KEPT)

        async def send(_data: bytes) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            told.append(PATCHED in [path for path, _ in house.upstream.asked])

        await exchange.run(send)
        exchange.close()
        await house.gateway.turns.settled()
        assert [path for path, _ in house.upstream.asked].count(PATCHED) == 1
        assert told[-1], "before the answer's end"


async def test_a_pushed_chat_that_is_to_be_forgotten_is_told_of_at_its_end(open_house: Any, said: Any) -> None:
    async with open_house() as house:
        house.upstream.will_say(said(b"{}", content_type="application/json"))
        exchange = await house.adopt(stream=True, chatgpt=KEPT)
        for piece in (*ANSWER, b""):
            exchange.receive(piece)
        exchange.close()
        await house.gateway.turns.settled()
        assert [path for path, _ in house.upstream.asked] == [PATCHED]


def relayed(house: Any, attempted: Attempted) -> Any:
    """A turn of the web backend's own API, which the gateway passes on."""
    body = json.dumps(
        {
            "action": "next",
            "model": "auto",
            "messages": [{"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Hi"]}}],
        }
    ).encode()
    row = row_for("POST", "conversation")
    assert row is not None
    client = Client(house.gateway.caller(f"Bearer {house.key}"), "device", "http://gateway.test")
    return Relay(house.gateway).open(
        BackendRequest(row, "conversation", "", {"content-type": "application/json"}, body), client, attempted
    )


@pytest.mark.usefixtures("hasty")
async def test_a_relayed_turn_is_tried_as_every_other(open_house: Any, said: Any) -> None:
    """An edge that says wait is asked once more by the same account."""
    async with open_house(accounts=3) as house:
        house.upstream.will_say(said(PAGE, status=403, content_type="text/html"), said(*ANSWER))
        attempted = Attempted()
        relaying = await relayed(house, attempted)
        body = b"".join([piece async for piece in relaying.pieces()])
        assert b'"v":"Hello"' in body.replace(b" ", b"")
        assert body.endswith(DONE)
        relaying.close()
        first, second = house.conversations
        assert first == second
        assert attempted.tries == 2
        assert [view.state.value for view in house.gateway.leases.pool.page()] == ["ready"] * 3


async def test_the_last_no_to_a_relayed_turn_is_passed_on_whatever_was_tried_before(open_house: Any, said: Any) -> None:
    async with open_house(accounts=2) as house:
        house.upstream.will_say(*(said.refusal(403, "Your workspace forbids this") for _ in range(2)))
        with pytest.raises(SaidNoError) as caught:
            await relayed(house, Attempted())
        assert json.loads(caught.value.reply.body) == {"detail": "Your workspace forbids this"}
        assert len({*house.conversations}) == 2
