"""The shelves of a gateway: each use of the notes has its own, and with it a bound of its own."""

from typing import Any

import pytest

from shim.notes import Notes, Shelf


async def test_no_two_uses_share_a_shelf(monkeypatch: pytest.MonkeyPatch, open_house: Any) -> None:
    """What one of them writes would push out what another has promised to keep."""
    names: list[str] = []
    made = Notes.shelf

    def shelf(self: Notes, name: str, **bounds: Any) -> Shelf:
        names.append(name)
        return made(self, name, **bounds)

    monkeypatch.setattr(Notes, "shelf", shelf)
    async with open_house(continue_chats=True):
        assert len(names) > 5
        assert len(set(names)) == len(names)
