"""Counts and cuts text by o200k tokens: exactly, offline, and without holding the event loop.

Rules. Nothing is downloaded: tiktoken gets its vocabulary from `shim/vocabulary`. A text is worked through in slices of
`SLICE` characters, about a millisecond each at worst, so memory is bounded and a request with 32 MB waits its turn
slice by slice like everybody else. tiktoken releases the GIL while it encodes, so `total` leaves long texts to a
thread.

Slices end at seams, where o200k splits whatever stands around. A text may have none for a megabyte (one sign repeated,
Chinese without punctuation). Then slices overlap: the next one begins at a token boundary some hundred characters
before the end of the last, and both have to find the same tokens there. That is exact because byte pair encoding is
local: a sequence of tokens is the encoding of its text if and only if each two neighbours are, so two encodings that
share a token can be joined at it. Where they don't agree, a longer slice is taken; up to `_MOST`, where a text that has
no such place (some signs repeated have none, for every token ends inside a character) is cut anyway, and may count a
token more or less than it has.
"""

import asyncio
import re
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Protocol
from unicodedata import category

from shim import heap

# Characters: 0.1 ms of prose, 1.2 ms of random Unicode; handing work to the thread costs 0.05 ms.
SLICE = 4096
# Characters of the longest slice: 3 ms of what is slowest.
_MOST = 4 * SLICE
# Bytes that a token has at most.
_LONGEST = 128
# Characters; what follows changes no token farther away than a few of the longest.
_OVERLAP = 512
# Characters that are searched for the end of a run; see `_CAPITALS`.
_LOOK = 65_536
# Characters that a call costs as much as, so that a slice of very short texts is no longer either.
_PER_TEXT = 32

_VOCABULARY = Path(__file__).with_name("vocabulary") / "o200k_base.zlib"
# Tokens without the two special ones, which stand for ends and are never in a text.
_SIZE = 199_998
# How o200k splits a text before it joins bytes: letter for letter what the vocabulary was made with.
_PATTERN = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# Where no alternative of the pattern goes on, whatever stands around: before a blank that follows something, between a
# line break and what is no blank, before a mark that follows a letter or digit, between ASCII letters and digits. An
# apostrophe is no such mark ("don't" stays together), nor is "/" after a line break.
_SEAM = (
    r"(?:(?<=\S)(?=[ \t])|(?<=[\r\n])(?=[^\s/])|(?<=[^\W_])(?=[!-&(-/:-@\[-`{-~、。，；：！？（）「」])"
    r"|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z]))"
)
_LAST_SEAM = re.compile(f".+{_SEAM}", re.DOTALL)
# The one run whose end decides how its beginning is split: capitals go with letters that have no case only where a
# small letter follows. (Blanks go with a line break only where another one follows, but no token joins these two.)
_CAPITALS = re.compile("[A-ZÀ-ÖØ-ÞΑ-ΩА-ЯＡ-Ｚ]+")
# Half a surrogate pair is no character; it counts as what would replace it. One for one, so that places stay the same.
_HALVES = re.compile("[\ud800-\udfff]")
# The bytes that go on with a character: all others begin one (RFC 3629).
_GOING_ON = bytes(range(0x80, 0xC0))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_loading = threading.Lock()
# One thread, begun with its first work: it gets that in the order in which it was asked for, and counting takes one
# core at most.
_thread = ThreadPoolExecutor(1, thread_name_prefix="tokens")


class Encoder(Protocol):
    """What is used of tiktoken's compiled part."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The tokens of `text`, special ones as plain text. Raises UnicodeEncodeError for half a surrogate pair."""

    def decode_bytes(self, tokens: list[int]) -> bytes:
        """The bytes of `tokens`; they may begin and end inside a character."""


@cache
def load() -> Encoder:
    """The encoder, made at the first call: 0.2 s, in which nearly always the GIL is held, and 43 MB.

    A process that is going to fork calls this before, so that its children share the memory.
    """
    with _loading:  # two that come at once would make two
        return _made()


@cache
def _made() -> Encoder:
    # Not tiktoken.Encoding, which keeps the vocabulary as a dict beside it: 25 MB that only special tokens need.
    from tiktoken._tiktoken import CoreBPE  # type: ignore[import-not-found]  # noqa: PLC0415

    encoder: Encoder = CoreBPE(read_vocabulary(), {}, _PATTERN)
    heap.give_back()  # what the vocabulary took meanwhile: 14 MB
    return encoder


def read_vocabulary() -> dict[bytes, int]:
    """Each token's bytes and its rank: the file has the lengths of all tokens by rank, then their bytes."""
    packed = zlib.decompress(_VOCABULARY.read_bytes())
    # Without a loop, so that no other thread comes in between and puts what stays among these 16 MB, which do not: they
    # could not be given back then.
    formats = [b"%ds" % length for length in range(256)]
    tokens = struct.Struct(b"".join(map(formats.__getitem__, packed[:_SIZE]))).unpack_from(packed, _SIZE)
    return dict(zip(tokens, range(_SIZE), strict=True))


def count(text: str) -> int:
    """How many o200k tokens `text` is, special tokens taken as plain text. For texts too long for the event loop
    there is `total`."""
    if len(text) <= SLICE:
        return len(_encode(text)) if text else 0
    return sum(len(tokens) for _, tokens in slices(text))


async def total(texts: Iterable[str]) -> int:
    """How many tokens `texts` are together, counted each for itself. Up to a slice of them is counted at once; more by
    a thread, which takes a slice of each caller in turn."""
    waiting = list(texts)
    if sum(map(_cost, waiting)) <= SLICE:
        return sum(map(count, waiting))
    loop = asyncio.get_running_loop()

    def steps_of_all() -> Iterator[tuple[int, int]]:
        """What each next step costs, in characters, and the tokens it finds."""
        for text in waiting:
            if _cost(text) <= SLICE:
                yield _cost(text), count(text)
            else:
                yield from ((SLICE, len(tokens)) for _, tokens in slices(text))

    steps = steps_of_all()

    def count_slice() -> tuple[int, int] | None:
        """The cost and the tokens of as many steps as make a slice; None where none is left."""
        spent = found = 0
        for cost, counted in steps:
            spent += cost
            found += counted
            if spent >= SLICE:
                break
        return (spent, found) if spent else None

    tokens = 0
    while step := await loop.run_in_executor(_thread, count_slice):
        tokens += step[1]
    return tokens


async def total_by(rule: Callable[[Callable[[str], int]], int]) -> int:
    """What `rule` comes to, given `count`: for rules that only add counts and constants up, like those of a prompt."""
    texts: list[str] = []

    def note(text: str) -> int:
        texts.append(text)
        return 0

    return rule(note) + await total(texts)


def cut(text: str, tokens: int) -> str:
    """The beginning of `text` that its first `tokens` tokens are; all of it where it has no more.

    Where the last token ends inside a character, that character is left out: a character may be several tokens. The
    result never counts more than `tokens`. No more of the text is read than that.
    """
    for start, encoded in slices(text):
        if len(encoded) > tokens:
            rest = text[start : start + _LONGEST * (tokens + 1)]
            break
        tokens -= len(encoded)
    else:
        return text
    whole = tokens
    end = 0
    while whole:
        try:
            end = len(load().decode_bytes(encoded[:whole]).decode())
            break
        except UnicodeDecodeError:
            whole -= 1
    # A token may hold the end of one character and the beginning of the next.
    if whole < tokens:
        while count(rest[: end + 1]) <= tokens:
            end += 1
    return text[: start + end]


def certain(text: str) -> int:
    """Of a text without a seam: how many of its characters are whole tokens, whatever may follow."""
    # Where one slice ends and the next begins both have found the same tokens, and what follows is too far away.
    return max((start for start, _ in slices(text) if start + 2 * _OVERLAP <= len(text)), default=0)


class RunningCount:
    """The tokens of a text that comes in pieces: counted on the way, so that little is left for the end."""

    def __init__(self) -> None:
        self._settled = 0
        self._text, self._start = "", 0  # what has come, and where in it the part begins that is not counted
        self._pieces: list[str] = []  # what has come behind it
        self._size = 0  # characters that are not counted
        self._look_at = SLICE

    def add(self, text: str) -> None:
        """More text. Counts a slice at most."""
        self._pieces.append(text)
        self._size += len(text)
        if self._size < self._look_at:
            return
        if len(self._text) - self._start < SLICE:  # else what one read brought, however much, would be copied each time
            self._text, self._start, self._pieces = self._rest(), 0, []
        seam = _LAST_SEAM.match(self._text, self._start, self._start + SLICE)
        if seam is None:
            self._look_at = sys.maxsize  # nor will there be one: all the rest is left to the end
            return
        self._settled += count(self._text[self._start : seam.end()])
        self._size -= seam.end() - self._start
        self._start = seam.end()

    async def total(self) -> int:
        """The tokens of all text so far. More may be added afterwards."""
        return self._settled + await total([self._rest()])

    def _rest(self) -> str:
        return "".join((self._text[self._start :], *self._pieces))


def slices(text: str) -> Iterator[tuple[int, list[int]]]:
    """The tokens of `text`, slice by slice, and where in the text each slice begins."""
    start, size = 0, SLICE
    # The slice before: where it began and how long it was, its tokens, and those which the next has to begin with.
    before, held_size, held, shared = 0, SLICE, list[int](), list[int]()
    while start < len(text):
        end, tokens, overlap = _slice(text, start, size)
        if end == start:
            size *= 2
        elif [*tokens, *overlap][: len(shared)] != shared and held_size < _MOST:
            start, size, held, shared = before, 2 * held_size, [], []
        else:
            if held:
                yield before, held
            before, held_size, held, shared = start, size, tokens, overlap[: len(overlap) // 2]
            start, size = end, SLICE
    if held:
        yield before, held


def _slice(text: str, start: int, size: int) -> tuple[int, list[int], list[int]]:
    """Where a slice from `start` ends, its tokens, and those which were found behind it."""
    stop = start + size
    if stop >= len(text):
        return len(text), _encode(text[start:]), []
    seam = _LAST_SEAM.match(text, start, stop)
    if seam is not None:
        return seam.end(), _encode(text[start : seam.end()]), []
    run = _CAPITALS.match(text, stop - 1, stop + _LOOK)
    after = text[run.end() : run.end() + 1] if run is not None else ""
    tokens = _encode(text[start:stop] + after)
    # Tokens from the end on that the next slice has to find as well: doubled until their text is long enough.
    taken, end, overlap = 4, stop, b""
    while end > stop - _OVERLAP and taken < len(tokens):
        taken *= 2
        overlap = load().decode_bytes(tokens[-taken:])
        end = stop + len(after) - _begun(overlap)
    first = end - _OVERLAP
    while end > first and taken < len(tokens):
        # No slice can begin inside a character.
        if overlap[0] not in _GOING_ON and not _is_in_number(text, start, end):
            return end, tokens[:-taken], tokens[-taken:]
        taken += 1
        overlap = load().decode_bytes(tokens[-taken : 1 - taken])  # the one token more
        end -= _begun(overlap)
    return (start, [], []) if size < _MOST else (stop, _encode(text[start:stop]), [])


def _begun(encoded: bytes) -> int:
    """How many characters begin in these bytes."""
    return len(encoded.translate(None, _GOING_ON))


def _is_in_number(text: str, start: int, place: int) -> bool:
    """Whether `place` is inside of three numerals that go together, counted from where they begin, `start` at most."""
    begin = place
    if category(text[place])[0] == "N":
        while begin > start and category(text[begin - 1])[0] == "N":
            begin -= 1
    return (place - begin) % 3 != 0


def _cost(text: str) -> int:
    return len(text) + _PER_TEXT


def _encode(text: str) -> list[int]:
    try:
        return load().encode_ordinary(text)
    except UnicodeEncodeError:
        return load().encode_ordinary(_HALVES.sub(_REPLACEMENT, text))
