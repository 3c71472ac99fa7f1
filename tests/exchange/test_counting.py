"""Tokens of answers that are long: counted while they come, and as many as those of the whole text."""

import json
from typing import Any

import pytest

from shim import tokenizer
from shim.exchange import Exchange
from shim.tokenizer import SLICE
from tests.exchange.test_exchange import streamed
from tests.upstream_says import DONE, ENDED, V1, added, append, delta

PROSE = "It isn't the end, he said; 1,234 lines later.\n"
PIECES = 40 * SLICE // len(PROSE)


class Watched:
    """The encoder; adds up how many characters it has been given."""

    def __init__(self) -> None:
        self.characters = 0
        self._encoder = tokenizer.load()

    def encode_ordinary(self, text: str) -> list[int]:
        self.characters += len(text)
        return self._encoder.encode_ordinary(text)

    def decode_bytes(self, tokens: list[int]) -> bytes:
        return self._encoder.decode_bytes(tokens)


class Noting:
    """An answer of upstream; notes what the encoder had been given when each piece of it was asked for."""

    def __init__(self, said: Any, watched: Watched) -> None:
        self._said, self._watched = said, watched
        self.status, self.headers = said.status, said.headers
        self.known: list[int] = []

    async def chunk(self) -> bytes:
        self.known.append(self._watched.characters)
        piece: bytes = await self._said.chunk()
        return piece

    def close(self) -> None:
        self._said.close()

    def release(self, then: Any) -> None:
        self._said.release(then)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    encoder = Watched()
    monkeypatch.setattr(tokenizer, "load", lambda: encoder)
    return encoder


async def usage_of(exchange: Exchange) -> Any:
    """What the last line but the end of a stream says was used."""
    *_, last, _done = (await streamed(exchange)).rstrip().split(b"\n\n")
    return json.loads(last.removeprefix(b"data: "))["usage"]


async def test_a_long_answer_is_counted_while_it_comes(open_house: Any, said: Any, watched: Watched) -> None:
    async with open_house() as house:
        house.upstream.will_say(
            noting := Noting(said(V1 + added(PROSE), append(PROSE), *[delta(PROSE)] * PIECES, ENDED, DONE), watched)
        )
        usage = await usage_of(await house.open(stream=True, stream_options={"include_usage": True}))

    whole = PROSE * (PIECES + 2)
    before, after = noting.known[-1], watched.characters - noting.known[-1]
    assert before > len(whole) - 3 * SLICE
    assert after < 4 * SLICE
    assert max(more - less for less, more in zip(noting.known, noting.known[1:], strict=False)) <= SLICE
    assert usage["completion_tokens"] == tokenizer.count(whole)


@pytest.mark.parametrize("text", [PROSE * 500, "-" * 30_000, "天地玄黃" * 5000, "a" * (SLICE - 1) + " b" * 3000])
@pytest.mark.parametrize("size", [700, 10_000])
async def test_a_long_answer_has_as_many_tokens_as_its_text(open_house: Any, said: Any, text: str, size: int) -> None:
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    async with open_house() as house:
        for _ in range(2):
            house.upstream.will_say(said(V1, added(), append(pieces[0]), *map(delta, pieces[1:]), ENDED, DONE))
        usage = await usage_of(await house.open(stream=True, stream_options={"include_usage": True}, n=2))

    assert usage["completion_tokens"] == 2 * tokenizer.count(text)
