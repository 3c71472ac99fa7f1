"""One turn: an account's lease, the handshake, and the answer until its end, wherever upstream moves it.

    open ──lease, files, handshake──> turn ──stream──> head (first event) ──events, follow-ups──> end

Rules: a failure before the head is raised, so that it becomes a status; after it, it is the last event. Retries happen
only before upstream has accepted anything. Whoever opened a turn closes it, and closing is what tells upstream that
the client is gone.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease, Leases, list_key
from shim.accounts.outcomes import Attempt, Tries
from shim.apis.chat.wire import ChatRequest
from shim.chatgpt.conversation import Conversation
from shim.errors import DeadlineError, GatewayError, UpstreamError
from shim.exchange.calls import Calls, Route
from shim.exchange.clock import Clock
from shim.exchange.next_account import next_lease
from shim.files import Files, Gathered
from shim.protocol.answer.follow_up import Continue, Poll, Resume, continuation, poll, resume
from shim.protocol.answer.machine import Answer
from shim.protocol.commands import Handshake, HttpRequest
from shim.protocol.events import Event, Failed, Finished, Started
from shim.protocol.models import answered_model
from shim.protocol.owners import named
from shim.protocol.turn.conversation import conversation_for, owner_of
from shim.protocol.turn.handshake import Turn, open_turn
from shim.protocol.upstream import Upstream
from shim.settings import Settings
from shim.transport.base import Response, read_reply

T = TypeVar("T")
log = logging.getLogger("chat2api")

_EVENT_STREAM = "text/event-stream"


class Wanted(msgspec.Struct, frozen=True):
    """What a turn is opened for: the request as it goes up, its files, and who asks."""

    request: ChatRequest
    files: Gathered
    caller: Caller


class Place(msgspec.Struct, frozen=True):
    """Where a turn is held: whose lease, over which route, and the conversation that went up."""

    lease: AccountLease
    route: Route
    conversation: Conversation


class Arranged(msgspec.Struct, frozen=True):
    """A turn whose call is ready to be sent, and where it is held."""

    place: Place
    turn: Turn


class LiveAnswer:
    """One answer under way, at its head once `begin` has returned."""

    def __init__(self, turns: "Turns", place: Place, response: Response, answer: Answer) -> None:
        self.lease = place.lease
        self.model = place.lease.model
        self._turns, self._place = turns, place
        self._response, self._answer = response, answer
        self._until = turns.now() + turns.total_timeout
        self._first: list[Event] = []
        self._last: Event | None = None

    async def begin(self) -> None:
        """Wait for the first events. Raises what the client gets as a status."""
        while not self._first:
            self._first = await self._next()
        if isinstance(first := self._first[0], Failed):
            raise first.error
        self._learn_model(first)

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events, in the batches they arrived in; the last one is Finished or Failed."""
        batch = self._first
        while batch or not self._answer.ended:
            if batch:
                self._last = batch[-1]
                yield batch
            batch = [] if self._answer.ended else await self._next()

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes (`b""` is the end), for a driver that is handed the bytes. It can't follow
        an answer that goes on elsewhere: that one fails."""
        events = self._answer.receive(chunk)
        if self._answer.follow is not None:
            events += self._answer.receive(b"")
        return self._fed(events)

    def break_off(self, error: GatewayError) -> list[Event]:
        """The same where the bytes end with a failure. An answer that was whole already stays so."""
        return self._fed(self._answer.abort(error, final=True))

    def ids(self) -> dict[str, str]:
        """What a client goes on with: the names of the conversation and of the answer in it, where they are known."""
        conversation, message = self._answer.conversation_id, self._answer.message_id
        if conversation is None or message is None:
            return {}
        return {"conversation_id": named(conversation, self.lease.account_id), "message_id": message}

    def abandon(self) -> None:
        """Close a response that never became an answer; its lease is ended by whoever took it."""
        self._response.close()

    def close(self) -> None:
        """Let go of upstream, at once where the answer is still under way, else so that the connection lives on; and
        then of the account, for upstream counts its turns."""
        if self._answer.done:
            self._response.release(self._leave)
        else:
            self._response.close()
            self._leave()

    def _leave(self) -> None:
        match self._last:
            case Finished():
                self.lease.succeeded()
            case Failed(error=error):
                self.lease.failed(error, self._turns.now())
            case _:
                self.lease.left()

    def _fed(self, events: list[Event]) -> list[Event]:
        if events:
            self._learn_model(events[0])
            self._last = events[-1]
        return events

    def _learn_model(self, event: Event) -> None:
        if isinstance(event, Started):
            self.model = answered_model(self.lease.model, self.lease.slug, event.slug)

    async def _next(self) -> list[Event]:
        """The next events, from wherever upstream goes on with the answer (`shim.protocol.answer.follow_up`)."""
        try:
            match self._answer.follow:
                case None:
                    return self._answer.receive(await self._response.chunk())
                case _ if self._turns.now() > self._until:
                    late = DeadlineError("The answer took longer than TOTAL_TIMEOUT allows")
                    return self._answer.abort(late, final=True)
                case Poll() as follow:
                    return self._answer.read_conversation(
                        await self._turns.run(poll(self._upstream, follow), self._place)
                    )
                case Resume() as follow:
                    return await self._reopen(await self._turns.run(resume(self._upstream, follow), self._place))
                case Continue() as follow:
                    return await self._reopen(await self._turns.rest(follow, self._place))
        except GatewayError as error:
            return self._answer.abort(error)

    async def _reopen(self, request: HttpRequest) -> list[Event]:
        """Read on from another stream."""
        self._response.close()
        self._response = await self._turns.send(request, self._place)
        if is_event_stream(self._response):
            self._answer.reopen()
            return []
        return self._answer.refused(await read_reply(self._response))

    @property
    def _upstream(self) -> Upstream:
        return self._place.route.upstream


class Turns:
    """Opens turns: leases, retries and follow-ups, made once per worker."""

    def __init__(self, settings: Settings, calls: Calls, leases: Leases, files: Files, clock: Clock) -> None:
        self._settings = settings
        self._calls, self._leases, self._files, self._clock = calls, leases, files, clock

    @property
    def kept(self) -> bool:
        """Whether upstream keeps the chats, so that they can be gone on with."""
        return not self._settings.history_disabled

    @property
    def total_timeout(self) -> float:
        """Seconds for a whole answer."""
        return self._settings.total_timeout

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    def tries(self, wanted: Wanted) -> Tries:
        """The attempts there may be at a turn that is wanted now: up to RETRY_TIMES after the first, within the
        deadline for the first byte."""
        until = self.now() + self._settings.first_byte_timeout
        own = wanted.caller.own is not None
        alone = own or not len(self._leases.pool) or owner_of(wanted.request) is not None
        return Tries(self._settings.retry_times, until, alone=alone)

    async def open(self, wanted: Wanted, tries: Tries | None = None) -> LiveAnswer:
        """Begin a turn; it is at its head when this returns.

        Where it fails before upstream has taken the turn, another account is tried at once (or, where there is none,
        the same way again after a pause), as long as there are `tries`. Raises GatewayError.
        """
        return await self._try(wanted, tries or self.tries(wanted), self._send)

    async def arrange(self, wanted: Wanted, tries: Tries) -> Arranged:
        """The same up to the call that opens the answer, which whoever asks for it makes. What comes of it goes to
        `adopt`, or to `instead`, or ends the lease. Raises GatewayError."""

        async def ready(arranged: Arranged, _attempt: Attempt) -> Arranged:
            return arranged

        return await self._try(wanted, tries, ready)

    def adopt(self, arranged: Arranged, response: Response) -> LiveAnswer:
        """The answer to an arranged turn: upstream has taken it. It has not begun."""
        self._calls.worked(arranged.place.route)
        return LiveAnswer(self, arranged.place, response, self._answer())

    async def instead(
        self, error: GatewayError, wanted: Wanted, arranged: Arranged, tries: Tries, *, accepted: bool
    ) -> LiveAnswer:
        """Another turn in the place of an arranged one that failed; at its head. Raises GatewayError, `error` where it
        was the last try, or where upstream had `accepted` the turn."""
        self._fail(error, arranged.place)
        self._note(error, arranged.place.lease, Attempt(sent=True, accepted=accepted), tries)
        return await self.open(wanted, tries)

    def gave_up(self, error: GatewayError, place: Place) -> None:
        """An arranged turn failed, and nobody is there any more to tell."""
        self._fail(error, place)
        place.lease.failed(error, self.now())

    def _fail(self, error: GatewayError, place: Place) -> None:
        if isinstance(error, UpstreamError):
            self._calls.failed(error, place.route)

    async def _try(self, wanted: Wanted, tries: Tries, finish: "Callable[[Arranged, Attempt], Awaitable[T]]") -> T:
        while True:
            lease = await self._lease(wanted, tries)
            attempt = Attempt()
            try:
                return await self._attempt(wanted, lease, attempt, finish)
            except GatewayError as error:
                self._note(error, lease, attempt, tries)
            except BaseException:
                lease.left()
                raise

    def _note(self, error: GatewayError, lease: AccountLease, attempt: Attempt, tries: Tries) -> None:
        """An attempt failed. Raises `error` where it was the last one."""
        lease.failed(error, self.now())
        tries.note(error, attempt, lease.account_id, self.now(), renewable=lease.renewable)
        log.info("turn failed (%s), trying again", error.code)

    async def _lease(self, wanted: Wanted, tries: Tries) -> AccountLease:
        request = wanted.request
        return await next_lease(
            self._leases, wanted.caller, request.model, owner_of(request), tries=tries, now=self.now
        )

    async def _attempt(
        self,
        wanted: Wanted,
        lease: AccountLease,
        attempt: Attempt,
        finish: "Callable[[Arranged, Attempt], Awaitable[T]]",
    ) -> T:
        route = self._calls.route(lease.identity)
        try:
            return await finish(await self._arranged(wanted, lease, route), attempt)
        except UpstreamError as error:
            self._calls.failed(error, route)
            raise

    async def _arranged(self, wanted: Wanted, lease: AccountLease, route: Route) -> Arranged:
        placed = await self._files.upload(wanted.files, route.upstream, route.connection, list_key(lease.identity))
        conversation = conversation_for(
            wanted.request,
            lease.slug,
            placed,
            temporary=self._settings.history_disabled,
            now=self.now(),
            new_id=self._clock.new_id,
        )
        place = Place(lease, route, conversation)
        return Arranged(place, await self._shake_hands(place))

    async def _send(self, arranged: Arranged, attempt: Attempt) -> LiveAnswer:
        attempt.sent = True
        response = await self.send(arranged.turn.request, arranged.place)
        live = LiveAnswer(self, arranged.place, response, self._answer())
        try:
            await _check_taken(response, arranged.turn)
            attempt.accepted = True
            await live.begin()
        except BaseException:
            live.abandon()
            raise
        self._calls.worked(arranged.place.route)
        return live

    # --- for answers under way ----------------------------------------------------------------------------------------

    async def send(self, request: HttpRequest, place: Place) -> Response:
        """Make a call over a turn's own route."""
        return await self._calls.send(request, place.route)

    async def run(self, handshake: Handshake[T], place: Place) -> T:
        """Perform a handshake over a turn's own route."""
        return await self._calls.driver.run(handshake, place.route.connection)

    async def rest(self, follow: Continue, place: Place) -> HttpRequest:
        """The call for the rest of an answer that was cut: a turn of its own, with a handshake of its own."""
        conversation = continuation(place.conversation, follow, self._clock.new_id())
        return (await self._shake_hands(msgspec.structs.replace(place, conversation=conversation))).request

    async def _shake_hands(self, place: Place) -> Turn:
        moment = self._calls.moment(place.lease.identity)
        return await self.run(open_turn(place.route.upstream, place.conversation, self._calls.options, moment), place)

    def _answer(self) -> Answer:
        return Answer(continue_times=self._settings.continue_times, resumable=self.kept)


async def _check_taken(response: Response, turn: Turn) -> None:
    """Raises what the client gets as a status where upstream refused the turn."""
    if not is_event_stream(response):
        raise turn.refused(await read_reply(response))


def is_event_stream(response: Response) -> bool:
    """Whether upstream took the turn and answers it."""
    return response.status == 200 and response.headers.get("content-type", "").lower().startswith(_EVENT_STREAM)
