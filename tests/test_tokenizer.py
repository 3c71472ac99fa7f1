"""The tokenizer: exact counts, cuts that count no more than asked, and no text that holds everybody up."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim import tokenizer

MEGABYTE = 1_000_000
# What o200k splits in surprising ways: contractions, blanks before line breaks, letters of several tokens.
TRICKY = "aAbé3 '\n\r\t/_.,!，。中🧑\u200d𓀀\u0301 \u00a0"


def text_of_any_kind() -> st.SearchStrategy[str]:
    return st.one_of(st.text(TRICKY, max_size=60), st.text(max_size=40), st.lists(st.sampled_from(WORDS)).map("".join))


WORDS = ("hello", " world", "'re", "don't", " \n", "\n\n", "  ", "unhappy", "Straße", "🧑‍🚀", "𓀀𓀀", "١٢٣٤", "====", "/")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("<|endoftext|>", 7),  # special tokens are plain text
        ("𓀀", 4),
        ("\ud83d", 1),  # half a pair counts as its replacement
        ("a\udc00b", 3),
    ],
)
def test_counts(text: str, tokens: int) -> None:
    assert tokenizer.count(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens", "kept"),
    [
        ("hello world", 0, ""),
        ("hello world", 1, "hello"),
        ("hello world", 2, "hello world"),
        ("hello world", 9, "hello world"),
        ("", 3, ""),
        ("a𓀀b", 1, "a"),
        pytest.param("a𓀀b", 3, "a", id="inside a character"),
        pytest.param("a𓀀b", 5, "a𓀀", id="its last token"),
        pytest.param("🧑\u200d🚀𓀀", 4, "🧑\u200d", id="two characters in five tokens"),
        pytest.param("a \ud83d b\udc00", 3, "a \ud83d b", id="half pairs stay where they are"),
    ],
)
def test_cuts(text: str, tokens: int, kept: str) -> None:
    assert tokenizer.cut(text, tokens) == kept


@given(text_of_any_kind(), st.integers(0, 30))
def test_a_cut_is_a_beginning_that_counts_no_more_than_asked(text: str, tokens: int) -> None:
    kept = tokenizer.cut(text, tokens)
    assert text.startswith(kept)
    assert tokenizer.count(kept) <= tokens
    assert (kept == text) == (tokenizer.count(text) <= tokens)


@given(st.text("abcdefgh ,.", max_size=60), st.integers(0, 30))
def test_a_cut_of_plain_text_counts_exactly_what_was_asked(text: str, tokens: int) -> None:
    assert tokenizer.count(tokenizer.cut(text, tokens)) == min(tokens, tokenizer.count(text))


@settings(max_examples=300)
@given(text_of_any_kind())
def test_tokens_are_no_more_than_bytes(text: str) -> None:
    assert tokenizer.count(text) <= len(text.encode("utf-8", "surrogatepass"))


def unicode_noise() -> str:
    """Characters of every plane; surrogates are none."""
    chance = random.Random(1)
    return "".join(
        chr(chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))) for _ in range(MEGABYTE // 3)
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * MEGABYTE, id="one letter"),
        pytest.param(" " * MEGABYTE, id="blanks"),
        pytest.param("\n" * MEGABYTE, id="line breaks"),
        pytest.param("中" * (MEGABYTE // 3), id="one character"),
        pytest.param(unicode_noise(), id="noise"),
    ],
)
async def test_a_megabyte_is_counted_beside_the_event_loop(text: str) -> None:
    """Were counting quadratic, this would run into the test's time limit. Did it hold the GIL, the loop could never
    look while it is under way: around it, a thread is only stopped between two of its steps."""
    tokenizer.load()
    counting = False

    def count() -> int:
        nonlocal counting
        counting = True
        tokens = tokenizer.count(text)
        counting = False
        return tokens

    seen = 0
    for _ in range(50):
        task = asyncio.create_task(asyncio.to_thread(count))
        while not task.done():
            await asyncio.sleep(0)
            seen += counting
        assert 0 < task.result() <= len(text.encode())
        if seen > 10:
            return
    pytest.fail("the event loop stood still while a text was counted")


@pytest.mark.parametrize("char", ["a", " ", "中", "=", "1"])
def test_a_cut_far_inside_one_long_word_is_exact(char: str) -> None:
    text = char * 100_000
    kept = tokenizer.cut(text, 500)
    assert tokenizer.count(kept) == 500
    assert tokenizer.count(text[: len(kept) + 1]) >= 500
