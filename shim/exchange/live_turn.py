"""A turn: what it is wanted for, prepared to be sent, and live.

    Wanted ──lease, handshake──> PreparedTurn ──call──> LiveTurn ──its last event──> what its account is told

Rule: nothing here does I/O but to let go of a response. `turns` opens turns and reads on in them.
"""

from collections.abc import Callable

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease
from shim.chatgpt.conversation import Conversation
from shim.exchange.affinity import Session
from shim.exchange.calls import Route
from shim.exchange.next_account import Attempted, Seeker
from shim.files.intake import Gathered
from shim.protocol.answer.machine import Answer
from shim.protocol.api import AnsweredBy, AnswerPlace
from shim.protocol.counting.usage import Count, prompt_tokens
from shim.protocol.events import Event, Failed, Finished, Started
from shim.protocol.models import answered_model
from shim.protocol.owners import named
from shim.protocol.prompt import Prompt
from shim.protocol.turn.conversation import owner_of
from shim.protocol.turn.handshake import OpeningCall
from shim.transport.base import Response


class Wanted(msgspec.Struct, frozen=True):
    """What a turn is opened for: the prompt as it goes up, its files, who asks, and the session it belongs to.
    `longest` are the seconds that it may take; None: as long as any."""

    prompt: Prompt
    files: Gathered
    caller: Caller
    attempted: Attempted = msgspec.field(default_factory=Attempted)
    session: Session | None = None
    longest: float | None = None

    def tokens(self, count: Count) -> int:
        """The tokens of the prompt, with the functions it tells of and its pictures."""
        prompt = self.prompt
        return prompt_tokens(
            prompt.all_messages, count, functions=prompt.callable_functions, images=(self.files.tokens,)
        )

    @property
    def seeker(self) -> Seeker:
        """For whom and what an account is looked for."""
        place = self.session.place if self.session is not None else None
        prefer = place.account if place is not None else None
        return Seeker(self.caller, self.prompt.model, self.owner, self.attempted, prefer)

    @property
    def owner(self) -> str | None:
        """The one account that can take the turn: it has the conversation, or files that the prompt names."""
        return owner_of(self.prompt) or self.files.owner


class PreparedTurn(msgspec.Struct, frozen=True):
    """A turn whose call is ready to be sent: with whose account, over which route, and the conversation in it."""

    lease: AccountLease
    route: Route
    conversation: Conversation
    call: OpeningCall
    passing: bool = False  # the chat is kept for this turn alone, and deleted (or archived) afterwards
    research: bool = False
    forgetful: bool = False  # the kept chat is to stay out of the account's memory
    longest: float | None = None  # as in `Wanted`


class LiveTurn:
    """One turn upstream: whose account it uses, the response that is being read, and the machine that reads it. It does
    no I/O of its own but to let go of the response."""

    def __init__(
        self,
        prepared: PreparedTurn,
        response: Response,
        answer: Answer,
        now: Callable[[], float],
        clear_up: "Callable[[LiveTurn], None]",
    ) -> None:
        self.lease, self.route, self.conversation = prepared.lease, prepared.route, prepared.conversation
        self.model, self.slug = prepared.lease.model, prepared.lease.slug
        self.passing, self.forgetful = prepared.passing, prepared.forgetful
        # Whether upstream keeps the chat, so that it can be continued.
        self.kept = not (prepared.conversation.history_and_training_disabled or prepared.passing)
        self.longest = prepared.longest
        self.linked = False  # whether the client was given links to what was made in the chat
        self._clear_up = clear_up
        self.response, self.answer = response, answer
        self.first: list[Event] = []  # what came before the turn was handed over
        self.opened_at = now()
        self.whole_since: float | None = None  # when upstream said that the answer is complete, by `time.monotonic`
        self.handed_on = False  # whether somebody else goes on with it, so that upstream is told nothing
        self.reopened = False  # whether `response` is not the first any more
        self._now = now
        self._last: Event | None = None
        self._closed = False

    def note(self, events: list[Event]) -> list[Event]:
        """The same events, after what they say of the turn has been learnt."""
        if events:
            # Whatever comes counts as life: the moment that is waited for more begins anew.
            self.whole_since = None  # it was not all
            # It is the first of its turn's events, if it is there at all.
            if type(first := events[0]) is Started:
                self.slug = first.slug or self.slug
                self.model = answered_model(self.lease.model, self.lease.slug, first.slug)
            self._last = events[-1]
        return events

    def answered_by(self) -> AnsweredBy:
        """What really answers."""
        observed, id = self.answer.observed, self.answer.conversation_id
        effort = observed.effort or self.conversation.thinking_effort or None
        return AnsweredBy(
            observed.slug,
            effort,
            observed.switched,
            named(id, self.lease.account_id) if id is not None and self.kept else None,
        )

    @property
    def found_under(self) -> str | None:
        """The name of the conversation in which the answer can be found although nobody reads its stream; None where
        that is nowhere, or not known yet."""
        id = self.answer.conversation_id
        temporary = self.conversation.history_and_training_disabled
        # A chat that is kept for this turn alone is there as long as the turn is.
        return None if id is None or temporary else named(id, self.lease.account_id)

    def place(self) -> AnswerPlace | None:
        """Where the answer stands, as far as upstream has said; None where the chat is not kept."""
        if not self.kept:
            return None
        conversation, message = self.answer.conversation_id, self.answer.message_id
        if conversation is None or message is None:
            return None
        return AnswerPlace(named(conversation, self.lease.account_id), message)

    def close(self) -> None:
        """Let go of upstream, at once where the answer is still under way, else so that the connection lives on; and
        then of the account, for upstream counts its turns. What goes on elsewhere is stopped. Closing again does
        nothing."""
        if self._closed:
            return
        self._closed = True
        self._clear_up(self)
        # After `[DONE]` only the end of the body is left, and read it leaves a connection that can be used again.
        if self.answer.done:
            self.response.release(self._leave)
        else:
            self.response.close()
            self._leave()

    def _leave(self) -> None:
        # Quotas are told beside any answer, also one that failed.
        if (limits := self.answer.observed.limits) is not None:
            self.lease.note_quotas(limits)
        end_lease(self.lease, self._last, self._now())


def end_lease(lease: AccountLease, last: Event | None, now: float) -> None:
    """Give an account back, with how its turn ended by the `last` event of it. `now` is in seconds since 1970."""
    match last:
        case Finished():
            lease.succeeded()
        case Failed(error=error):
            lease.failed(error, now)
        # Broken off by the client: that says nothing of the account.
        case _:
            lease.left()
