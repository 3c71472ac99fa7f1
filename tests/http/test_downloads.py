"""What is sent on of upstream's length: only one that a server can keep to."""

import pytest

from shim.http.downloads import length_of


@pytest.mark.parametrize("text", ["0", "12", "9" * 15])
def test_a_length_that_can_be_kept(text):
    assert length_of({"content-length": text}) == {"content-length": text}


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "0x1f", " 1", "1, 1", "²", "٣", "9" * 23])
def test_a_length_that_breaks_our_own_answer(text):
    """Sent on, one of 23 digits closed the client's connection without an answer."""
    assert length_of({"content-length": text}) == {}


@pytest.mark.parametrize("how", [{"transfer-encoding": "chunked"}, {"content-encoding": "gzip"}])
def test_a_length_beside_another_framing_or_coding_is_not_the_bodys(how):
    """Upstream that sends both was a traceback and a cut answer here."""
    assert length_of({"content-length": "5"} | how) == {}
