"""The acceptance rule and the order of difficulties (protocol.md 2.3)."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pow import Challenge

difficulties = st.text("0123456789abcdef", min_size=1, max_size=12)
digests = st.binary().map(lambda raw: hashlib.sha3_512(raw).hexdigest())


def digest_starting(prefix: str) -> str:
    return prefix.ljust(128, "7")


@pytest.mark.parametrize(
    ("difficulty", "start", "accepted"),
    [
        ("0fffff", "066fd24260a3c131", True),
        ("000fff", "000f0c8165bbdcf8", True),
        ("000032", "000031", True),
        ("000032", "000032", True),  # equality is accepted, whatever follows
        ("000032", "000032ffffff", True),
        ("000032", "000033", False),
        ("000032", "1", False),
        ("00003", "00003f", True),  # an odd number of characters
        ("00003", "000040", False),
        ("00000A", "00000a", True),  # upper case is the same number
        ("00000A", "00000b", False),
        ("f", "f", True),
        ("0", "1", False),
    ],
)
def test_the_digests_prefix_is_compared_with_the_difficulty(difficulty, start, accepted):
    assert Challenge("0.42", difficulty).accepts(digest_starting(start)) is accepted


def test_a_difficulty_of_full_length_compares_the_whole_digest():
    challenge = Challenge("0.42", "0" * 127 + "1")
    assert challenge.accepts("0" * 127 + "1")
    assert not challenge.accepts("0" * 127 + "2")


@pytest.mark.parametrize("short", ["", "0", "00000"])
def test_a_digest_shorter_than_the_difficulty_is_refused(short):
    assert not Challenge("0.42", "000032").accepts(short)


@given(difficulties, digests)
def test_highest_digest_draws_the_same_line_in_bytes(difficulty, digest):
    challenge = Challenge("0.42", difficulty)
    assert (bytes.fromhex(digest) <= challenge.highest_digest) is challenge.accepts(digest)
    assert challenge.accepts(challenge.highest_digest.hex())


@pytest.mark.parametrize(
    ("difficulty", "floor", "harder"),
    [
        ("000031", "000032", True),
        ("000032", "000032", False),  # the floor itself is solved
        ("000033", "000032", False),
        ("0000", "000032", False),  # accepts up to 0000ff...
        ("00000", "000032", True),  # accepts up to 00000f...
        ("00003", "000032", False),  # accepts up to 00003f...
        ("0000320", "000032", True),  # accepts up to 0000320f...
        ("000032f", "000032", False),  # the same share, written longer
        ("000032", "000032ff", False),
        ("000032", "00", True),
        ("00", "000032", False),
        ("00001A", "00001b", True),
    ],
)
def test_harder_means_that_fewer_digests_are_accepted(difficulty, floor, harder):
    assert Challenge("0.42", difficulty).is_harder_than(floor) is harder


@given(difficulties, difficulties)
def test_difficulties_compare_like_the_share_they_accept(one, other):
    def share(difficulty: str) -> int:
        return (int(difficulty, 16) + 1) << 4 * (16 - len(difficulty))

    assert Challenge("0.42", one).is_harder_than(other) is (share(one) < share(other))


@pytest.mark.parametrize("bad", ["", "0x12", "00 32", "-1", "+1", "0_1", "g", "٣", "000032\n", "0" * 129])
def test_a_difficulty_that_is_not_hex_is_refused(bad):
    with pytest.raises(ValueError, match="hex"):
        Challenge("0.42", bad)
    with pytest.raises(ValueError, match="hex"):
        Challenge("0.42", "000032").is_harder_than(bad)


def test_a_seed_that_cannot_be_written_is_refused():
    with pytest.raises(ValueError):
        Challenge("\ud800", "000032")


def test_it_decodes_from_the_wire_with_the_field_path_in_the_error():
    class Requirements(msgspec.Struct):
        proofofwork: Challenge

    wire = b'{"proofofwork": {"required": true, "seed": "0.42", "difficulty": "061a80"}}'
    assert msgspec.json.decode(wire, type=Requirements).proofofwork == Challenge("0.42", "061a80")
    with pytest.raises(msgspec.ValidationError, match=r"hex characters - at `\$\.proofofwork`"):
        msgspec.json.decode(wire.replace(b"061a80", b"easy"), type=Requirements)
