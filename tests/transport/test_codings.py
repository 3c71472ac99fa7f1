"""Content codings: every one piece by piece, whatever the pieces, and no bomb costs more than a block."""

import gzip
import sys
import tracemalloc
import zlib

import brotlicffi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.transport.codings import CodingError, Decoder, TooLargeError, decode_body, decoder_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(body):
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


CODED = {
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "X-GZIP ": lambda body: gzip.compress(body, mtime=0),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "br": brotlicffi.compress,
    "zstd": zstd.compress,
}
codings = pytest.mark.parametrize("coding", CODED)
bodies = st.binary(max_size=300) | st.integers(0, 300_000).map(lambda size: b"data: x\n\n" * (size // 9))


@given(st.sampled_from([*CODED, "", "identity"]), bodies, st.integers(1, 5000))
def test_a_body_cut_anywhere_comes_back(coding, body, size):
    coded = CODED.get(coding, bytes)(body)
    decoder = Decoder(coding, limit=len(body))
    pieces = [decoder.decode(coded[at : at + size]) for at in range(0, len(coded), size)]
    decoder.finish()
    assert b"".join(pieces) == body
    assert decode_body(coded, coding, len(body)) == body


@codings
def test_the_limit_is_exact(coding):
    coded = CODED[coding](b"x" * 200_000)
    assert len(decode_body(coded, coding, 200_000)) == 200_000
    with pytest.raises(TooLargeError):
        decode_body(coded, coding, 199_999)


def test_the_limit_counts_all_pieces_and_plain_ones_too():
    decode = decoder_of("identity", 10)
    assert decode(b"12345") + decode(b"67890") == b"1234567890"
    with pytest.raises(TooLargeError):
        decode(b"1")


@codings
def test_nothing_past_the_limit_is_ever_made(coding):
    bomb = CODED[coding](bytes(50_000_000))
    decoder = Decoder(coding, 100_000)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            decoder.decode(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


@codings
def test_a_bomb_can_be_taken_block_by_block(coding):
    sizes = [len(block) for block in Decoder(coding).blocks(CODED[coding](bytes(10_000_000)))]
    assert sum(sizes) == 10_000_000
    assert max(sizes) <= 64 * 1024


@codings
def test_damaged_cut_off_and_followed_bodies(coding):
    coded = CODED[coding](bytes(range(256)) * 40)
    for wrong in (coded[:-1], coded + b"x", coded + coded, b"\xff" + coded[1:], coded[:1]):
        with pytest.raises(CodingError):
            decode_body(wrong, coding, 1_000_000)
    decoder = Decoder(coding)
    decoder.decode(coded)
    with pytest.raises(CodingError):
        decoder.decode(b"more")


@pytest.mark.parametrize("coding", ["sdch", "gzip, br", "gzip,gzip", "compress"])
def test_what_is_not_known_is_refused(coding):
    with pytest.raises(CodingError, match="not known here"):
        decode_body(b"x", coding, 100)


def test_a_window_beyond_what_http_allows_is_refused():
    """A frame can ask its reader for 128 MB before it has decoded a byte."""
    wide = zstd.compress(bytes(range(256)) * 100_000, options={zstd.CompressionParameter.window_log: 25})
    with pytest.raises(CodingError):
        decode_body(wide, "zstd", 100_000_000)


def test_no_body_is_no_error():
    assert decode_body(b"", "gzip", 0) == b""
