"""The solver in Python: the same function as `_sha3.find`, for installations without a compiler, and as its measure.

Only two numbers change from one attempt to the next, so only the base64 groups that touch them are made anew:

    [3000,"Mon …",4294705152,  17  ,"chat2api/0.1",…,"en-US,en",   8   ,"onLine…",…,"00000000-…"]
    |--------- head ---------|  i  |---------- middle ----------| i>>1 |----------- tail ---------|

A base64 group is three bytes wide and takes no notice of where an element ends. `near` is therefore the counter plus
the last 0-2 bytes of the head and the first 0-2 of the middle; `far` is the same around the half counter. Where the
groups fall depends on how many digits each counter has, so a frame serves one run of counters of equal widths.
"""

import base64
import hashlib
from binascii import b2a_base64
from collections.abc import Iterator
from typing import NamedTuple


class _Frame(NamedTuple):
    """What follows the encoded head: encode(near % i) + between + encode(far % (i >> 1)) + after."""

    near: bytes
    between: bytes
    far: bytes
    after: bytes


def find(  # noqa: PLR0917  as its twin has them
    seed: bytes, head: bytes, middle: bytes, tail: bytes, start: int, stop: int, highest: bytes
) -> int | None:
    """The first i of start..stop - 1 for which SHA3-512 of seed + base64(head + i + middle + (i >> 1) + tail) is at
    most `highest`; None where there is none. `middle` has three bytes or more."""
    encoded_head, head_rest = _encode_whole_groups(head)
    # What all attempts begin with is hashed once; each goes on with a copy.
    absorbed = hashlib.sha3_512(seed + encoded_head)
    for run in _runs_of_equal_width(start, stop):
        near, middle_rest = _surround(head_rest, len(str(run.start)), middle)
        between, middle_rest = _encode_whole_groups(middle_rest)
        far, tail_rest = _surround(middle_rest, len(str(run.start >> 1)), tail)
        found = _search_run(absorbed, _Frame(near, between, far, base64.b64encode(tail_rest)), run, highest)
        if found is not None:
            return found
    return None


def _search_run(absorbed: "hashlib._Hash", frame: _Frame, run: range, highest: bytes) -> int | None:
    """This loop is all the time there is."""
    near, between, far, after = frame
    for half in range(run.start >> 1, (run.stop + 1) >> 1):
        # Two counters have the same half, so that all behind it is made for both.
        behind = between + b2a_base64(far % half, newline=False) + after
        for counter in range(max(run.start, half * 2), min(run.stop, half * 2 + 2)):
            attempt = absorbed.copy()
            attempt.update(b2a_base64(near % counter, newline=False) + behind)
            if attempt.digest() <= highest:
                return counter
    return None


def _runs_of_equal_width(start: int, stop: int) -> Iterator[range]:
    """Cut start..stop where the counter (10, 100, ...) or its half (20, 200, ...) gains a digit."""
    while start < stop:
        width = 10 ** len(str(start))
        edges = (width // 5, width)  # for 1..9: 2 is no edge, but cutting there costs nothing
        end = min(edge for edge in (*edges, stop) if edge > start)
        yield range(start, end)
        start = end


def _encode_whole_groups(raw: bytes) -> tuple[bytes, bytes]:
    """The base64 of as many whole groups as there are, and the 0-2 bytes left over."""
    end = len(raw) // 3 * 3
    return base64.b64encode(raw[:end]), raw[end:]


def _surround(before: bytes, digits: int, behind: bytes) -> tuple[bytes, bytes]:
    """A `%`-template of whole groups around a counter of so many digits, and what is left of `behind`."""
    taken = -(len(before) + digits) % 3
    return _literal(before) + b"%d" + _literal(behind[:taken]), behind[taken:]


def _literal(raw: bytes) -> bytes:
    # A `%` of the config's own is no place for a counter.
    return raw.replace(b"%", b"%%")
