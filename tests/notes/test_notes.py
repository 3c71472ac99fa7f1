"""What both stores of notes promise (shim/notes/base.py)."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shim.databases.keys import new_key
from shim.notes import NotesError, NoteTooLargeError, Shelf, open_notes


async def keys(shelf: Shelf, prefix: str = "", **more: Any) -> list[str]:
    return [note.key for note in await shelf.page(prefix, **more)]


async def test_what_one_process_notes_another_finds(shelf: Shelf, other: Shelf) -> None:
    assert await shelf.get("key") is None
    await shelf.put("key", b"\x00\xff\r\n", 60)
    await shelf.put("empty", b"", 60)
    assert await other.get("key") == await shelf.get("key") == b"\x00\xff\r\n"
    assert await other.get("empty") == b""
    assert await other.get("ke") is None


async def test_a_later_note_takes_the_place_of_an_earlier_one(shelf: Shelf, other: Shelf) -> None:
    await shelf.put("key", b"first", 0.2)
    await other.put("key", b"second", 60)
    await asyncio.sleep(0.3)
    assert await shelf.get("key") == b"second"
    await shelf.put("key", b"third", 0.1)
    await asyncio.sleep(0.2)
    assert await other.get("key") is None


async def test_what_comes_after_the_end_is_refused_and_opens_nothing_again(store_place: dict[str, Any]) -> None:
    async with open_notes(**store_place) as notes:
        shelf = notes.shelf("things")
        await shelf.put("key", b"value", 60)
    for late in (shelf.put("key", b"late", 60), shelf.get("key"), shelf.delete("key")):
        with pytest.raises(NotesError):
            await late
    async with open_notes(**store_place) as notes:
        assert await notes.shelf("things").get("key") == b"value"


async def test_a_note_ends_by_itself_everywhere(shelf: Shelf, other: Shelf) -> None:
    await shelf.put("short", b"value", 0.2)
    await shelf.put("long", b"value", 60)
    assert await other.get("short") == b"value"
    await asyncio.sleep(0.3)
    assert await other.get("short") is None
    assert await keys(other) == ["long"]
    assert not await other.delete("short")
    assert await other.get("long") == b"value"


async def test_a_note_is_added_only_where_there_is_none(shelf: Shelf, other: Shelf) -> None:
    assert await shelf.add("key", b"first", 0.3)
    assert not await other.add("key", b"second", 60)
    assert await other.get("key") == b"first"
    await asyncio.sleep(0.4)
    assert await other.add("key", b"third", 60)
    assert await shelf.get("key") == b"third"


async def test_of_many_who_add_one_is_first(shelf: Shelf, other: Shelf) -> None:
    both = (shelf, other)
    added = await asyncio.gather(*(both[n % 2].add("key", b"%d" % n, 60) for n in range(50)))
    assert added.count(True) == 1
    assert await shelf.get("key") == b"%d" % added.index(True)


async def test_a_note_is_deleted_once(shelf: Shelf, other: Shelf) -> None:
    await shelf.put("key", b"value", 60)
    assert await other.delete("key")
    assert not await shelf.delete("key")
    assert await shelf.get("key") is None
    assert await keys(shelf) == []
    assert await shelf.add("key", b"again", 60)


async def test_those_written_longest_ago_make_room(shelf: Shelf) -> None:
    await shelf.put("renewed", b"first", 60)
    for number in range(25):
        await shelf.put(f"{number:02}", b"value", 60)
        if number == 20:
            await shelf.put("renewed", b"second", 60)
    assert await shelf.get("renewed") == b"second"
    assert await keys(shelf) == [*(f"{number}" for number in range(16, 25)), "renewed"]


async def test_notes_that_are_added_make_room_too_and_those_refused_do_not(shelf: Shelf) -> None:
    for number in range(12):
        assert await shelf.add(f"{number:02}", b"value", 60)
        assert not await shelf.add(f"{number:02}", b"value", 60)
    assert await keys(shelf) == [f"{number:02}" for number in range(2, 12)]


async def test_each_shelf_has_notes_and_bounds_of_its_own(
    open_at: Callable[..., Any], store_place: dict[str, Any]
) -> None:
    notes = await open_at(**store_place)
    mine, yours = notes.shelf("mine", most=3), notes.shelf("yours", most=3)
    await mine.put("key", b"mine", 60)
    for number in range(10):
        await yours.put(f"{number}", b"yours", 60)
    assert await mine.get("key") == b"mine"
    assert await yours.get("key") is None
    assert await keys(yours) == ["7", "8", "9"]


async def test_a_note_may_not_be_larger_than_its_shelf_takes(shelf: Shelf) -> None:
    await shelf.put("key", bytes(1000), 60)
    for call in (shelf.put("key", bytes(1001), 60), shelf.add("other", bytes(1001), 60)):
        with pytest.raises(NoteTooLargeError, match="1001 bytes, and may have 1000"):
            await call
    assert await keys(shelf) == ["key"]


async def test_pages_go_through_all_there_is(shelf: Shelf) -> None:
    names = ["a", "b1", "b2", "b3", "b4", "b5", "c"]
    for name in reversed(names):
        await shelf.put(name, name.encode(), 60)
    assert [(note.key, note.value) for note in await shelf.page("b", limit=2)] == [("b1", b"b1"), ("b2", b"b2")]
    assert await keys(shelf, "b", limit=2, after="b2") == ["b3", "b4"]
    assert await keys(shelf, "b", limit=2, after="b4") == ["b5"]
    assert await keys(shelf, "b", limit=2, after="b5") == []
    assert await keys(shelf, "b", limit=2, backwards=True) == ["b5", "b4"]
    assert await keys(shelf, "b", limit=9, after="b4", backwards=True) == ["b3", "b2", "b1"]
    assert await keys(shelf, limit=3) == names[:3]
    assert await keys(shelf, "x") == await keys(shelf, limit=0) == []


async def test_a_page_goes_on_after_a_note_that_is_gone(shelf: Shelf) -> None:
    for number in range(6):
        await shelf.put(f"{number}", b"value", 60 if number % 2 else 0.2)
    await asyncio.sleep(0.3)
    assert await keys(shelf, limit=2) == ["1", "3"]
    await shelf.delete("3")
    assert await keys(shelf, limit=2, after="3") == ["5"]
    assert await keys(shelf, limit=2, after="4", backwards=True) == ["1"]


names = st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x10FFFE), max_size=3)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=st.sets(names, max_size=8), prefix=names, after=names | st.none(), backwards=st.booleans())
async def test_pages_are_in_the_order_of_the_keys(
    shelf: Shelf, there: set[str], prefix: str, after: str | None, *, backwards: bool
) -> None:
    for name in await keys(shelf):
        await shelf.delete(name)
    for name in there:
        await shelf.put(name, b"", 60)
    expected = sorted(name for name in there if name.startswith(prefix))
    beyond = [name for name in expected if after is None or (name < after if backwards else name > after)]
    assert await keys(shelf, prefix, after=after, backwards=backwards) == (beyond[::-1] if backwards else beyond)


async def test_many_at_once_from_two_processes(open_at: Callable[..., Any], store_place: dict[str, Any]) -> None:
    both = [(await open_at(**store_place)).shelf("many") for _ in range(2)]
    await asyncio.gather(*(both[n % 2].put(f"key {n}", b"%d" % n, 60) for n in range(200)))
    found = await asyncio.gather(*(both[n // 2 % 2].get(f"key {n}") for n in range(200)))
    assert found == [b"%d" % n for n in range(200)]


OLD, NEW = new_key(), new_key()


async def test_values_are_sealed_with_the_first_key_and_opened_with_all(
    open_at: Callable[..., Any], store_place: dict[str, Any]
) -> None:
    async def at(*keys: str) -> Shelf:
        shelf: Shelf = (await open_at(**store_place, keys=keys)).shelf("things")
        return shelf

    await (await at()).put("plain", b"value", 60)
    await (await at(OLD)).put("old", b"value", 60)
    both = await at(NEW, OLD)
    await both.put("new", b"value", 60)
    assert [note.value for note in await both.page()] == [b"value"] * 3
    assert await (await at(NEW)).get("new") == b"value"
    with pytest.raises(NotesError, match="sealed with another key: add that key to STORE_KEY"):
        await (await at(NEW)).get("old")
    with pytest.raises(NotesError, match="set STORE_KEY"):
        await (await at()).page()


async def test_a_key_that_is_none_is_refused_and_not_shown(
    open_at: Callable[..., Any], store_place: dict[str, Any]
) -> None:
    with pytest.raises(NotesError, match="not a Fernet key") as failure:
        await open_at(**store_place, keys=["no-key-at-all"])
    assert "no-key" not in str(failure.value)
