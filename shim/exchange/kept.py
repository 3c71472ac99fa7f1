"""Answers that are kept for whoever asked for them: by name, on any gateway that shares the notes.

Rule: an answer belongs to the key, or the account, that asked for it; to everybody else it is not there. Keeping one is
never owed: where the store is away, or the answer too long, it is given all the same, and the log says so.
"""

import asyncio
import logging

from shim.accounts.credentials import Caller
from shim.background import Background
from shim.notes import Notes, NotesError, needed
from shim.protocol.api import AnswerInfo, AnswerPlace, Keeping

KEPT_SECONDS = 30 * 86400.0
MOST = 4_000
LARGEST = 4 * 1024 * 1024
PATIENCE = 5.0
"""Seconds that the end of an answer may wait for the store."""

log = logging.getLogger("chat2api")


class KeptAnswers:
    """Made once per worker. `owner` is whose answers are meant (`Caller.scope`)."""

    def __init__(self, notes: Notes) -> None:
        self._shelf = notes.shelf("answers", most=MOST, largest=LARGEST)
        self._writing = Background("the kept answers")

    async def find(self, caller: Caller, name: str) -> bytes | None:
        """What was kept under a name; None where nothing is, or it is somebody else's. Raises UnavailableError."""
        with needed(_AWAY):
            return await self._shelf.get(_key(caller.scope, name))

    async def write(self, owner: str, name: str, record: bytes) -> None:
        """Keep a record, in the place of what is there."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._shelf.put(_key(owner, name), record, KEPT_SECONDS)
        except (NotesError, TimeoutError) as error:
            log.warning("an answer is not kept: %s", str(error) or "the store is too slow")

    async def must_write(self, owner: str, name: str, record: bytes) -> None:
        """The same where it is of no use otherwise. Raises NotesError."""
        await self._shelf.put(_key(owner, name), record, KEPT_SECONDS)

    async def delete(self, caller: Caller, name: str) -> bool:
        """Forget what is kept under a name; whether there was anything. Raises UnavailableError."""
        with needed(_AWAY):
            return await self._shelf.delete(_key(caller.scope, name))

    async def record(self, owner: str, name: str) -> bytes | None:
        """What is kept under a name; None also where the store is away."""
        try:
            return await self._shelf.get(_key(owner, name))
        except NotesError as error:
            log.warning("a kept answer can't be read: %s", error)
            return None

    async def keep(self, caller: Caller, keeping: Keeping, answer: AnswerInfo, place: AnswerPlace | None) -> None:
        """Keep an answer that has come to its end."""
        await self.write(caller.scope, keeping.name(answer), keeping.record(answer, place))

    def keep_soon(self, caller: Caller, keeping: Keeping, answer: AnswerInfo, place: AnswerPlace | None) -> None:
        """The same for a driver that can't wait."""
        self._writing.spawn(self.write(caller.scope, keeping.name(answer), keeping.record(answer, place)))

    async def settled(self) -> None:
        """Wait until everything is written."""
        await self._writing.settled()


def _key(owner: str, name: str) -> str:
    return f"{owner}:{name}"


_AWAY = "Kept answers can't be had just now"
