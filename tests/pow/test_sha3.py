"""The compiled solver and its twin in Python against hashlib and NIST's vectors, for every width this processor has."""

import base64
import functools
import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pow import LANES, hashing, plain

try:
    from pow import _sha3
except ImportError:  # there was no compiler
    _sha3 = None

WIDTHS = [width for width in (1, 4, 8) if width <= LANES]
compiled = pytest.mark.skipif(_sha3 is None, reason="the compiled solver is not here: no C compiler")


def finders() -> list[object]:
    found = [pytest.param(plain.find, id="plain")]
    for width in WIDTHS:
        for niceness in (0, 5):
            compiled_find = functools.partial(compiled_with, width, niceness)
            found.append(pytest.param(compiled_find, id=f"lanes-{width}{'-nice' * bool(niceness)}"))
    return found


def compiled_with(lanes: int, niceness: int, *order: object) -> int | None:
    return _sha3.find(*order, lanes, niceness)


def literally(
    seed: bytes, head: bytes, middle: bytes, tail: bytes, start: int, stop: int, highest: bytes
) -> int | None:
    for counter in range(start, stop):
        text = head + str(counter).encode() + middle + str(counter >> 1).encode() + tail
        if hashlib.sha3_512(seed + base64.b64encode(text)).digest() <= highest:
            return counter
    return None


# --- SHA3-512 itself ---

# From NIST's examples with intermediate values (SHA3-512_Msg0, SHA3-512_1600), from its test vectors for FIPS 202
# (SHA3_512ShortMsg.rsp, Len = 8), and the long-standing messages of FIPS 180 with their SHA3-512 digests.
NIST = {
    b"": "a69f73cca23a9ac5c8b567dc185a756e97c982164fe25859e0d1dcc1475c80a6"
    "15b2123af1f5f94c11e3e9402c3ac558f500199d95b6d3e301758586281dcd26",
    b"\xe5": "150240baf95fb36f8ccb87a19a41767e7aed95125075a2b2dbba6e565e1ce857"
    "5f2b042b62e29a04e9440314a821c6224182964d8b557b16a492b3806f4c39c1",
    b"abc": "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e"
    "10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "04a371e84ecfb5b8b77cb48610fca8182dd457ce6f326a0fd3d7ec2f1e91636d"
        "ee691fbe0c985302ba1b0d8dc78c086346b533b49c030d99a27daf1139d6e75e"
    ),
    b"".join(b"abcdefghijklmnopqrstu"[start : start + 8] for start in range(14)): (
        "afebb2ef542e6579c50cad06d2e578f9f8dd6881d7dc824d26360feebf18a4fa"
        "73e3261122948efcfd492e74e82e2189ed0fb440d187f382270cb455f21dd185"
    ),
    b"\xa3" * 200: "e76dfad22084a8b1467fcf2ffa58361bec7628edf5f3fdc0e4805dc48caeeca8"
    "1b7c13c30adf52a3659584739a2df46be589c51ca1a4a8416df6545a1ce8ba00",
    b"a" * 1_000_000: "3c3a876da14034ab60627c077bb98f7e120a2a5370212dffb3385a18d4f38859"
    "ed311d0a9d5141ce9cc5c66ee689b266a8aa18ace8282a0e0db596c90b0a7b87",
}


@compiled
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("message", NIST, ids=lambda message: f"{len(message)}-bytes")
def test_published_vectors(message, width):
    assert _sha3.digest(message, width).hex() == NIST[message]


@pytest.mark.parametrize("message", NIST, ids=lambda message: f"{len(message)}-bytes")
def test_published_vectors_without_the_compiled_solver(message):
    """The twin trusts hashlib, which may be somebody's own build of OpenSSL."""
    assert hashlib.sha3_512(message).hexdigest() == NIST[message]


@compiled
@pytest.mark.parametrize("width", WIDTHS)
def test_every_length_around_the_blocks(width):
    for length in range(4 * 72 + 2):
        message = bytes(range(256)) + bytes(range(100))
        assert _sha3.digest(message[:length], width) == hashlib.sha3_512(message[:length]).digest(), length


@compiled
@given(st.binary(max_size=600))
def test_digests_are_those_of_hashlib(message):
    assert {_sha3.digest(message, width) for width in WIDTHS} == {hashlib.sha3_512(message).digest()}


# --- The search ---

counters = st.one_of(
    st.sampled_from([0, 1, 8, 18, 95, 99, 195, 199, 995, 1996, 9_999, 19_999, 99_990, 199_995, 2**53, 2**63 - 100]),
    st.integers(0, 10**7),
)
# About one in four, one in sixty, all and none.
highests = st.sampled_from([b"\x3f", b"\x04", b"\xff", b""]).map(
    lambda first: first.ljust(64, b"\xff" if first else b"\0")
)
# `middle` is at least three bytes long, as the comma on either side of an element and the element are.
pieces = st.tuples(
    st.binary(max_size=120), st.binary(max_size=90), st.binary(min_size=3, max_size=90), st.binary(max_size=90)
)


@pytest.mark.parametrize("find", finders())
@given(pieces, counters, st.integers(0, 60), highests)
@example((b"", b"", b"%d%", b""), 9, 12, b"\x3f".ljust(64, b"\xff"))
@settings(max_examples=150)
def test_the_first_counter_that_solves_it_is_found(find, texts, start, attempts, highest):
    order = (*texts, start, start + attempts, highest)
    assert find(*order) == literally(*order)


@pytest.mark.parametrize("find", finders())
@pytest.mark.parametrize("edge", [10, 20, 100, 200, 1000, 2000, 10**6, 2 * 10**6, 10**12, 10**18, 2 * 10**18])
def test_counters_that_gain_a_digit(find, edge):
    found = set()
    for seed in map(b"%d".__mod__, range(30)):
        order = (seed, b"[0,", b",1,2,", b",3]", edge - 7, edge + 7, b"\x1f".ljust(64, b"\xff"))
        found.add(answer := find(*order))
        assert answer == literally(*order)
    assert len(found) > 5


@pytest.mark.parametrize("find", finders())
def test_the_bound_itself_is_accepted_and_what_is_one_higher_is_not(find):
    texts = (b"seed", b"[0,", b",1,2,", b",3]")
    for counter in range(20):
        text = b"[0,%d,1,2,%d,3]" % (counter, counter >> 1)
        value = int.from_bytes(hashlib.sha3_512(b"seed" + base64.b64encode(text)).digest())
        assert find(*texts, counter, counter + 1, value.to_bytes(64)) == counter
        assert find(*texts, counter, counter + 1, (value - 1).to_bytes(64)) is None


@compiled
def test_all_agree_on_a_long_search():
    order = (b"0.42", b'[3000,"Mon Jan 01 2024",4294705152,', b',"chat2api/0.1",', b',"location"]', 0, 200_000)
    answers = {find.values[0](*order, bytes(2) + b"\xff" * 62) for find in finders()}
    assert len(answers) == 1
    assert answers != {None}


@compiled
@pytest.mark.parametrize("niceness", [0, 5])
def test_other_threads_run_meanwhile(niceness):
    """The search is one call of a few tenths of a second, and this thread is not held up by it."""
    order = (b"0.42", b"[0,", b",1,2,", b",3]", 0, 10**12, bytes(64))
    attempts = int(0.3 / hashing.SECONDS_PER_ATTEMPT)
    searching = threading.Thread(target=_sha3.find, args=(*order[:5], attempts, order[6], 0, niceness))
    searching.start()
    turns = 0
    while searching.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 10


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: _sha3.digest(b"", 2), ValueError, "lanes are 1, 4 or 8"),
    (lambda: _sha3.digest(b"", 16), ValueError, "lanes are 1, 4 or 8"),
    (lambda: _sha3.digest("text"), TypeError, "bytes"),
    (lambda: _sha3.find(b"", b"", b"", b"", 0, 1, b"short"), ValueError, "64 bytes"),
    (lambda: _sha3.find(b"", b"", b"", b"", -1, 1, bytes(64)), ValueError, "natural number"),
    (lambda: _sha3.find(b"", b"", b"", b"", 0, 2**63, bytes(64)), OverflowError, "too"),
    (lambda: _sha3.find(b"", b"", b"", b"", 0, 1, bytes(64), 3), ValueError, "lanes are 1, 4 or 8"),
]


@compiled
@pytest.mark.parametrize(("call", "error", "text"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_searched_is_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@compiled
def test_the_compiled_solver_is_taken_where_it_is():
    assert hashing.find is _sha3.find
    assert hashing.find_nicely is not plain.find
    assert _sha3.LANES in {1, 4, 8}


@compiled
def test_nothing_is_left_behind():
    tracemalloc = pytest.importorskip("tracemalloc")
    order = (b"0.42", b"[0,", b",1,2,", b",3]", 0, 100)
    tracemalloc.start()
    try:
        grown = []
        for _ in range(5):  # of which threads of other tests' servers may disturb some
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(200):
                _sha3.find(*order, bytes(64))
                _sha3.find(*order, b"\xff" * 64)
                _sha3.digest(b"x" * 1000)
            grown.append(tracemalloc.get_traced_memory()[0] - before)
        assert min(grown) < 2_000
    finally:
        tracemalloc.stop()
