"""Forms with files: read at once or as they arrive, bounded, and rubbish told as the client's mistake."""

import pytest

from shim.errors import RequestError
from shim.http.multipart import MAX_PARTS, MAX_VALUE, FormPart, FormStream, read_form

KIND = "multipart/form-data; boundary=b0"
BODY = (
    b'--b0\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a \xc3\xa9.bin"\r\n'
    b"Content-Type: Application/Octet-Stream\r\n\r\n\r\n--b\r\n\x00\xff--b0\r\n\r\n"
    b'--b0\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n--b0--\r\n'
)
PARTS = [
    FormPart("purpose", b"assistants"),
    FormPart("file", b"\r\n--b\r\n\x00\xff--b0\r\n", "a é.bin", "application/octet-stream"),
    FormPart("empty", b""),
]


async def arriving(body, size):
    for place in range(0, len(body), size):
        yield body[place : place + size]


async def streamed(body, size, kind=KIND):
    parts = []
    async for part in FormStream(arriving(body, size), kind).parts():
        content = b"".join([piece async for piece in part.pieces()])
        parts.append(FormPart(part.name, content, part.filename, part.content_type))
    return parts


def test_a_whole_body():
    assert read_form(BODY, KIND) == PARTS
    assert read_form(BODY, 'Multipart/Form-Data; charset=utf-8; boundary="b0"') == PARTS
    assert PARTS[0].text == "assistants"


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
async def test_a_body_that_arrives_in_pieces(size):
    assert await streamed(BODY, size) == PARTS


async def test_what_is_not_read_of_a_part_is_passed_over():
    names = []
    async for part in FormStream(arriving(BODY, 3), KIND).parts():
        names.append(part.name)
        if part.name == "purpose":
            assert await part.text() == "assistants"
        elif part.name == "file":
            assert (await anext(part.pieces())).startswith(b"\r\n--b")
    assert names == ["purpose", "file", "empty"]


async def test_nothing_is_held_but_what_has_just_arrived():
    """A large file goes through in pieces no larger than the chunks it came in."""
    head = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    asked = 0

    async def chunks():
        nonlocal asked
        yield head
        for _ in range(100):
            asked += 1
            yield bytes(1000)
        yield b"\r\n--b0--\r\n"

    received = 0
    async for part in FormStream(chunks(), KIND).parts():
        async for piece in part.pieces():
            received += len(piece)
            assert len(piece) <= 1000
            assert received > (asked - 2) * 1000
    assert received == 100_000


RUBBISH = {
    "empty": b"",
    "text": b"hello",
    "cut": BODY[:-10],
    "cut in a head": BODY[:40],
    "no name of a header": b"--b0\r\nrubbish\r\n\r\nx\r\n--b0--\r\n",
    "no disposition": b"--b0\r\nContent-Type: text/plain\r\n\r\nx\r\n--b0--\r\n",
    "other disposition": b"--b0\r\nContent-Disposition: attachment; name=x\r\n\r\nx\r\n--b0--\r\n",
    "bytes in a head": b'--b0\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--b0--\r\n',
    "a long head": b"--b0\r\nContent-Disposition: form-data; name=" + b"x" * 9000 + b"\r\n\r\nx\r\n--b0--\r\n",
    "too many": b'--b0\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n' * (MAX_PARTS + 1) + b"--b0--\r\n",
    "json": b'{"purpose": "assistants"}',
}


@pytest.mark.parametrize("body", RUBBISH.values(), ids=RUBBISH)
async def test_rubbish_is_the_clients_mistake(body):
    with pytest.raises(RequestError) as whole:
        read_form(body, KIND)
    assert (whole.value.http_status, whole.value.code) == (400, "invalid_multipart")
    for size in (1, 1000):
        with pytest.raises(RequestError) as pieces:
            await streamed(body, size)
        assert pieces.value.code == "invalid_multipart"


@pytest.mark.parametrize(
    "kind",
    ["", "application/json", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b0",
     "multipart/form-data; boundary=" + "b" * 71],
)  # fmt: skip
def test_another_content_type(kind):
    with pytest.raises(RequestError) as refused:
        read_form(BODY, kind)
    assert refused.value.code == "invalid_content_type"


async def test_values_are_bounded_text():
    for content in (b"\xff\xfe", b"x" * (MAX_VALUE + 1)):
        with pytest.raises(RequestError) as refused:
            assert FormPart("purpose", content).text
        assert refused.value.param == "purpose"
        body = b'--b0\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + content + b"\r\n--b0--\r\n"
        with pytest.raises(RequestError):
            async for part in FormStream(arriving(body, 65536), KIND).parts():
                await part.text()
