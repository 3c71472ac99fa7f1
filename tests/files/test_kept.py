"""Notes of uploaded files: by whom they are seen, in which order, for how long, and what a store that is away means."""

from itertools import count

import pytest

from shim.errors import RequestError, UnavailableError
from shim.files.kept import KeptFile, KeptFiles
from shim.notes import open_notes

NOW = 1_800_000_000.0


@pytest.fixture
async def notes(tmp_path):
    async with open_notes(data_dir=tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def kept(notes):
    numbers = count()
    return KeptFiles(notes, "secret", new_id=lambda: f"{next(numbers):032x}")


async def write(kept, scope="key a", at=NOW, seconds=3600, **more):
    file = KeptFile(kept.id_at(at), "account", "file_1", "a.txt", "text/plain", 3, "vision", int(at), int(at) + seconds)
    file = KeptFile(**{name: getattr(file, name) for name in file.__struct_fields__} | more)
    await kept.write(scope, file, at)
    return file


async def test_a_file_is_seen_in_its_own_scope_alone(kept):
    file = await write(kept)
    assert await kept.find("key a", file.id) == file
    for scope, id in (("key b", file.id), ("open", file.id), ("key a", file.id + "0"), ("key a", "x"), ("key a", "")):
        with pytest.raises(RequestError) as missing:
            await kept.find(scope, id, "field")
        assert (missing.value.http_status, missing.value.param) == (404, "field")
    with pytest.raises(RequestError):
        await kept.forget("key b", file.id)
    await kept.forget("key a", file.id)
    assert await kept.those("key a", [file.id]) == []


async def test_other_secrets_have_other_files(kept, notes):
    file = await write(kept)
    other = KeptFiles(notes, "another", new_id=lambda: "0")
    assert await other.those("key a", [file.id]) == []


async def test_files_come_in_the_order_they_were_made(kept):
    made = [await write(kept, at=NOW + at) for at in range(7)]
    await write(kept, "key b")
    assert await kept.page("key a", after=None, limit=3, newest_first=True) == (made[:3:-1], True)
    assert await kept.page("key a", after=made[4].id, limit=9, newest_first=True) == (made[3::-1], False)
    assert await kept.page("key a", after=made[4].id, limit=9, newest_first=False) == (made[5:], False)
    odd = await write(kept, at=NOW + 9, purpose="assistants")
    found = await kept.page("key a", after=None, limit=1, newest_first=False, purpose="assistants")
    assert found == ([odd], False)


async def test_many_files_are_gone_through_page_by_page(kept, monkeypatch):
    monkeypatch.setattr("shim.files.kept._PAGE", 2)
    made = [await write(kept, at=NOW + at, purpose=("vision", "assistants")[at % 2]) for at in range(9)]
    listed, more = await kept.page("key a", after=None, limit=3, newest_first=False, purpose="assistants")
    assert (listed, more) == ([made[1], made[3], made[5]], True)


async def test_a_note_that_can_not_be_had_is_a_503(tmp_path):
    (tmp_path / "data").write_text("no folder")
    async with open_notes(data_dir=tmp_path / "data") as notes:
        kept = KeptFiles(notes, "secret", new_id=lambda: "0")
        with pytest.raises(UnavailableError):
            await write(kept)
        with pytest.raises(UnavailableError):
            await kept.find("key a", "file-1")
        with pytest.raises(UnavailableError):
            await kept.page("key a", after=None, limit=1, newest_first=True)
