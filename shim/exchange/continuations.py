"""Conversations gone on with because the client's history is one that was answered here before (CONTINUE_CHATS).

    request ──keys of its history──> store ──found──> only the rest, to the same account and conversation
       │                                                 └── it can't be opened ──┐
       └──────────────────────────nothing found──────────────────────────────────┴──> all of it, as if nothing had been
    answer ──finished well──> key of the history with it ──> store

Rules: going on saves work and is never owed, so whatever stands in its way is answered by the whole history, unseen by
the client, and the store is waited for no longer than a moment. Noted are only answers that upstream knows as the
client does.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence

import msgspec

from shim.accounts.credentials import Caller, own_account
from shim.accounts.leases import Leases, is_shortage
from shim.accounts.outcomes import may_retry
from shim.accounts.pool import AccountPool
from shim.apis.chat.wire import ChatMessage
from shim.errors import About, GatewayError, RequestError
from shim.exchange.choice import Choice, World
from shim.exchange.turns import LiveAnswer, Turns, Wanted
from shim.files import Gathered
from shim.protocol.events import Event, Finished
from shim.protocol.render import Transcript
from shim.protocol.shaping.filter import Stage
from shim.protocol.shaping.limits import StopSequences, TokenLimit
from shim.protocol.turn.conversation import owner_of
from shim.protocol.turn.history import History, rest_of
from shim.settings import Settings

KEPT_SECONDS = 7 * 86400.0
PATIENCE = 0.5
"""Seconds that the store may take, once before a turn and once at its end."""

log = logging.getLogger("chat2api")

_GOOD_ENDS = frozenset({"stop", "length", "tool_calls"})


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where an answer stands: the name of its conversation (`shim.protocol.owners`) and its message."""

    conversation_id: str
    message_id: str


class Notes:
    """What was answered where, by the key of the history: shared through the store of the pool."""

    def __init__(self, roster: AccountPool) -> None:
        self._roster = roster

    async def write(self, key: str, place: Place) -> None:
        """Note an answer; lost where the store is away or slow."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._roster.remember(key, _encode(place).decode(), KEPT_SECONDS)
        except TimeoutError:
            log.info("the store was too slow to note a conversation")

    async def find(self, history: History) -> tuple[int, Place] | None:
        """How many of the messages the longest history has that was answered here, and where that is."""
        try:
            async with asyncio.timeout(PATIENCE):
                for prefix in history.prefixes():
                    found = await self._roster.recall(prefix.key)
                    if found is not None:
                        return prefix.length, _decode(found)
        except TimeoutError:
            log.info("the store was too slow to look for a conversation")
        except msgspec.DecodeError:
            log.warning("the store holds a note that can't be read")
        return None


class Chat:
    """One request whose conversation may be gone on with, now and after its answer."""

    def __init__(self, continuations: "Continuations", wanted: Wanted, history: History) -> None:
        self._continuations, self._wanted, self._history = continuations, wanted, history

    async def open(self) -> LiveAnswer:
        """A turn at its head: the rest alone where that can be had, else all of it. Raises GatewayError."""
        turns, rest = self._continuations.turns, await self._rest()
        if rest is not None:
            try:
                return await turns.open(rest)
            except GatewayError as error:
                if not _may_be_asked_anew(error, self._wanted.caller):
                    raise
                log.info("a conversation can't be gone on with (%s), sending all of it", error.code)
        return await turns.open(self._wanted)

    def choice(self, live: LiveAnswer, stages: Sequence[Stage], world: World, *, inline: bool) -> "NotedChoice":
        """The answer as a choice that is noted where it ends well."""
        return NotedChoice(self, live, stages, world, inline=inline)

    async def note(self, said: Transcript, ids: dict[str, str]) -> None:
        """The client has been given `said` and will send it back some day."""
        if ids:
            answer = ChatMessage("assistant", said.text, tool_calls=said.calls or None)
            await self._continuations.notes.write(self._history.key_with(answer), Place(**ids))

    async def _rest(self) -> Wanted | None:
        found = await self._continuations.notes.find(self._history)
        if found is None:
            return None
        length, place = found
        request = rest_of(self._wanted.request, length, place.conversation_id, place.message_id)
        if not self._continuations.is_free(self._wanted.caller, owner_of(request)):
            return None
        return msgspec.structs.replace(self._wanted, request=request, files=_files_after(self._wanted.files, length))


class Continuations:
    """Made once per worker."""

    def __init__(self, settings: Settings, leases: Leases, turns: Turns) -> None:
        self._enabled = settings.continue_chats and turns.kept
        self._limit = settings.account_limit
        self._pool = leases.pool
        self.turns = turns
        self.notes = Notes(leases.pool)

    def chat_of(self, wanted: Wanted) -> Chat | None:
        """The chat that a request goes on with; None where it is to be sent as it is: not enabled, several choices, or
        a client that says itself where to go on. Raises CredentialError for a token whose time is over."""
        request = wanted.request
        if not self._enabled or (request.n or 1) != 1 or request.conversation_id:
            return None
        history = History(request, self._scope(wanted.caller), _sha256)
        return Chat(self, wanted, history)

    def is_free(self, caller: Caller, owner: str | None) -> bool:
        """Whether the owner of a conversation (None: nobody in particular) could take the turn without waiting for the
        end of another. A caller's own account would have to be waited for in any case."""
        if caller.own is not None:
            return True
        if owner is None:
            return not len(self._pool)
        view = self._pool.view(owner)
        return view is not None and view.active < self._limit

    def _scope(self, caller: Caller) -> str:
        """Everybody with a key shares the pool, and so its conversations; an own account is its owner's alone."""
        return "pool" if caller.own is None else f"own {own_account(caller.own, self.turns.now()).id}"


class NotedChoice(Choice):
    """A choice whose answer is noted just before its end is given, so that the client's next request finds it."""

    def __init__(
        self, chat: Chat, live: LiveAnswer, stages: Sequence[Stage], world: World, *, inline: bool = False
    ) -> None:
        super().__init__(live, stages, world, inline=inline)
        self._chat = chat
        self._limits = [stage for stage in stages if isinstance(stage, StopSequences | TokenLimit)]
        self._said = Transcript()
        self._first = live
        self._whole = False

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events for the renderer, in batches; the last one is Finished or Failed."""
        async for events in super().events():
            for event in events:
                self._said.add(event)
            if self._is_as_upstream_has_it():
                await self._chat.note(self._said, self.live.ids())
            yield events

    def _is_as_upstream_has_it(self) -> bool:
        """Whether the answer came to its good end, and neither more nor less of it was given than stands upstream. A
        repaired one stands there with what was wrong before it."""
        return self._said.finish_reason in _GOOD_ENDS and self._whole and self.live is self._first

    def _shape(self, events: Sequence[Event]) -> list[Event]:
        if not events or not isinstance(events[-1], Finished):
            return super()._shape(events)
        shaped = super()._shape(events[:-1])
        broken_off = any(stage.decided for stage in self._stages)  # before upstream's own end
        shaped += super()._shape(events[-1:])
        self._whole = not broken_off and not any(limit.decided for limit in self._limits)
        return shaped


def _may_be_asked_anew(error: GatewayError, caller: Caller) -> bool:
    """Whether all of the history, as a new conversation, may fare better than the rest of it did. All these say that
    upstream has not taken the turn. A caller's own account is the same one again."""
    if isinstance(error, RequestError):
        return error.about is not About.CONTENT  # a fault of what was asked, wherever it is asked
    return caller.own is None and (is_shortage(error) or may_retry(error, sent=True))


def _files_after(gathered: Gathered, length: int) -> Gathered:
    """The files of the messages after the first `length`, standing where they stand among those alone."""
    return Gathered(
        tuple(
            msgspec.structs.replace(one, given=msgspec.structs.replace(one.given, message=one.given.message - length))
            for one in gathered.files
            if one.given.message >= length
        )
    )


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Place).decode
