"""However upstream's bytes are cut into chunks, clients are told the same bytes, streamed and whole.

Chunks of a stream may be cut anywhere, also within a character or a line end; that is what networks do.
"""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shim.cassettes.format import chunk_of


def cut_anew(cassette, cuts_of):
    """The cassette with its event streams cut at `cuts_of(length)`."""
    return msgspec.structs.replace(cassette, interactions=[_cut(one, cuts_of) for one in cassette.interactions])


def _cut(interaction, cuts_of):
    response = interaction.response
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        return interaction
    body = response.body()
    places = sorted({0, len(body), *cuts_of(len(body))})
    chunks = [chunk_of(body[start:end], 0.0) for start, end in pairwise(places)]
    return msgspec.structs.replace(interaction, response=msgspec.structs.replace(response, chunks=chunks))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_core_takes_any_chunks(cassette, streamed, players, data):
    def cuts_of(length):
        return data.draw(st.lists(st.integers(0, length), max_size=40), label="cuts")

    anew = cut_anew(cassette, cuts_of)
    assert players.by_core(anew, streamed=streamed) == players.by_core(cassette, streamed=streamed)


def test_the_core_takes_single_bytes(cassette, streamed, players):
    anew = cut_anew(cassette, range)
    assert players.by_core(anew, streamed=streamed) == players.by_core(cassette, streamed=streamed)


@pytest.mark.parametrize("streamed", [True], ids=["streamed"])
async def test_the_app_takes_single_bytes(cassette, streamed, drivers, app_told):
    assert await drivers.by_app(cut_anew(cassette, range), streamed=streamed) == await app_told()


@pytest.mark.parametrize("streamed", [True], ids=["streamed"])
async def test_flows_take_single_bytes(cassette, streamed, drivers, flows_told):
    assert await drivers.by_flows(cut_anew(cassette, range), streamed=streamed) == await flows_told()
