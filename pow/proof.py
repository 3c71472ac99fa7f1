"""Proof tokens: encode a config, find the counter that solves a challenge, check what a client sent (protocol.md 2.3).

Rule: pure functions. The digest is taken over the base64 text exactly as it is sent, never over a re-encoding of it.
"""

import base64
import hashlib
from collections.abc import Sequence

import msgspec

from pow.challenge import Challenge
from pow.hashing import Find, find
from pow.profile import COUNTER, HALF_COUNTER

PROOF_PREFIX = "gAAAAAB"
REQUIREMENTS_PREFIX = "gAAAAAC"
NEWER_SUFFIX = "~S"
"""Newer browsers append this to a token; it is not part of the base64 text."""

SHORTEST_CONFIG, LONGEST_CONFIG = 13, 25
"""Elements of the shortest and the longest config in the wild (protocol.md 2.4)."""


def encode(config: Sequence[object]) -> str:
    """Return B: base64 of the config as JSON without spaces and with non-ASCII characters as they are."""
    return base64.b64encode(_json(config)).decode("ascii")


def digest(seed: str, encoded: str) -> str:
    """Return H: 128 lowercase hex characters of SHA3-512 over the seed directly followed by B."""
    return hashlib.sha3_512((seed + encoded).encode()).hexdigest()


def requirements_token(config: Sequence[object]) -> str:
    """Return the `p` of a requirements call (protocol.md 2.4).

    Upstream checks no difficulty here, so, like a browser, this is one attempt and no search.
    """
    first = list(config)
    first[COUNTER] = 1
    return REQUIREMENTS_PREFIX + encode(first)


def verify(token: str, challenge: Challenge) -> bool:
    """Whether a proof token has the right form and its digest is accepted; False, never an error, for rubbish."""
    encoded = _encoded_config(token, PROOF_PREFIX)
    return encoded is not None and challenge.accepts(digest(challenge.seed, encoded))


def verify_requirements_token(token: str) -> bool:
    """Whether a `p` has the right form (protocol.md 2.4); there is no difficulty to meet."""
    return _encoded_config(token, REQUIREMENTS_PREFIX) is not None


def _encoded_config(token: str, prefix: str) -> str | None:
    """Return the B inside a token, or None when it is not the encoding of a config."""
    if not token.startswith(prefix):
        return None
    encoded = token.removeprefix(prefix).removesuffix(NEWER_SUFFIX)
    try:
        config = _CONFIG.decode(base64.b64decode(encoded, validate=True))
    except (ValueError, RecursionError):  # not base64, not JSON, not an array; nested beyond the decoder's depth
        return None
    return encoded if SHORTEST_CONFIG <= len(config) <= LONGEST_CONFIG else None


class Search:
    """The search for a challenge's proof, to be gone through in as many steps as one likes.

    Element 3 of the config is the counter i, element 9 is i >> 1; every other element stays (protocol.md 2.3). Raises
    `ValueError` for a config that is not 13 to 25 elements long.
    """

    def __init__(self, challenge: Challenge, config: Sequence[object]) -> None:
        if not SHORTEST_CONFIG <= len(config) <= LONGEST_CONFIG:
            raise ValueError(f"a proof config has {SHORTEST_CONFIG} to {LONGEST_CONFIG} elements")
        self._seed = challenge.seed.encode()
        self._highest = challenge.highest_digest
        # Three arrays whose brackets, where they meet a counter, are commas: less work than element by element.
        self._head = _json(config[:COUNTER])[:-1] + b","
        self._middle = b"," + _json(config[COUNTER + 1 : HALF_COUNTER])[1:-1] + b","
        self._tail = b"," + _json(config[HALF_COUNTER + 1 :])[1:]

    def run(self, start: int, stop: int, find: Find = find) -> str | None:
        """Try the counters `start` to `stop - 1` and return the first token that is accepted, or None."""
        counter = find(self._seed, self._head, self._middle, self._tail, start, stop, self._highest)
        if counter is None:
            return None
        text = b"%b%d%b%d%b" % (self._head, counter, self._middle, counter >> 1, self._tail)
        return PROOF_PREFIX + base64.b64encode(text).decode("ascii")


def search(
    challenge: Challenge, config: Sequence[object], *, start: int = 0, attempts: int = 500_000, find: Find = find
) -> str | None:
    """Try the counters `start` to `start + attempts - 1` and return the first token that is accepted, or None."""
    return Search(challenge, config).run(start, start + attempts, find)


_CONFIG = msgspec.json.Decoder(list[msgspec.Raw])
_json = msgspec.json.Encoder().encode
