"""An account's socket, and the topics that are read on it, over a wire of the tests' own (protocol.md 5.7)."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from pow import ClientProfile
from shim.errors import UpstreamError
from shim.exchange import sockets
from shim.exchange.calls import Route
from shim.exchange.sockets import SocketResponse, Sockets
from shim.protocol.answer.follow_up import Socket
from shim.protocol.answer.topic import DONE
from shim.protocol.commands import HttpReply
from shim.protocol.upstream import Identity, Upstream
from shim.transport.base import ConnectionKey


class Wire:
    """A `FrameSocket`: what it was sent, and the frames a test has it bring."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = self.broken = False

    async def send(self, text: str) -> None:
        if self.broken:
            raise UpstreamError("gone", code="upstream_socket")
        self.sent += json.loads(text)

    async def receive(self, seconds: float) -> bytes | None:
        frame = await self.frames.get()
        if frame == b"broken":
            self.broken = True
            raise UpstreamError("gone", code="upstream_socket")
        return frame

    async def close(self) -> None:
        self.closed = True

    def tell(self, turn: str, number: int, said: bytes | None = None) -> None:
        """An item of a turn, the same whenever it has the same number; without words the turn is over."""
        here = {"turn_id": turn}
        event = "data: " + (said or b"").decode() + "\n\n"
        item = {"type": "stream-item", "encoded_item": event, "stream_item_id": f"{turn}{number}", **here}
        payload = {"type": "conversation-turn-stream", "payload": item if said else {"type": "done", **here}}
        told = {"type": "message", "topic_id": f"topic-{turn}", "offset": f"{number}-0", "payload": payload}
        self.frames.put_nowait(json.dumps([told]).encode())

    def asked(self, kind: str) -> list[Any]:
        """(topic, offset) of each command of this kind."""
        commands = (one["command"] for one in self.sent)
        return [(one.get("topic_id"), one.get("offset")) for one in commands if one["type"] == kind]


class Account:
    """One worker's sockets, whose wires are the test's; one account unless another is named."""

    def __init__(self, *failing: int) -> None:
        self.wires: list[Wire] = []
        self._failing = failing
        self.sockets = Sockets(None, None)  # type: ignore[arg-type]  only `_connected` knows them
        self.sockets._connected = self._connected  # type: ignore[method-assign]

    async def _connected(self, route: Route) -> Wire:
        await asyncio.sleep(0)
        self.wires.append(Wire())
        if len(self.wires) in self._failing:
            raise UpstreamError("no", code="upstream_socket")
        return self.wires[-1]

    async def listen(self, turn: str, account: str = "alice") -> SocketResponse:
        route = Route(None, ConnectionKey(account))  # type: ignore[arg-type]
        return await self.sockets.open(Socket("c1", f"topic-{turn}", turn), route)


async def until(holds: Callable[[], Any]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")


async def all_of(response: SocketResponse) -> bytes:
    said = b""
    while chunk := await response.chunk():
        said += chunk
    return said


async def test_the_answers_of_an_account_share_a_connection_and_take_what_is_theirs() -> None:
    account = Account()
    a, b = await asyncio.gather(account.listen("a"), account.listen("b"))
    (wire,) = account.wires
    assert wire.asked("connect") == [(None, None)]
    assert wire.asked("subscribe") == [("topic-a", "0"), ("topic-b", "0")]
    for number, turn in enumerate("abab", 1):
        wire.tell(turn, number, b"%d" % number)
        wire.tell(turn, number, b"%d" % number)  # duplicates are normal
    wire.tell("another", 5, b"foreign")
    wire.tell("another", 6)
    wire.tell("a", 7)
    assert await all_of(a) == b"data: 1\n\ndata: 3\n\n" + DONE
    await until(lambda: wire.asked("unsubscribe"))
    assert (wire.asked("unsubscribe"), wire.closed) == ([("topic-a", None)], False), "b is still told"
    wire.tell("b", 8)
    assert await all_of(b) == b"data: 2\n\ndata: 4\n\n" + DONE
    await until(lambda: wire.closed)
    assert wire.asked("unsubscribe") == [("topic-a", None), ("topic-b", None)]
    ids = [one["id"] for one in wire.sent]
    assert ids == sorted(set(ids)), "ids of a connection rise"
    assert not account.sockets._shared, "nothing is kept of an account that nobody listens to"


async def test_another_account_has_another_connection() -> None:
    account = Account()
    ours, theirs = await account.listen("a"), await account.listen("a", "bob")
    assert len(account.wires) == 2
    account.wires[0].tell("a", 1, b"ours")
    assert await ours.chunk() == b"data: ours\n\n"
    account.wires[1].tell("a", 1)
    assert await all_of(theirs) == DONE
    ours.close()
    await until(lambda: all(wire.closed for wire in account.wires))


@pytest.mark.parametrize("end", [b"broken", None])
async def test_after_a_break_or_silence_all_go_on_over_one_new_connection(end: bytes | None) -> None:
    account = Account()
    a, b = await account.listen("a"), await account.listen("b")
    account.wires[0].tell("a", 1, b"one")
    account.wires[0].tell("b", 2, b"eins")
    account.wires[0].frames.put_nowait(end)
    reading = asyncio.gather(all_of(a), all_of(b))
    await until(lambda: len(account.wires) == 2 and len(account.wires[1].asked("subscribe")) == 2)
    assert account.wires[0].closed
    assert account.wires[1].asked("subscribe") == [("topic-a", "1-0"), ("topic-b", "2-0")]
    account.wires[1].tell("a", 1, b"one")
    account.wires[1].tell("a", 3, b"two")
    for turn in "ab":
        account.wires[1].tell(turn, 9)
    assert await reading == [b"data: one\n\ndata: two\n\n" + DONE, b"data: eins\n\n" + DONE]
    await until(lambda: account.wires[1].closed)


@pytest.mark.parametrize("failing", [(), (2,)])
async def test_a_topic_that_brings_nothing_on_three_connections_is_no_way_any_more(failing: tuple[int, ...]) -> None:
    account = Account(*failing)
    a, b = await account.listen("a"), await account.listen("b")
    reading = asyncio.gather(all_of(a), all_of(b), return_exceptions=True)
    for number in range(3):
        await until(lambda: len(account.wires) > number)  # noqa: B023  awaited at once
        if number + 1 in failing:
            continue
        wire = account.wires[number]
        await until(lambda: len(wire.asked("subscribe")) == 2)  # noqa: B023
        wire.tell("b", number, b"%d" % number)
        await until(wire.frames.empty)
        wire.frames.put_nowait(b"broken")
    await until(lambda: len(account.wires) == 4 and account.wires[3].asked("subscribe"))
    assert account.wires[3].asked("subscribe") == [("topic-b", "2-0")]
    account.wires[3].tell("b", 9)
    silent, told = await reading
    assert isinstance(silent, UpstreamError)
    assert isinstance(told, bytes)
    assert told.endswith(DONE)
    a.close()
    await until(lambda: account.wires[3].closed)


async def test_who_reads_slowly_keeps_nobody_waiting_and_comes_back_to_where_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sockets, "_MOST_WAITING", 40)
    account = Account()
    slow, quick = await account.listen("a"), await account.listen("b")
    (wire,) = account.wires
    for number in range(1, 9):
        wire.tell("a", number, b"0123456789")
    wire.tell("b", 9)
    assert await all_of(quick) == DONE
    assert slow._waiting <= 60, "one item more than may wait"
    assert await slow.chunk() == b"data: 0123456789\n\n" * 3
    rest = asyncio.ensure_future(slow.chunk())
    await until(lambda: len(wire.asked("subscribe")) == 3)
    assert wire.asked("subscribe")[2] == ("topic-a", "3-0")
    wire.tell("a", 3, b"0123456789")
    wire.tell("a", 4, b"next")
    assert await rest == b"data: next\n\n"
    slow.close()
    await until(lambda: wire.closed)


async def test_who_leaves_while_it_is_connected_leaves_nothing_open() -> None:
    account = Account()
    waiting = asyncio.ensure_future(account.listen("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: not account.sockets._shared)
    assert all(wire.closed for wire in account.wires)


async def test_a_socket_that_was_never_read_is_closed() -> None:
    account = Account()
    response = await account.listen("a")
    response.close()
    await until(lambda: account.wires[0].closed)
    assert await response.chunk() == b""


@pytest.mark.parametrize("url", ["wss://[", "wss://[x]y/", "ws://insecure.test/", "", 7])
def test_an_address_that_is_none_is_upstreams_failure(url: Any) -> None:
    profile = ClientProfile(user_agent="UA/1.0")
    handshake = sockets._address(Upstream("https://chatgpt.test", Identity("device", "token"), profile))
    next(handshake)
    with pytest.raises(UpstreamError) as caught:
        handshake.send(HttpReply(200, {}, json.dumps({"websocket_url": url}).encode()))
    assert caught.value.code == "upstream_socket"


async def test_a_socket_that_cannot_be_had_says_so() -> None:
    account = Account(1)
    with pytest.raises(UpstreamError):
        await account.listen("a")
    assert not account.sockets._shared
