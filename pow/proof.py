"""Proof tokens: encode a config, find the counter that solves a challenge, check what a client sent (protocol.md 2.3).

Rule: pure functions. The digest is taken over the base64 text exactly as it is sent, never over a re-encoding of it.
"""

import base64
import hashlib
from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from pow.challenge import Challenge
from pow.profile import COUNTER, HALF_COUNTER

PROOF_PREFIX = "gAAAAAB"
REQUIREMENTS_PREFIX = "gAAAAAC"
NEWER_SUFFIX = "~S"
"""Newer browsers append this to a token; it is not part of the base64 text."""

SHORTEST_CONFIG, LONGEST_CONFIG = 13, 25
"""Elements of the shortest and the longest config in the wild (protocol.md 2.4)."""


def encode(config: Sequence[object]) -> str:
    """Return B: base64 of the config as JSON without spaces and with non-ASCII characters as they are."""
    return base64.b64encode(msgspec.json.encode(config)).decode("ascii")


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


# --- The search ---------------------------------------------------------------------------------------------------
#
# Only two elements change from one attempt to the next, so only the base64 groups that touch them are made anew:
#
#     [3000,"Mon …",4294705152,  17  ,"chat2api/0.1",…,"en-US,en",   8   ,"onLine…",…,"00000000-…"]
#     |--------- head ---------|  i  |---------- middle ----------| i>>1 |----------- tail ---------|
#
# A base64 group is three bytes wide and takes no notice of where an element ends. `near` is therefore the counter plus
# the last 0-2 bytes of the head and the first 0-2 of the middle; `far` is the same around the half counter. Where the
# groups fall depends on how many digits each counter has, so a frame serves one run of counters of equal widths.


class _Pieces(NamedTuple):
    """The JSON bytes around the two counters; the head split into whole base64 groups, encoded, and the rest."""

    head: bytes
    head_rest: bytes
    middle: bytes
    tail: bytes


class _Frame(NamedTuple):
    """What follows the encoded head: encode(near % i) + between + encode(far % (i >> 1)) + after."""

    near: bytes
    between: bytes
    far: bytes
    after: bytes


def search(challenge: Challenge, config: Sequence[object], *, start: int = 0, attempts: int = 500_000) -> str | None:
    """Try the counters `start` to `start + attempts - 1` and return the first token that is accepted, or None.

    Element 3 of the config is the counter i, element 9 is i >> 1; every other element stays (protocol.md 2.3). Raises
    `ValueError` for a config that is not 13 to 25 elements long.
    """
    pieces = _cut(config)
    absorbed = hashlib.sha3_512(challenge.seed.encode() + pieces.head)
    for run in _runs_of_equal_width(start, start + attempts):
        encoded = _search_run(absorbed, _fit(pieces, run.start), run, challenge.highest_digest)
        if encoded is not None:
            return PROOF_PREFIX + (pieces.head + encoded).decode("ascii")
    return None


def _search_run(absorbed: "hashlib._Hash", frame: _Frame, run: range, highest: bytes) -> bytes | None:
    """Return the base64 text behind the head of the first accepted attempt. This loop is all the time there is."""
    near, between, far, after = frame
    for half in range(run.start >> 1, (run.stop + 1) >> 1):
        behind = between + b2a_base64(far % half, newline=False) + after
        for counter in range(max(run.start, half * 2), min(run.stop, half * 2 + 2)):
            attempt = absorbed.copy()
            encoded = b2a_base64(near % counter, newline=False) + behind
            attempt.update(encoded)
            if attempt.digest() <= highest:
                return encoded
    return None


def _runs_of_equal_width(start: int, stop: int) -> Iterator[range]:
    """Cut start..stop where the counter (10, 100, ...) or its half (20, 200, ...) gains a digit."""
    while start < stop:
        width = 10 ** len(str(start))
        edges = (width // 5, width)  # for 1..9: 2 is no edge, but cutting there costs nothing
        end = min(edge for edge in (*edges, stop) if edge > start)
        yield range(start, end)
        start = end


def _cut(config: Sequence[object]) -> _Pieces:
    if not SHORTEST_CONFIG <= len(config) <= LONGEST_CONFIG:
        raise ValueError(f"a proof config has {SHORTEST_CONFIG} to {LONGEST_CONFIG} elements")
    elements = [msgspec.json.encode(element) for element in config]
    head = b"[" + b"".join(element + b"," for element in elements[:COUNTER])
    middle = b"," + b"".join(element + b"," for element in elements[COUNTER + 1 : HALF_COUNTER])
    tail = b"".join(b"," + element for element in elements[HALF_COUNTER + 1 :]) + b"]"
    return _Pieces(*_encode_whole_groups(head), middle, tail)


def _fit(pieces: _Pieces, counter: int) -> _Frame:
    """Place the base64 groups for counters as wide as this one."""
    near, middle = _surround(pieces.head_rest, len(str(counter)), pieces.middle)
    between, middle_rest = _encode_whole_groups(middle)
    far, tail = _surround(middle_rest, len(str(counter >> 1)), pieces.tail)
    return _Frame(near, between, far, base64.b64encode(tail))


def _encode_whole_groups(raw: bytes) -> tuple[bytes, bytes]:
    """Return the base64 of as many whole groups as there are, and the 0-2 bytes left over."""
    end = len(raw) // 3 * 3
    return base64.b64encode(raw[:end]), raw[end:]


def _surround(before: bytes, digits: int, behind: bytes) -> tuple[bytes, bytes]:
    """Return a `%`-template of whole groups around a counter of so many digits, and what is left of `behind`."""
    taken = -(len(before) + digits) % 3
    return _literal(before) + b"%d" + _literal(behind[:taken]), behind[taken:]


def _literal(raw: bytes) -> bytes:
    return raw.replace(b"%", b"%%")


_CONFIG = msgspec.json.Decoder(list[msgspec.Raw])
