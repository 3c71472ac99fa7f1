"""What is said of a store by what it was last asked."""

import pytest

from shim.databases.reach import Reach
from shim.notes import NotesError


def ask(reach, kind, *, works):
    block = reach.writing() if kind == "write" else reach.reading()
    if works:
        with block:
            return
    with pytest.raises(NotesError), block:
        raise NotesError("full")


@pytest.mark.parametrize(
    ("asked", "away"),
    [
        ([], False),
        (["write"], False),
        (["!read"], True),
        (["!read", "read"], False),
        (["!write", "read"], True),  # a full disk can be read
        (["!write", "read", "write"], False),
        (["!read", "write"], False),
        (["!write", "!read", "read"], True),
    ],
)
def test_whether_it_is_away(asked, away):
    reach = Reach(NotesError)
    for one in asked:
        ask(reach, one.removeprefix("!"), works=not one.startswith("!"))
    assert reach.is_away is away


def test_what_is_no_fault_of_the_store_says_nothing_of_it():
    reach = Reach(NotesError)
    with pytest.raises(KeyError), reach.writing():
        raise KeyError
    assert not reach.is_away
