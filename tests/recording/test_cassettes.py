"""The cassettes of the tests, which `scripts/record` makes: all there, small, scrubbed by today's rules, playable."""

from pathlib import Path

import pytest

from scripts.recording.turns import TURNS, WITH_ACCOUNT
from shim.cassettes.format import Interaction, dump_cassette, load_cassette
from shim.cassettes.matching import Player
from shim.cassettes.recording import body_bytes, scrubbed_again

CASSETTES = Path(__file__).parents[1] / "cassettes"
FILES = sorted(CASSETTES.glob("*.json"))


def test_every_line_of_the_table_is_recorded():
    assert {path.stem for path in FILES} == set(TURNS)
    assert set(TURNS) >= WITH_ACCOUNT


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cassette_is_small_whole_and_scrubbed(path):
    assert path.stat().st_size < 60 * 1024
    cassette = load_cassette(path)
    assert dump_cassette(scrubbed_again(cassette)) == path.read_bytes()
    turns = [one for one in cassette.interactions if one.request.path.endswith("/conversation")]
    assert len(turns) == len(TURNS[path.stem])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_cassette_answers_its_own_calls(path):
    cassette = load_cassette(path)
    player = Player([cassette])
    for one in cassette.interactions:
        request = one.request
        found = player.play(request.method, request.path, request.headers.items(), body_bytes(request.body))
        assert isinstance(found, Interaction)
    assert player.left == []
