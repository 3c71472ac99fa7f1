"""What inline files hold: data URLs and bare base64."""

import base64

import pytest

from shim.errors import RequestError
from shim.protocol.prompt import Image
from shim.protocol.turn.inline_files import decode_inline


def given(text, form="data_url"):
    return Image(text, form, "messages[0].content[0].image_url.url")


@pytest.mark.parametrize(
    ("url", "content", "mime_type"),
    [
        ("data:image/png;base64,aGVsbG8=", b"hello", "image/png"),
        ("DATA:Image/PNG;BASE64,aGVsbG8=", b"hello", "image/png"),
        ("data:;base64,aGVsbG8", b"hello", None),
        ("data:text/plain;charset=utf-8;base64,aGVs\r\n bG8=\n", b"hello", "text/plain"),
        ("data:text/plain; base64 ,aGVsbG8=", b"hello", "text/plain"),
        ("data:x/y;base64,aGVsbG8%3D", b"hello", "x/y"),
        ("data:x/y;base64,-_-_", b"\xfb\xff\xbf", "x/y"),
        ("data:x/y;base64,+/+/", b"\xfb\xff\xbf", "x/y"),
        ("data:,A%20brief%20note", b"A brief note", None),  # RFC 2397's own example
        ("data:text/plain;charset=iso-8859-7,%be%fa%be", b"\xbe\xfa\xbe", "text/plain"),  # and its second
        ("data:text/plain,a+b,c%zz%4", b"a+b,c%zz%4", "text/plain"),
    ],
)
def test_data_urls_that_can_be_read(url, content, mime_type):
    inline = decode_inline(given(url), 100)
    assert (inline.content, inline.mime_type) == (content, mime_type)


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,   ",
        "data:,",
        "data:image/png;base64,a",
        "data:image/png;base64,aGVs*G8=",
        "data:image/png;base64,aGVsb=G8",
        "data:image/png;base64,ünïcode",
        "data:image/png;base64,aGVsbG8=%FF",
        "data:" + "x" * 500 + ",a",
        "data:text/plain," + "%41" * 250_001,
    ],
)
def test_data_urls_that_can_not(url):
    with pytest.raises(RequestError) as raised:
        decode_inline(given(url), 10**7)
    assert (raised.value.http_status, raised.value.code) == (400, "invalid_data_url")
    assert raised.value.param == "messages[0].content[0].image_url.url"


def test_bare_base64():
    assert decode_inline(given("aGVs\nbG8", "base64"), 5).content == b"hello"
    with pytest.raises(RequestError, match="base64 data"):
        decode_inline(given("not base64!", "base64"), 5)


def test_the_limit_is_in_decoded_bytes():
    data = base64.b64encode(b"x" * 100).decode()
    assert len(decode_inline(given(data, "base64"), 100).content) == 100
    with pytest.raises(RequestError) as raised:
        decode_inline(given(data, "base64"), 99)
    assert (raised.value.http_status, raised.value.code) == (400, "file_too_large")
