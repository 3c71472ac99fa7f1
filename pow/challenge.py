"""A proof-of-work challenge as upstream states it, and the rule that accepts a digest (protocol.md 2.3).

Rule: a difficulty is a *prefix* of a digest; two of them are compared by the share of digests they accept.
"""

import re
from functools import lru_cache

import msgspec

DIGEST_HEX_LENGTH = 128
"""Hex characters of a SHA3-512 digest, so also the longest difficulty that means anything."""

_DIFFICULTY = re.compile(rf"[0-9a-fA-F]{{1,{DIGEST_HEX_LENGTH}}}")


class Challenge(msgspec.Struct, frozen=True):
    """`seed` and `difficulty` of a `proofofwork` object (protocol.md 2.1).

    Raises `ValueError` when the difficulty is not 1 to 128 hex characters or the seed cannot be written as UTF-8;
    inside `msgspec.json.decode` that becomes a `msgspec.ValidationError` with the path of the field's object.
    """

    seed: str
    difficulty: str

    def __post_init__(self) -> None:
        _bounds(self.difficulty)
        self.seed.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError

    @property
    def highest_digest(self) -> bytes:
        """The largest 64-byte digest that is still accepted."""
        return _bounds(self.difficulty)[0]

    @property
    def expected_attempts(self) -> float:
        """How many attempts it takes on average. That is also how many are still to come after any number in vain."""
        return _bounds(self.difficulty)[1]

    def accepts(self, digest_hex: str) -> bool:
        """Whether a lowercase hex digest solves this challenge: its first n characters are `<=` the difficulty's n.

        Equality is accepted (protocol.md 2.3). A digest shorter than the difficulty is never accepted.
        """
        length = len(self.difficulty)
        return len(digest_hex) >= length and digest_hex[:length] <= self.difficulty.lower()

    def is_harder_than(self, floor: str) -> bool:
        """Whether this difficulty accepts strictly fewer digests than `floor` does (smaller = harder).

        Both are prefixes: n characters `d` accept the digests up to `d` followed by `f` for ever, that is the share
        (d + 1) / 16**n of all. So the shorter one is continued with `f`, and then they compare like any two numbers:
        "0000" and "0000ff" ask for the same work, and "00" is easier than "0000". For equal lengths this is the plain
        string comparison of protocol.md 2.3. Raises `ValueError` when `floor` is not a difficulty.
        """
        return _bounds(self.difficulty)[0] < _bounds(floor)[0]


@lru_cache(maxsize=16)  # one challenge asks for it five times, and upstream's difficulties are few
def _bounds(difficulty: str) -> tuple[bytes, float]:
    """The highest digest that is accepted, and the attempts it takes on average."""
    if not _DIFFICULTY.fullmatch(difficulty):
        raise ValueError(f"a difficulty is 1 to {DIGEST_HEX_LENGTH} hex characters")
    highest = bytes.fromhex(difficulty.ljust(DIGEST_HEX_LENGTH, "f"))
    digests: int = 16**DIGEST_HEX_LENGTH
    return highest, digests / (int.from_bytes(highest) + 1)
