"""Conversations that are kept for whoever made them: by name, on any gateway that shares the notes.

    hold ──> read ──> the answer ──> read again, add to it, write ──> let go

Rule: a conversation belongs to the key, or the account, that made it; to everybody else it is not there. Only who holds
one changes it, and one is held by a single call at a time, over all gateways. What is added is added to what there is
by then, so that a hold that has lapsed loses nothing either.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from shim.accounts.credentials import Caller
from shim.background import Background
from shim.errors import RequestError, UnavailableError
from shim.exchange.clock import Clock
from shim.notes import Notes, NotesError, needed
from shim.notes.base import NoteTooLargeError
from shim.protocol.api import AnswerInfo, AnswerPlace, Appending

KEPT_SECONDS = 30 * 86400.0
MOST = 1_000
LARGEST = 8 * 1024 * 1024
"""Bytes of a conversation; what is asked stops before that, so that there is room for the answer"""
LEASE = 15.0
"""Seconds that a hold outlives its gateway"""
PATIENCE = 1.0
"""Seconds that a call waits for one that is just letting go"""
# The end of an answer lets go within milliseconds of its last byte, which is when the next call comes.
_SOON = 0.05

log = logging.getLogger("chat2api")


class HeldConversation:
    """A conversation while one call has it for itself. Whoever was given one lets go of it, in any case; again does
    nothing."""

    def __init__(self, conversations: "Conversations", key: str, token: bytes) -> None:
        self._conversations, self._key, self._token = conversations, key, token
        self._renewing = asyncio.get_running_loop().create_task(conversations.hold_on(key, token))
        self._over = False

    async def record(self) -> bytes | None:
        """What there is of it. Raises UnavailableError."""
        return await self._conversations.record(self._key)

    async def write(self, record: bytes) -> None:
        """Keep it. Raises UnavailableError, RequestError (400) where it is too long."""
        await self._conversations.write(self._key, record)

    async def add(self, appending: Appending, answer: AnswerInfo, place: AnswerPlace | None) -> None:
        """Add an answer that has come to its end, and let go. What can't be added is logged."""
        try:
            before = await self.record()
            after = appending.added(before, answer, place) if before is not None else None
            if after is not None:
                await self.write(after)
            elif before is None:
                log.warning("an answer is not added to its conversation, which is gone")
        except (UnavailableError, RequestError) as error:
            log.warning("an answer is not added to its conversation: %s", error.message)
        finally:
            await self.let_go()

    async def let_go(self) -> None:
        """Others may have it."""
        if self._over:
            return
        self._over = True
        self._renewing.cancel()
        await self._conversations.free(self._key, self._token)

    def let_go_soon(self) -> None:
        """The same for whoever can't wait."""
        if not self._over:
            self._conversations.soon(self.let_go())


class Conversations:
    """Made once per worker."""

    def __init__(self, notes: Notes, clock: Clock) -> None:
        self._shelf = notes.shelf("conversations", most=MOST, largest=LARGEST)
        self._holds = notes.shelf("holds")
        self._clock = clock
        self._going = Background("the conversations")

    async def create(self, caller: Caller, name: str, record: bytes) -> None:
        """Keep a new one. Raises UnavailableError, RequestError (400) where it is too long."""
        await self.write(_key(caller, name), record)

    async def find(self, caller: Caller, name: str) -> bytes | None:
        """What there is of one; None where nothing is, or it is somebody else's. Raises UnavailableError."""
        return await self.record(_key(caller, name))

    async def delete(self, caller: Caller, name: str) -> bool:
        """Forget one, also while it is held; whether there was one. Raises UnavailableError."""
        with needed(_AWAY):
            return await self._shelf.delete(_key(caller, name))

    async def hold(self, caller: Caller, name: str, *, anew: bool = False) -> HeldConversation:
        """Have one, there or not, for oneself. `anew` is for whoever goes on with a call whose gateway is gone, hold
        and all. Raises UnavailableError, RequestError (400) where another call has it."""
        key, token = _key(caller, name), self._clock.new_id().encode()
        for _ in range(int(PATIENCE / _SOON)):
            with needed(_AWAY):
                if anew:
                    await self._holds.put(key, token, LEASE)
                elif not await self._holds.add(key, token, LEASE):
                    await asyncio.sleep(_SOON)
                    continue
            return HeldConversation(self, key, token)
        raise RequestError(
            "Another process is currently operating on this conversation. Please retry in a few seconds.",
            param="conversation",
            code="conversation_locked",
        )

    @asynccontextmanager
    async def held(self, caller: Caller, name: str) -> AsyncIterator[HeldConversation]:
        """The same while the block runs."""
        held = await self.hold(caller, name)
        try:
            yield held
        finally:
            await held.let_go()

    async def settled(self) -> None:
        """Wait until everything is written, and let go of."""
        await self._going.settled()

    # --- for one that is held -----------------------------------------------------------------------------------------

    async def record(self, key: str) -> bytes | None:
        """What there is. Raises UnavailableError."""
        with needed(_AWAY):
            return await self._shelf.get(key)

    async def write(self, key: str, record: bytes) -> None:
        """Keep it. Raises UnavailableError, RequestError (400) where it is too long."""
        with needed(_AWAY):
            try:
                await self._shelf.put(key, record, KEPT_SECONDS)
            except NoteTooLargeError:
                text = f"The conversation has more than {LARGEST} bytes: begin another one."
                raise RequestError(text, param="conversation", code="conversation_too_long") from None

    async def hold_on(self, key: str, token: bytes) -> None:
        """Have the hold last, again and again, until this is cancelled."""
        while True:
            # Often enough for one that fails: the hold outlives two of them.
            await asyncio.sleep(LEASE / 3)
            try:
                await self._holds.put(key, token, LEASE)
            except NotesError as error:
                log.warning("a conversation can't be held on to: %s", error)

    async def free(self, key: str, token: bytes) -> None:
        """Hold it no more, where it is still ours."""
        try:
            # A hold that has lapsed may be another call's by now, and is not ours to end.
            if await self._holds.get(key) == token:
                await self._holds.delete(key)
        except NotesError as error:
            log.warning("a conversation is held for %.0f seconds more: %s", LEASE, error)

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Have work done that nobody waits for before the end of this gateway."""
        self._going.spawn(work)


def _key(caller: Caller, name: str) -> str:
    return f"{caller.scope}:{name}"


_AWAY = "Conversations can't be had just now"
