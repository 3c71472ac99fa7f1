"""When a body is whole, as far as its head tells."""

import asyncio

import pytest

from shim.http.intake import Intake
from shim.settings import Settings


def app_that_reads(read):
    async def app(scope, receive, send):
        more = True
        while more:
            message = await receive()
            read.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app


async def asked(headers, messages, read):
    """Send such a head and such messages, and none after them; the messages that were asked for."""
    taken, waiting = [], asyncio.Event()

    async def receive():
        if len(taken) == len(messages):
            waiting.set()
            await asyncio.Event().wait()
        taken.append(messages[len(taken)])
        return dict(taken[-1])

    async def send(message):
        sent.append(message)

    sent = []
    intake = Intake(Settings(), app_that_reads(read), lambda _scope: None, lambda _scope: False)
    scope = {"type": "http", "method": "POST", "path": "/x", "http_version": "1.1", "headers": headers}
    answering = asyncio.ensure_future(intake(scope, receive, send))
    waits = asyncio.ensure_future(waiting.wait())
    await asyncio.wait({answering, waits}, return_when=asyncio.FIRST_COMPLETED)
    is_answered = answering.done()
    for task in (answering, waits):
        task.cancel()
    await asyncio.wait({answering, waits})
    return is_answered, len(taken)


HOST = (b"host", b"127.0.0.1")
FIRST = {"type": "http.request", "body": b"12345", "more_body": True}
SECOND = {"type": "http.request", "body": b"678", "more_body": True}
END = {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("headers", "messages", "is_answered", "bodies"),
    [
        ([(b"content-length", b"5")], [FIRST], True, [b"12345"]),
        ([(b"content-length", b"8")], [FIRST, SECOND], True, [b"12345", b"678"]),
        ([(b"content-length", b"8")], [FIRST], False, [b"12345"]),
        ([(b"content-length", b"8")], [FIRST, END], True, [b"12345", b""]),
        ([], [FIRST], False, [b"12345"]),
        ([], [FIRST, END], True, [b"12345", b""]),
        # Chunks say themselves where a body ends.
        ([(b"content-length", b"5"), (b"transfer-encoding", b"chunked")], [FIRST], False, [b"12345"]),
    ],
)
async def test_a_body_as_long_as_its_head_says_is_whole(headers, messages, is_answered, bodies):
    read = []
    assert await asked([HOST, *headers], messages, read) == (is_answered, len(messages))
    assert read == bodies
