"""The tokenizer: exact counts, cuts that count no more than asked, and no text that holds everybody up."""

import asyncio
import base64
import hashlib
import random
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import tiktoken_ext.openai_public
from hypothesis import given, settings
from hypothesis import strategies as st

from shim import tokenizer
from shim.tokenizer import SLICE, RunningCount

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of how it reads its own data, on Python 3.11
    from bpe_openai import _bindings

MEGABYTE = 1_000_000
# What o200k splits in surprising ways: contractions, blanks before line breaks, letters of several tokens.
TRICKY = "aAbé3 '\n\r\t/_.,!，。中🧑\u200d𓀀\u0301 \u00a0"
# An o200k tokenizer of other makers (GitHub), which neither slices nor shares code with ours.
OTHER = _bindings.tokenizer_for_encoding("o200k_base")


def text_of_any_kind() -> st.SearchStrategy[str]:
    return st.one_of(st.text(TRICKY, max_size=60), st.text(max_size=40), st.lists(st.sampled_from(WORDS)).map("".join))


WORDS = ("hello", " world", "'re", "don't", " \n", "\n\n", "  ", "unhappy", "Straße", "🧑‍🚀", "𓀀𓀀", "١٢٣٤", "====", "/")

# Kinds of signs that have no seam among themselves, or seams of every sort with another kind.
KINDS = (
    *("-", "=", "*/#-=+", "'", "_/.,!", "abcdefgh", "ABCDEF", "0123456789", "  \t", "\n", "\r\n ", "'s'S're'LL"),
    *("中文字久国产", "한국어", "éàüßñ", "ÀÉÖ", "АБВГ", "абвг", "😀🚀🧑\u200d", "\u0301\u0302", "\u00a0\u3000", "𓀀𓀁"),
    *("²½Ⅷ١٢", "ǅ", "ʰʲ", "\x1c\x1f\x85", "\ue000\U000e0100\ufe0f"),
)


@st.composite
def long_texts(draw: st.DrawFn) -> str:
    """Texts of several slices: runs of one or several kinds, repeated or mixed, shorter and longer than a slice."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        signs = "".join(draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3)))
        length = draw(st.sampled_from((1, 2, 5, 50, SLICE - 1, SLICE + 1, 9000)))
        chance = random.Random(draw(st.integers(0, 2**16)))
        period = draw(st.sampled_from((1, 2, 3, 7, length)))
        parts.append("".join(chance.choices(signs, k=period)) * (length // period))
    return "".join(parts)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("<|endoftext|>", 7),  # special tokens are plain text
        ("𓀀", 4),
        ("\ud83d", 1),  # half a pair counts as its replacement
        ("a\udc00b", 3),
        ("-" * 640, 10),
    ],
)
def test_counts(text: str, tokens: int) -> None:
    assert tokenizer.count(text) == tokens


@settings(max_examples=500)
@given(text_of_any_kind())
def test_counts_are_those_of_another_tokenizer(text: str) -> None:
    assert tokenizer.count(text) == OTHER.count(text)


@settings(max_examples=150, deadline=None)
@given(long_texts())
def test_slices_are_the_tokens_of_the_whole_text(text: str) -> None:
    sliced = [token for _, tokens in tokenizer.slices(text) for token in tokens]
    assert sliced == OTHER.encode(text)


@pytest.mark.parametrize(
    "text",
    [
        # There are tokens of Chinese and capitals, and they are used if a small letter follows the capitals.
        pytest.param("亚洲" + "AV" * 4500 + "a", id="a small letter behind many capitals"),
        pytest.param("亚洲" + "AV" * 4500 + "!", id="no small letter"),
        pytest.param("亚洲" + "AV" * 4500 + "中", id="a letter without case"),
        pytest.param("\n    \n" + " " * 9000 + "\nx", id="a line break behind many blanks"),
        pytest.param("\n    \n" + " " * 9000 + "x", id="no line break"),
        pytest.param("Ⅷ" * 5000 + "२०१" * 1000, id="numerals go by three from the first"),
        pytest.param("२०१" * 3000, id="numerals"),
        *(pytest.param("x" * shift + "'SLs" * 3500, id=f"contractions {shift}") for shift in range(4)),
        pytest.param("\ufffd" * 9000, id="half characters"),
    ],
)
def test_what_is_decided_outside_of_a_slice(text: str) -> None:
    sliced = [token for _, tokens in tokenizer.slices(text) for token in tokens]
    assert sliced == OTHER.encode(text)


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


@pytest.mark.parametrize("char", ["a", " ", "中", "=", "1"])
def test_a_cut_far_inside_one_long_word_is_exact(char: str) -> None:
    text = char * 100_000
    for tokens in (500, 700):
        kept = tokenizer.cut(text, tokens)
        assert tokenizer.count(kept) == tokens
        assert tokenizer.count(text[: len(kept) + 1]) >= tokens


@settings(max_examples=300)
@given(text_of_any_kind())
def test_tokens_are_no_more_than_bytes(text: str) -> None:
    assert tokenizer.count(text) <= len(text.encode("utf-8", "surrogatepass"))


# --- bounded work -----------------------------------------------------------------------------------------------------


def unicode_noise() -> str:
    """Characters of every plane; surrogates are none."""
    chance = random.Random(1)
    low, high = chance.choices(range(0xD800), k=50_000), chance.choices(range(0xE000, 0x110000), k=50_000)
    return "".join(map(chr, chance.choices(low + high, k=MEGABYTE // 3)))


LONG = [
    *(pytest.param(sign * MEGABYTE, id=f"a megabyte of {sign!r}") for sign in "-=*/#aA1 \n"),
    pytest.param("中" * (MEGABYTE // 3), id="one Chinese letter"),
    pytest.param("".join(random.Random(2).choices("中文字久国产", k=MEGABYTE // 3)), id="Chinese"),
    pytest.param("😀🚀" * (MEGABYTE // 8), id="emoji"),
    pytest.param(base64.b64encode(random.Random(3).randbytes(MEGABYTE * 3 // 4)).decode(), id="base64"),
    pytest.param("".join(random.Random(4).choices("ACGT", k=MEGABYTE)), id="a genome"),
    pytest.param("".join(random.Random(5).choices(" \n\t", k=MEGABYTE)), id="white space"),
    pytest.param("The quick brown fox, he said, isn't.\n" * (MEGABYTE // 37), id="prose"),
    pytest.param(unicode_noise(), id="noise"),
]


class Watched:
    """The encoder; notes how long each text is that it gets."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[threading.Thread] = set()
        self._encoder = tokenizer.load()

    def encode_ordinary(self, text: str) -> list[int]:
        self.sizes.append(len(text))
        self.threads.add(threading.current_thread())
        return self._encoder.encode_ordinary(text)

    def decode_bytes(self, tokens: list[int]) -> bytes:
        return self._encoder.decode_bytes(tokens)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    encoder = Watched()
    monkeypatch.setattr(tokenizer, "load", lambda: encoder)
    return encoder


@pytest.mark.parametrize("text", LONG)
def test_no_text_is_encoded_but_in_slices_and_each_part_about_once(text: str, watched: Watched) -> None:
    tokens = tokenizer.count(text)
    assert max(watched.sizes) <= SLICE + 1
    assert sum(watched.sizes) <= 1.5 * len(text)
    assert tokens == OTHER.count(text)


@pytest.mark.parametrize("end", ["", "x"])
def test_a_sign_whose_tokens_all_end_inside_of_it_is_cut_all_the_same(end: str, watched: Watched) -> None:
    """No slice of it can begin at a token's boundary. In one piece, 90,000 of them took half a minute."""
    text = "\N{TELUGU SIGN ANUSVARA}" * 90_000 + end
    assert abs(tokenizer.count(text) - len(text)) <= len(text) // tokenizer.SLICE
    assert max(watched.sizes) <= 4 * SLICE


@pytest.mark.parametrize("text", LONG)
async def test_a_long_text_is_counted_beside_the_event_loop(text: str, watched: Watched) -> None:
    """Between two slices the loop has its turn, and none of the slices is its own."""
    counting = asyncio.create_task(tokenizer.total([text]))
    turns = 0
    while not counting.done():
        await asyncio.sleep(0.0001)
        turns += 1
    assert threading.main_thread() not in watched.threads
    assert counting.result() == tokenizer.count(text)
    assert turns > len(watched.sizes) // 10


async def test_short_texts_are_counted_at_once(watched: Watched) -> None:
    counting = tokenizer.total(["hello world", "", "a𓀀b"])
    with pytest.raises(StopIteration) as end:
        counting.send(None)  # not once does it wait
    assert end.value.value == 2 + 0 + 6
    assert watched.threads == {threading.current_thread()}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(text_of_any_kind(), long_texts()), max_size=5))
def test_a_total_is_the_sum_of_the_counts(texts: list[str]) -> None:
    assert asyncio.run(tokenizer.total(texts)) == sum(map(OTHER.count, texts))


async def test_a_rule_that_adds_counts_up_is_totalled_beside_the_loop(watched: Watched) -> None:
    messages = ["hello world", "-" * 10 * SLICE]
    tokens = await tokenizer.total_by(lambda count: 3 + sum(4 + count(message) for message in messages))
    assert tokens == 3 + 4 + 2 + 4 + 10 * SLICE // 64
    assert threading.main_thread() not in watched.threads


async def test_many_short_texts_share_slices(watched: Watched) -> None:
    texts = ["hello world"] * 10_000
    slices = 0
    loop = asyncio.get_running_loop()
    hand_over = loop.run_in_executor

    def counted(*args: object) -> object:
        nonlocal slices
        slices += 1
        return hand_over(*args)  # type: ignore[arg-type]

    loop.run_in_executor = counted  # type: ignore[assignment, method-assign]
    assert await tokenizer.total(texts) == 20_000
    assert 10_000 * len(texts[0]) / SLICE < slices < 500


async def test_one_long_text_does_not_keep_another_waiting() -> None:
    done: list[str] = []

    async def count(name: str, text: str) -> None:
        await tokenizer.total([text])
        done.append(name)

    await asyncio.gather(count("long", "=" * MEGABYTE), count("shorter", "=" * 3 * SLICE))
    assert done == ["shorter", "long"]


async def test_who_has_gone_is_not_counted_for(watched: Watched) -> None:
    counting = asyncio.create_task(tokenizer.total(["-" * MEGABYTE]))
    while not watched.sizes:  # noqa: ASYNC110  # the thread sets no event
        await asyncio.sleep(0)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    await tokenizer.total(["a" * 2 * SLICE])  # by the same thread, so what was asked for before has been done
    assert sum(watched.sizes) < MEGABYTE / 10


def test_other_threads_run_while_a_text_is_encoded() -> None:
    """Were the GIL held, nobody would get it before the encoding thread has ended: it never has to give it up."""
    encode = tokenizer.load().encode_ordinary
    begun, ended = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        encode("-" * MEGABYTE)
        ended.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        begun.wait()
        assert not ended.is_set()
        thread.join()
    finally:
        sys.setswitchinterval(interval)


# --- text that comes in pieces ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.one_of(text_of_any_kind(), long_texts()), st.integers(1, 5000))
def test_a_running_count_is_that_of_the_whole_text(text: str, size: int) -> None:
    running = RunningCount()
    for place in range(0, len(text), size):
        running.add(text[place : place + size])
    assert asyncio.run(running.total()) == OTHER.count(text)


async def test_a_running_count_goes_on_after_its_total() -> None:
    running = RunningCount()
    running.add("hello wor")
    assert await running.total() == tokenizer.count("hello wor")
    running.add("ld")
    assert await running.total() == 2


@pytest.mark.parametrize("piece", [5, 40 * SLICE])
async def test_a_running_count_encodes_a_slice_at_a_time_and_leaves_little_to_the_end(
    piece: int, watched: Watched
) -> None:
    prose = "The quick brown fox, he said, isn't.\n" * 4000
    running = RunningCount()
    for place in range(0, len(prose), piece):
        running.add(prose[place : place + piece])
    for _ in range(50):
        running.add("")
    assert max(watched.sizes) <= SLICE
    watched.sizes.clear()
    assert await running.total() == OTHER.count(prose)
    assert sum(watched.sizes) <= SLICE


# --- the vocabulary ---------------------------------------------------------------------------------------------------


def test_the_vocabulary_and_the_pattern_are_those_that_tiktoken_would_download(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = tokenizer.read_vocabulary()
    published: list[str] = []

    def load(url: str, *, expected_hash: str) -> dict[bytes, int]:
        published.append(expected_hash)
        return ranks

    monkeypatch.setattr(tiktoken_ext.openai_public, "load_tiktoken_bpe", load)
    encoding = tiktoken_ext.openai_public.o200k_base()
    file = b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    assert published == [hashlib.sha256(file).hexdigest()]
    assert encoding["pat_str"] == tokenizer._PATTERN


OFFLINE = """
import sys
def forbid(event, args):
    if event.startswith("socket."):
        raise RuntimeError(event)
sys.addaudithook(forbid)
from shim import tokenizer
assert tokenizer.count("hello world") == 2
assert not {"requests", "regex", "numpy"} & set(sys.modules), sys.modules
"""
UNLOADED = """
import sys
import shim.tokenizer, shim.cli.main
assert "tiktoken" not in sys.modules
"""


@pytest.mark.parametrize("code", [pytest.param(OFFLINE, id="no network"), pytest.param(UNLOADED, id="not at import")])
def test_loading(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env={}, timeout=60)
