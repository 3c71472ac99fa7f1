"""Encoding, search and verification: the vectors of protocol.md 2.6, and the fast search against a plain one."""

import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pow import (
    Challenge,
    ClientProfile,
    digest,
    encode,
    proof_config,
    requirements_token,
    search,
    verify,
    verify_requirements_token,
)

PROFILE = ClientProfile(
    user_agent="UA/1.0",
    script_url="https://example.test/a.js",
    build="dpl=test",
    navigator_property="webdriver−false",
    timezone_offset_minutes=-300,
    timezone_text="Eastern Standard Time",
)
CONFIG = proof_config(
    PROFILE,
    now=datetime(2024, 1, 1, 5, tzinfo=UTC),
    performance_ms=1234.5,
    session_id="00000000-0000-4000-8000-000000000000",
)
EASY = Challenge("0.42", "0fffff")
HARDER = Challenge("0.6180339887", "000fff")
FIRST_B = (
    "WzMwMDAsIk1vbiBKYW4gMDEgMjAyNCAwMDowMDowMCBHTVQtMDUwMCAoRWFzdGVybiBTdGFuZGFyZCBUaW1lKSIsNDI5NDcwNTE1MiwxLCJVQS8x"
    "LjAiLCJodHRwczovL2V4YW1wbGUudGVzdC9hLmpzIiwiZHBsPXRlc3QiLCJlbi1VUyIsImVuLVVTLGVuIiwwLCJ3ZWJkcml2ZXLiiJJmYWxzZSIs"
    "ImxvY2F0aW9uIiwiYWxlcnQiLDEyMzQuNSwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0="
)


def counted(config: list[object], counter: int) -> list[object]:
    return [*config[:3], counter, *config[4:9], counter >> 1, *config[10:]]


def plain_search(challenge: Challenge, config: list[object], start: int, attempts: int) -> str | None:
    """What protocol.md 2.3 says, word by word, and nothing clever."""
    for counter in range(start, start + attempts):
        text = json.dumps(counted(config, counter), separators=(",", ":"), ensure_ascii=False)
        encoded = base64.b64encode(text.encode()).decode()
        hashed = hashlib.sha3_512((challenge.seed + encoded).encode()).hexdigest()
        if hashed[: len(challenge.difficulty)] <= challenge.difficulty:
            return "gAAAAAB" + encoded
    return None


def token_of(config: object, prefix: str = "gAAAAAB", **dumps: object) -> str:
    return prefix + base64.b64encode(json.dumps(config, **dumps).encode()).decode()


# --- The vectors of protocol.md 2.6 ---


@pytest.mark.parametrize(
    ("challenge", "first", "starts"), [(EASY, 1, "066fd24260a3c131"), (HARDER, 140, "000f0c8165bbdcf8")]
)
def test_vectors(challenge, first, starts):
    encoded = encode(counted(CONFIG, first))
    assert digest(challenge.seed, encoded).startswith(starts)
    assert search(challenge, CONFIG) == "gAAAAAB" + encoded
    assert search(challenge, CONFIG, attempts=first) is None  # 0 .. first - 1
    assert search(challenge, CONFIG, start=first, attempts=1) == "gAAAAAB" + encoded
    assert verify("gAAAAAB" + encoded, challenge)
    assert not verify("gAAAAAB" + encode(counted(CONFIG, first - 1)), challenge)


def test_the_first_vectors_base64_byte_for_byte():
    assert encode(counted(CONFIG, 1)) == FIRST_B
    assert search(EASY, CONFIG) == "gAAAAAB" + FIRST_B


def test_the_unsolved_form_does_not_verify():
    assert not verify("gAAAAABwQ8Lk5FbGpA2NcR9dShT6gYjU7VxZ4DIjAuNDIi", Challenge("0.42", "f"))


# --- The fast search against the plain one ---

# Strings with "%" (the search formats templates), quotes, and characters of 1 to 4 bytes, so that every base64
# alignment of the head, the middle and the tail occurs; empty strings make the pieces as short as they get.
texts = st.text(
    st.one_of(st.sampled_from('%d"\\,−é😀\n\x00\x7f '), st.characters(exclude_categories=["Cs"])), max_size=9
)
elements = st.one_of(texts, st.integers(-(2**63), 2**63), st.none(), st.booleans(), st.just(1234.5))
configs = st.lists(elements, min_size=13, max_size=25)
starts = st.one_of(
    st.sampled_from([0, 1, 8, 18, 95, 99, 195, 199, 995, 1996, 9_999, 19_999, 99_990, 199_995]),
    st.integers(0, 3_000_000),
)
SHORTEST = [0] * 13


@given(configs, starts, texts, st.integers(0, 40))
@example(SHORTEST, 0, "", 30)
@example(["%d"] * 25, 9, "%d", 12)
def test_search_finds_what_a_plain_search_finds(config, start, seed, attempts):
    challenge = Challenge(seed, "08")
    assert search(challenge, config, start=start, attempts=attempts) == plain_search(challenge, config, start, attempts)


@given(configs, starts)
def test_each_attempt_is_made_with_its_own_counter(config, start):
    challenge = Challenge("0.42", "f")  # accepts everything, so each call returns its first attempt
    for counter in range(start, start + 4):
        token = search(challenge, config, start=counter, attempts=1)
        assert token == "gAAAAAB" + encode(counted(config, counter))
        assert verify(token, challenge)


@pytest.mark.parametrize("padding", ["", "x", "xx"])
@pytest.mark.parametrize("edge", [10, 20, 100, 200, 1000, 2000, 10_000, 20_000, 100_000, 200_000, 1_000_000])
def test_search_crosses_the_counters_where_a_digit_is_gained(padding, edge):
    config = [padding, *CONFIG[1:]]
    found = set()
    for seed in map(str, range(30)):
        challenge = Challenge(seed, "2")
        token = search(challenge, config, start=edge - 5, attempts=10)
        assert token == plain_search(challenge, config, edge - 5, 10)
        found.add(token)
    assert len(found) > 3


def test_slices_joined_together_are_the_whole_search():
    slices = (search(HARDER, CONFIG, start=start, attempts=7) for start in range(0, 200, 7))
    assert next(token for token in slices if token) == search(HARDER, CONFIG)


def test_no_attempts_find_nothing():
    assert search(Challenge("0.42", "f"), CONFIG, attempts=0) is None


def test_the_config_is_left_as_it_was():
    before = list(CONFIG)
    search(EASY, CONFIG)
    requirements_token(CONFIG)
    assert before == CONFIG


@pytest.mark.parametrize("length", [0, 10, 12, 26])
def test_a_config_of_another_length_cannot_be_searched(length):
    with pytest.raises(ValueError, match="13 to 25"):
        search(EASY, [0] * length)


@given(configs)
def test_encode_is_compact_json_with_raw_unicode(config):
    text = json.dumps(config, separators=(",", ":"), ensure_ascii=False)
    assert base64.b64decode(encode(config)).decode() == text


# --- Verification ---


@pytest.mark.parametrize("length", [13, 15, 18, 25])
def test_configs_of_every_known_length_verify(length):
    assert verify(token_of([0] * length), Challenge("0.42", "f"))
    assert verify_requirements_token(token_of([0] * length, "gAAAAAC"))


def test_the_digest_is_over_the_base64_that_was_sent():
    """g4f encodes with spaces; a verifier that encoded the config again would refuse it."""
    config = [*CONFIG]
    challenge = Challenge("0.42", "1")
    for counter in range(200):
        token = token_of(counted(config, counter), separators=(", ", ": "))
        if challenge.accepts(digest(challenge.seed, token.removeprefix("gAAAAAB"))):
            break
    assert verify(token, challenge)


def test_the_newer_suffix_is_not_part_of_the_proof():
    assert verify("gAAAAAB" + FIRST_B + "~S", EASY)
    assert not verify("gAAAAAB" + FIRST_B + "~S~S", EASY)


@pytest.mark.parametrize("config", [[0] * 12, [0] * 26, [], {}, {"a": 1}, "text", 7, None, True, [[0] * 13]], ids=repr)
def test_other_json_is_not_a_config(config):
    assert not verify(token_of(config), Challenge("0.42", "f"))
    assert not verify_requirements_token(token_of(config, "gAAAAAC"))


RUBBISH = [
    "",
    "gAAAAAB",
    "gAAAAAB~S",
    "gaaaaab" + FIRST_B,
    FIRST_B,
    " gAAAAAB" + FIRST_B,
    "gAAAAAB" + FIRST_B + "\n",
    "gAAAAAB" + FIRST_B[:-1],
    "gAAAAAB" + FIRST_B.replace("=", ""),
    "gAAAAAB" + FIRST_B[:40] + "*" + FIRST_B[41:],
    "gAAAAAB" + FIRST_B[:40] + "é" + FIRST_B[41:],
    "gAAAAAB\ud800",
    "gAAAAAB" + base64.b64encode(b"[" * 100_000).decode(),
    "gAAAAAB" + base64.b64encode(b"[" * 13 + b"\xff" * 13).decode(),
    "gAAAAAB" + base64.b64encode(b'["\xff",0,0,0,0,0,0,0,0,0,0,0,0,0').decode(),
]


@pytest.mark.parametrize("token", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_does_not_verify(token):
    assert not verify(token, Challenge("0.42", "f"))
    assert not verify_requirements_token(token.replace("gAAAAAB", "gAAAAAC"))


@given(st.text(st.characters(), max_size=60), st.sampled_from(["", "gAAAAAB", "gAAAAAC"]))
def test_verification_never_raises_on_text(text, prefix):
    assert not verify(prefix + text, EASY)
    assert not verify_requirements_token(prefix + text)


@given(st.binary(max_size=60), st.sampled_from(["", "~S"]))
def test_verification_never_raises_on_decodable_bytes(raw, suffix):
    encoded = base64.b64encode(raw).decode() + suffix
    assert not verify("gAAAAAB" + encoded, EASY)
    assert not verify_requirements_token("gAAAAAC" + encoded)


# --- The requirement token ---


def test_the_requirements_token_is_one_attempt():
    token = requirements_token(CONFIG)
    config = json.loads(base64.b64decode(token.removeprefix("gAAAAAC")))
    assert config == [*CONFIG[:3], 1, *CONFIG[4:]]
    assert verify_requirements_token(token)
    assert verify_requirements_token(token + "~S")


def test_the_two_tokens_are_not_taken_for_each_other():
    assert not verify(requirements_token(CONFIG), Challenge("0.42", "f"))
    assert not verify_requirements_token("gAAAAAB" + FIRST_B)
