"""Files that arrive piece by piece: what they are is found without holding them, and nothing is left of them."""

import hashlib
import io
import zipfile

import pytest

from shim.errors import RequestError
from shim.files.kinds import Declared
from shim.files.spool import Spool

MEGABYTE = 1024 * 1024
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


async def pieces(content, size=100_000):
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def spooled(folder, content, declared=Declared(), limit=64 * MEGABYTE):  # noqa: B008  never changed
    """(the file, its bytes read twice, as a call that is made again reads them)"""
    async with Spool(str(folder), limit) as spool:
        await spool.fill(pieces(content))
        file = await spool.file(declared)
        assert list(folder.iterdir()) == [], "it has no name"
        read = [b"".join([piece async for piece in file.content.pieces()]) for _ in range(2)]
    return file, read


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 3 * MEGABYTE])
async def test_what_comes_out_is_what_went_in(tmp_path, size):
    content = bytes(range(256)) * (size // 256) + b"\0" * (size % 256)
    file, read = await spooled(tmp_path, content, Declared("a.bin"))
    assert read == [content, content]
    assert (file.size, file.digest) == (size, hashlib.sha256(content).hexdigest())
    assert file.mime_type == "application/octet-stream"


@pytest.mark.parametrize("letter", ["é", "€", "😀"])
@pytest.mark.parametrize("shift", range(4))
async def test_a_long_text_is_text_wherever_it_is_cut(tmp_path, letter, shift):
    content = b"x" * shift + letter.encode() * MEGABYTE
    file, _ = await spooled(tmp_path, content, Declared("long.py"))
    assert (file.mime_type, file.name) == ("text/x-script.python", "long.py")


async def test_a_large_document_is_told_by_its_end(tmp_path):
    """What lies in an archive is listed there."""
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr("media/large.bin", b"\1" * (3 * MEGABYTE))
        archive.writestr("word/document.xml", "<x/>")
    file, _ = await spooled(tmp_path, kept.getvalue(), Declared("a.docx"))
    assert file.mime_type == WORD


async def test_a_large_picture_has_its_size(tmp_path, png):
    file, _ = await spooled(tmp_path, png(320, 200) + b"\0" * (3 * MEGABYTE), Declared("a.png"))
    assert (file.mime_type, file.width, file.height) == ("image/png", 320, 200)


async def test_what_is_too_long_is_refused_as_soon_as_it_is(tmp_path):
    asked = 0

    async def endless():
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 1000

    async with Spool(str(tmp_path), 5000) as spool:
        with pytest.raises(RequestError) as refused:
            await spool.fill(endless())
    assert (refused.value.http_status, refused.value.code, asked) == (413, "file_too_large", 6)
    assert list(tmp_path.iterdir()) == []
