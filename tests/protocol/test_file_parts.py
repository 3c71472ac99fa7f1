"""Files in a request: which parts have one, under which `param`, and what the inline ones hold."""

import base64
import json

import pytest
from shim.protocol.turn.file_parts import MAX_FILES, FileInput, decode_inline, file_inputs

from shim.apis.chat.read import chat_request
from shim.errors import RequestError

TEXT = {"type": "text", "text": "look"}


def request(*contents):
    messages = [{"role": "user", "content": content} for content in contents]
    return chat_request(json.dumps({"model": "auto", "messages": messages}).encode())[0]


def image(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(**source):
    return {"type": "file", "file": source}


def inputs(*contents):
    return file_inputs(request(*contents))


def test_a_request_without_files_has_none():
    assert inputs("hello", [TEXT], None) == []


def test_every_file_is_found_with_its_place():
    found = inputs(
        [TEXT, image(" https://a.test/x.png ", detail="low")],
        "between",
        [
            {"type": "image_url", "image_url": "data:image/png;base64,AA=="},
            file(file_data="https://a.test/x.pdf", filename="x.pdf"),
            file(file_data="DATA:text/plain,hi"),
            file(file_data="aGVsbG8=", filename="y.txt"),
            file(file_url="http://a.test/z"),
        ],
    )
    assert found == [
        FileInput(
            0, 1, "messages[0].content[1].image_url.url", "url", "https://a.test/x.png", picture=True, detail="low"
        ),
        FileInput(2, 0, "messages[2].content[0].image_url", "data_url", "data:image/png;base64,AA==", picture=True),
        FileInput(
            2, 1, "messages[2].content[1].file.file_data", "url", "https://a.test/x.pdf", picture=False, name="x.pdf"
        ),
        FileInput(2, 2, "messages[2].content[2].file.file_data", "data_url", "DATA:text/plain,hi", picture=False),
        FileInput(2, 3, "messages[2].content[3].file.file_data", "base64", "aGVsbG8=", picture=False, name="y.txt"),
        FileInput(2, 4, "messages[2].content[4].file.file_url", "url", "http://a.test/z", picture=False),
    ]


@pytest.mark.parametrize(
    ("part", "param", "code"),
    [
        (file(file_id="file-1"), "messages[1].content[1].file.file_id", "unsupported_content"),
        (file(), "messages[1].content[1].file", "missing_required_parameter"),
        (file(file_data="", filename="x"), "messages[1].content[1].file", "missing_required_parameter"),
        (
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
            "messages[1].content[1].input_audio",
            "unsupported_content",
        ),
    ],
)
def test_parts_that_are_not_served(part, param, code):
    with pytest.raises(RequestError) as raised:
        inputs("hi", [TEXT, part])
    assert (raised.value.http_status, raised.value.param, raised.value.code) == (400, param, code)


def test_there_are_only_so_many_files():
    pictures = [image("https://a.test/x")] * MAX_FILES
    assert len(inputs(pictures)) == MAX_FILES
    with pytest.raises(RequestError) as raised:
        inputs(pictures, [TEXT, image("https://a.test/x")])
    assert (raised.value.code, raised.value.param) == ("too_many_files", "messages[1].content[1].image_url.url")


def given(text, form="data_url"):
    return FileInput(0, 0, "messages[0].content[0].image_url.url", form, text, picture=True)


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
