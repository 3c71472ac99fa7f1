"""Conversations gone on with because the client's history is one that was answered here before (CONTINUE_CHATS).

    request ──keys of its history──> store ──found──> only the rest, to the same account and conversation
       │                                                 └── it can't be opened ──┐
       └──────────────────────────nothing found──────────────────────────────────┴──> all of it, as if nothing had been
    answer ──finished well──> key of the history with it ──> store

Rules: going on saves work and is never owed, so whatever stands in its way is answered by the whole history, unseen by
the client, and the store is waited for no longer than a moment. Noted are only answers that upstream knows as the
client does.
"""

import hashlib
import logging

import msgspec

from shim.accounts.credentials import Caller, own_account
from shim.accounts.leases import Leases, is_shortage
from shim.accounts.outcomes import may_retry
from shim.accounts.states import State
from shim.errors import About, GatewayError, RequestError
from shim.exchange.choice import Choice
from shim.exchange.hurry import Hurry
from shim.exchange.live_turn import LiveTurn, Wanted
from shim.exchange.turns import Turns, is_temporary
from shim.notes import Notes, Shelf
from shim.protocol.api import AnswerPlace
from shim.protocol.prompt import Call, Continues, PromptMessage, Text
from shim.protocol.turn.conversation import owner_of
from shim.protocol.turn.history import History, rest_of
from shim.settings import Settings

KEPT_SECONDS = 7 * 86400.0
# A place is a few ids; what is longer is no place of ours.
MAX_PLACE_BYTES = 8192

log = logging.getLogger("chat2api")

_GOOD_ENDS = frozenset({"stop", "length", "tool_calls"})


class KnownAnswers:
    """What was answered where, by the key of the history. All of it is lost where the store is away or slow."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._hurry = Hurry("conversations")

    async def write(self, key: str, place: AnswerPlace) -> None:
        """Note an answer."""
        await self._hurry.run(self._shelf.put(key, _encode(place), KEPT_SECONDS))

    async def find(self, history: History) -> tuple[int, AnswerPlace] | None:
        """How many of the messages the longest history has that was answered here, and where that is."""
        try:
            return await self._hurry.run(self._look_up(history))
        except msgspec.DecodeError:
            log.warning("the notes hold a conversation that can't be read")
            return None

    async def _look_up(self, history: History) -> tuple[int, AnswerPlace] | None:
        for prefix in history.prefixes():
            found = await self._shelf.get(prefix.key)
            if found is not None:
                return prefix.length, _decode(found)
        return None


class KnownChat:
    """One request whose conversation may be continued, now and after its answer."""

    def __init__(self, continuations: "Continuations", wanted: Wanted, history: History | None) -> None:
        self._continuations, self._wanted, self._history = continuations, wanted, history

    async def open(self) -> LiveTurn:
        """A turn at its head: the rest alone where that can be had, else all of it. Raises GatewayError."""
        turns, rest = self._continuations.turns, await self._rest()
        if rest is not None:
            try:
                return await turns.open(rest)
            except GatewayError as error:
                if not _may_be_asked_anew(error, self._wanted.caller):
                    raise
                log.info("a conversation can't be continued (%s), sending all of it", error.code)
        return await turns.open(self._wanted)

    async def note(self, choice: Choice) -> None:
        """The client has been given this answer, and will send it back some day. Only one that came to a good end, and
        stands upstream as it was given, is noted."""
        said, place = choice.transcript, choice.turn.place()
        if self._history is None:
            return
        if place is None or said.finish_reason not in _GOOD_ENDS or not choice.is_as_upstream_has_it:
            return
        calls = (Call(one.id, one.name, one.arguments) for one in said.calls)
        answer = PromptMessage("assistant", (Text(said.text), *calls))
        await self._continuations.notes.write(self._history.key_with(answer), place)

    async def _rest(self) -> Wanted | None:
        """What is new, as a turn of the conversation that the rest stands in; None where all of it has to be sent."""
        prompt = self._wanted.prompt
        if (known := prompt.goes_on) is not None:  # the API knows it by name, so nothing is looked up
            continues = Continues(known.conversation_id, known.message_id)
            prompt = msgspec.structs.replace(prompt, messages=known.messages, continues=continues)
        elif self._history is not None and (found := await self._continuations.notes.find(self._history)) is not None:
            length, place = found
            prompt = rest_of(prompt, length, place.conversation_id, place.message_id)
        else:
            return None
        # Only the account that has the conversation can go on with it, and only if it is free and has the files, too.
        owner, files = owner_of(prompt), self._wanted.files.owner
        if not self._continuations.is_free(self._wanted.caller, owner) or files not in {None, owner}:
            return None
        return msgspec.structs.replace(self._wanted, prompt=prompt)


class Continuations:
    """Made once per worker."""

    def __init__(self, settings: Settings, leases: Leases, turns: Turns, notes: Notes) -> None:
        self._settings = settings
        self._enabled = settings.continue_chats and not settings.history_disabled
        self._limit = settings.account_limit
        self._pool = leases.pool
        self.turns = turns
        self.notes = KnownAnswers(notes.shelf("continuations", largest=MAX_PLACE_BYTES))

    def chat_of(self, wanted: Wanted) -> KnownChat | None:
        """The chat that a prompt belongs to; None where it is to be sent as it is: not enabled, several choices, or a
        client that says itself where to continue. Raises CredentialError for a token whose time is over."""
        prompt = wanted.prompt
        if prompt.limits.choices != 1 or prompt.continues:
            return None
        if not self._enabled:
            goes_on = prompt.goes_on is not None and not is_temporary(prompt, self._settings)
            return KnownChat(self, wanted, None) if goes_on else None
        # Everybody with a key shares the pool, and so its conversations; an own account is its owner's alone.
        own = wanted.caller.own
        scope = "pool" if own is None else f"own {own_account(own, self.turns.now()).id}"
        return KnownChat(self, wanted, History(prompt, scope, lambda data: hashlib.sha256(data).digest()))

    def is_free(self, caller: Caller, owner: str | None) -> bool:
        """Whether the owner of a conversation (None: nobody in particular) could take the turn without waiting for the
        end of another. A caller's own account would have to be waited for in any case."""
        if caller.own is not None:
            return True
        if owner is None:
            return not len(self._pool)
        view = self._pool.view(owner)
        if view is None or view.state is State.PAUSED:
            return False
        return view.active < (view.limit or self._limit)


def _may_be_asked_anew(error: GatewayError, caller: Caller) -> bool:
    """Whether all of the history, as a new conversation, may fare better than the rest of it did. All these say that
    upstream has not taken the turn. A caller's own account is the same one again."""
    if isinstance(error, RequestError):
        return error.about is not About.CONTENT  # a fault of what was asked, wherever it is asked
    return caller.own is None and (is_shortage(error) or may_retry(error, sent=True))


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnswerPlace).decode
