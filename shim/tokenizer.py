"""The o200k tokenizer, offline: its vocabulary is inside the package `bpe-openai`.

Rule: loading takes about half a second and 130 MB, so it happens once, at the first use or in `load`, never at import.
Counting and cutting are linear in the text, whatever it is (a megabyte of one letter too, where merging pair by pair
would be quadratic), and release the GIL, so that a thread can do it beside the event loop.
"""

import re
from functools import cache
from typing import Protocol

# Half a surrogate pair is no character; it counts as what would replace it. One for one, so that places stay the same.
_HALVES = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Tokenizer(Protocol):
    """What is used of the Rust tokenizer."""

    def count(self, text: str) -> int:
        """How many tokens `text` is. Raises UnicodeEncodeError for half a surrogate pair."""

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`. Raises UnicodeEncodeError for half a surrogate pair."""

    def decode(self, tokens: list[int]) -> str:
        """The text of `tokens`. Raises ValueError where they begin or end inside a character."""


@cache
def load() -> Tokenizer:
    """The Rust tokenizer."""
    # The package's public wrapper refuses texts of a megabyte and more; the binding below it has no such limit.
    from bpe_openai import _bindings  # type: ignore[import-untyped]  # noqa: PLC0415

    tokenizer: Tokenizer = _bindings.tokenizer_for_encoding("o200k_base")
    return tokenizer


def count(text: str) -> int:
    """How many o200k tokens `text` is, special tokens taken as plain text."""
    try:
        return load().count(text)
    except UnicodeEncodeError:
        return load().count(_HALVES.sub(_REPLACEMENT, text))


def cut(text: str, tokens: int) -> str:
    """The beginning of `text` that its first `tokens` tokens are; all of it where it has no more.

    Where the last token ends inside a character, that character is left out: a character may be several tokens. The
    result never counts more than `tokens`.
    """
    try:
        encoded = load().encode(text)
    except UnicodeEncodeError:
        encoded = load().encode(_HALVES.sub(_REPLACEMENT, text))
    if len(encoded) <= tokens:
        return text
    decoded, whole = _decode(encoded[:tokens])
    end = len(decoded)
    if whole < tokens:  # a token may hold the end of one character and the beginning of the next
        while count(text[: end + 1]) <= tokens:
            end += 1
    return text[:end]


def _decode(tokens: list[int]) -> tuple[str, int]:
    """The text of the most tokens that end with a character, and how many these are."""
    for whole in range(len(tokens), 0, -1):
        try:
            return load().decode(tokens[:whole]), whole
        except ValueError:
            continue
    return "", 0
