"""Byte equality: for every cassette, the addon's flows tell clients what the app tells them, streamed and whole.

What a flow can't do is written down in `addons/bridge.py`, and here row by row: of a streamed answer the head is out
before its first event, so what fails before it begins is told in the stream, and nothing is followed elsewhere; and
where upstream's connection breaks, so does the client's.
"""

import pytest

from shim.apis.openai_errors import envelope
from shim.protocol.answer.ending import Ending

STREAM_HEAD = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
# (cassette, answer): streamed answers that go on elsewhere. The app follows them.
_FOLLOWED = {("handoff-v1", 0)}


@pytest.fixture
def expected(name, streamed, cassette, app_told):
    """`await expected()`: what flows tell, by what the app tells and what upstream answered."""
    responses = [one.response for one in cassette.interactions if one.request.path.endswith("/conversation")]

    async def make():
        answers = zip(await app_told(), responses, strict=True)
        if not streamed:
            return [broken(told) if response.cut else told for told, response in answers]
        return [as_streamed(told, response, (name, place)) for place, (told, response) in enumerate(answers)]

    return make


def broken(told):
    """Of a whole answer nothing can be told any more."""
    return type(told)(0, {}, b"", broken=True)


def as_streamed(told, response, place):
    """Once upstream streams, so does the flow, whatever comes of it."""
    if place in _FOLLOWED:
        told = type(told)(200, STREAM_HEAD, in_band(LEFT))
    elif response.status == 200 and told.status != 200:
        told = type(told)(200, STREAM_HEAD, in_band(told.body))
    return type(told)(told.status, told.headers, told.body, broken=response.cut)


def in_band(envelope):
    return b"data: " + envelope + b"\n\n"


LEFT = envelope(Ending(kept=False).left_behind())  # what helps there is said as well


async def test_flows_tell_what_the_app_tells(flows_told, expected):
    assert await flows_told() == await expected()
