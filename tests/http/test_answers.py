"""A stream's end: what gives its bytes is ended and its finish called, whatever the client did."""

import asyncio
from types import SimpleNamespace

import pytest
from litestar import Request

from shim.accounts.credentials import Caller
from shim.apis.chat import CHAT
from shim.errors import GatewayError
from shim.exchange.line import Line
from shim.http import responses
from shim.http.answering import ApiCall, _streamed
from shim.http.presence import ClientGoneError, Presence, while_present
from shim.http.responses import KEEP_ALIVE, BytesResponse, EventStream, Opening, request_id
from shim.settings import Settings

BOUNDS = {"longest": 60.0, "break_off": lambda error: f"<{error.code}>".encode()}


def request(*messages):
    """A request whose client sends these messages and then nothing more."""
    waiting = list(messages)

    async def receive():
        if waiting:
            return waiting.pop(0)
        await asyncio.sleep(3600)
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "state": {}, "query_string": b""}
    return Request(scope, receive=receive)


class Stream:
    def __init__(self, *lines):
        self.began = self.closed = 0
        self.finished = 0
        self.sent = []
        self._lines = lines

    async def run(self, send):
        self.began += 1
        try:
            for line in self._lines:
                await send(line)
                await asyncio.sleep(0)
            return b"end"
        finally:
            self.closed += 1

    def finish(self):
        self.finished += 1

    async def send(self, message):
        if "body" in message:
            self.sent.append(message["body"])
        await asyncio.sleep(0)


async def played(stream, client, send=None):
    answer = EventStream(client, stream.run, stream.finish, headers={}, **BOUNDS)
    await answer(SCOPE, client.receive, send or stream.send)


SCOPE = {"state": {}}
GONE = {"type": "http.disconnect"}


async def test_a_whole_stream():
    stream, client = Stream(b"1", b"2"), request()
    await played(stream, client)
    assert stream.sent == [b"1", b"2", b"end"]
    assert (stream.closed, stream.finished) == (1, 1)


async def test_a_client_gone_before_the_first_line():
    """It may never have begun, so nothing in it can clean up."""
    stream = Stream(b"1")

    async def send(message):
        await asyncio.sleep(3600 if "body" in message else 0)

    await played(stream, request(GONE), send)
    assert stream.finished == 1
    assert stream.began == stream.closed


async def test_a_client_that_does_not_read_and_goes():
    """It waits for its line to be sent: it is ended there."""
    stream = Stream(b"1", b"2")

    async def receive():
        await asyncio.sleep(0.02)
        return GONE

    async def send(message):
        await asyncio.sleep(3600 if "body" in message else 0)

    client = request()
    answer = EventStream(client, stream.run, stream.finish, headers={}, **BOUNDS)
    await answer(SCOPE, receive, send)
    assert (stream.began, stream.closed, stream.finished) == (1, 1, 1)


async def test_a_comment_is_sent_where_nothing_happens_and_none_where_something_does(monkeypatch):
    monkeypatch.setattr(responses, "KEEP_ALIVE_SECONDS", 1.0)
    sent = []
    twice = asyncio.Event()

    async def send(message):
        sent.append(message.get("body"))
        if sent.count(KEEP_ALIVE) == 2:
            twice.set()

    async def run(send):
        for _ in range(8):
            await send(b"x")
            await asyncio.sleep(0.01)
        await twice.wait()
        return b"end"

    client = request()
    await EventStream(client, run, lambda: None, headers={}, **BOUNDS)(SCOPE, client.receive, send)
    assert sent == [None] + [b"x"] * 8 + [KEEP_ALIVE] * 2 + [b"end"]


async def test_a_client_that_does_not_read_is_sent_one_comment(monkeypatch):
    monkeypatch.setattr(responses, "KEEP_ALIVE_SECONDS", 0.01)
    sent = []

    async def send(message):
        sent.append(message.get("body"))
        await asyncio.sleep(3600 if sent[-1] == KEEP_ALIVE else 0)

    async def run(send):
        await asyncio.sleep(0.1)
        return b"end"

    client = request()
    await EventStream(client, run, lambda: None, headers={}, **BOUNDS)(SCOPE, client.receive, send)
    assert sent == [None, KEEP_ALIVE, b"end"]


async def test_headers_of_a_stream():
    client = request()
    answer = EventStream(client, Stream().run, lambda: None, headers={"x-more": "1"}, **BOUNDS)
    assert answer.headers["x-request-id"] == request_id(client)
    assert answer.headers["x-more"] == "1"
    assert answer.headers["cache-control"] == "no-cache"


async def test_work_ends_with_its_result():
    async def work():
        await asyncio.sleep(0)
        return 7

    assert await while_present(request(), work()) == 7


async def test_nobody_watches_over_the_client_of_what_is_answered_at_once():
    async def receive():
        raise AssertionError

    async def work():
        await asyncio.sleep(0)
        return 7

    assert await while_present(Request(request().scope, receive=receive), work()) == 7
    await asyncio.sleep(0.1)  # nor afterwards


async def test_work_is_cancelled_when_the_client_goes():
    cancelled = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    with pytest.raises(ClientGoneError):
        await while_present(request({"type": "http.request", "body": b""}, GONE), work())
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_a_failure_of_the_work_is_raised_and_nothing_is_left_running():
    async def work():
        raise ValueError("no")

    before = len(asyncio.all_tasks())
    with pytest.raises(ValueError, match="no"):
        await while_present(request(), work())
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == before


async def test_cancelling_the_handler_cancels_the_work():
    cancelled = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    task = asyncio.create_task(while_present(request(), work()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 1)


async def test_an_opening_is_given_up_by_a_client_who_leaves_at_its_early_head():
    given_up, stuck = asyncio.Event(), asyncio.Event()

    async def opening(_asked):
        try:
            await asyncio.sleep(60)
        finally:
            given_up.set()

    async def send(message):
        if "body" in message:
            stuck.set()
            await asyncio.sleep(60)

    async def enter(_key):
        """No key has limits."""

    async def recalled(asked, **_):
        return asked

    gateway = SimpleNamespace(
        settings=Settings(early_head=0.01),
        open=opening,
        recalled=recalled,
        caller=lambda _authorization: Caller(),
        keys=SimpleNamespace(enter=enter),
        line=Line(1, 0),
        note=lambda _record, _parent: None,
    )
    call = ApiCall(gateway, CHAT, id="req_1", headers={}, address="http://localhost")
    client = request()
    with Presence(client.receive) as presence:
        presence.keep()
        stream = _streamed(client, call, SimpleNamespace(asked=SimpleNamespace(complete=None)), presence)
    sending = asyncio.ensure_future(stream(SCOPE, client.receive, send))
    async with asyncio.timeout(5):
        await stuck.wait()
        sending.cancel()
        await asyncio.wait({sending})
        await given_up.wait()


def opened(client, open_stream, refuse, early=0.0, finish=lambda: None):
    opening = Opening(open_stream, refuse, lambda: {"x-more": "1"}, early)
    return EventStream(client, opening, finish, headers={}, **BOUNDS)


def refused(error):
    return BytesResponse(error.message.encode(), {}, status=error.http_status)


async def test_a_stream_is_opened_by_the_task_that_sends_it():
    """Each task more is three turns of the loop before anything is asked of upstream."""
    tasks, sent, stream = [], [], Stream(b"1")

    async def open_stream(_stream):
        tasks.append(asyncio.current_task())
        assert sent == [], "there is no head before something can be sent"
        return stream.run

    async def send(message):
        sent.append((message.get("status"), message.get("body")))

    client = request()
    await opened(client, open_stream, refused)(SCOPE, client.receive, send)
    assert tasks == [asyncio.current_task()]
    assert sent == [(200, None), (None, b"1"), (None, b"end")]


async def test_what_fails_before_its_head_is_refused_with_a_status():
    sent, finished = [], []

    async def open_stream(_stream):
        raise GatewayError("not this time", status=418)

    async def send(message):
        sent.append((message.get("status"), message.get("body")))

    client = request()
    await opened(client, open_stream, refused, finish=lambda: finished.append(1))(SCOPE, client.receive, send)
    assert sent == [(418, None), (None, b"not this time")]
    assert finished == [1]


async def test_a_refusal_that_is_still_being_sent_gets_no_early_head_besides():
    sent, early = [], asyncio.get_running_loop().time() + 0.05

    async def open_stream(_stream):
        raise GatewayError("not this time", status=418)

    async def send(message):
        sent.append((message.get("status"), message.get("body")))
        while asyncio.get_running_loop().time() < early + 0.05:  # noqa: ASYNC110  a slow client
            await asyncio.sleep(0.01)

    client = request()
    await opened(client, open_stream, refused, early=0.05)(SCOPE, client.receive, send)
    assert sent == [(418, None), (None, b"not this time")]


async def test_a_client_that_leaves_while_its_stream_is_opened_ends_the_opening():
    given_up, told = asyncio.Event(), []

    async def open_stream(_stream):
        try:
            await asyncio.sleep(3600)
        finally:
            given_up.set()

    def refuse(error):
        told.append(error.code)
        return refused(error)

    async def send(message):
        """Nobody listens any more."""

    client = request(GONE)
    async with asyncio.timeout(30):
        await opened(client, open_stream, refuse)(SCOPE, client.receive, send)
    assert given_up.is_set()
    assert told == ["client_gone"]


async def test_an_opening_that_takes_long_is_waited_for_behind_an_early_head():
    sent, filled = [], asyncio.Event()

    async def open_stream(stream):
        await filled.wait()
        assert stream.has_begun
        return Stream(b"1").run

    async def send(message):
        sent.append((message.get("status"), message.get("body")))
        if message.get("body") == KEEP_ALIVE:
            filled.set()

    client = request()
    async with asyncio.timeout(30):
        await opened(client, open_stream, refused, early=0.01)(SCOPE, client.receive, send)
    assert sent == [(200, None), (None, KEEP_ALIVE), (None, b"1"), (None, b"end")]


@pytest.mark.parametrize("at_once", [False, True])
async def test_all_of_an_answer_may_be_there_before_its_head_and_has_its_length_then(at_once):
    """Also where the early head is due at that very moment: a blank more would not fit in the length."""
    sent, filled = [], asyncio.Event()

    async def open_stream(stream):
        if at_once:
            stream._look()  # as its timer does; what that begins has its turn after us
        else:
            await filled.wait()
        if not stream.has_begun:
            stream.headers = {"content-length": "5"}
        return b"whole"

    async def send(message):
        headers = dict(message.get("headers", []))
        sent.append((headers.get(b"content-length"), message.get("body")))
        if message.get("body") == KEEP_ALIVE:
            filled.set()
        await asyncio.sleep(0)

    client = request()
    async with asyncio.timeout(30):
        await opened(client, open_stream, refused, early=1e-9)(SCOPE, client.receive, send)
    early = [(None, None), (None, KEEP_ALIVE), (None, b"whole")]
    assert sent == ([(b"5", None), (None, b"whole")] if at_once else early)
