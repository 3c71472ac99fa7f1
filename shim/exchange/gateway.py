"""An exchange: one client call from its request to the end of its answer, over whichever transport.

    open ──handshake──> turn ──stream──> head (first event) ──events──> end

Rules: a failure before the head is raised, so that it becomes a status; after it, it is the last event. Retries happen
only in the handshake, before upstream has accepted anything. Whoever opened an exchange closes it, and closing is
what tells upstream that the client is gone.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import msgspec

from pow import ClientProfile
from shim import tokenizer
from shim.accounts.credentials import Caller, caller_of
from shim.accounts.outcomes import Attempt, Tries, event_of
from shim.accounts.roster import Roster
from shim.accounts.seats import Seat, Seats, is_shortage, list_key
from shim.accounts.states import State
from shim.accounts.views import AccountView
from shim.errors import GatewayError, RequestError, UpstreamError
from shim.openai.chat import ChatRequest, Usage
from shim.protocol.answer import Answer
from shim.protocol.conversation import check_messages, conversation_for, conversation_name, owner_of, text_of
from shim.protocol.events import Event, Failed, Finished, Started
from shim.protocol.handshake import HandshakeOptions, Moment, Turn, open_turn
from shim.protocol.listing import list_models
from shim.protocol.models import AUTO, answered_model
from shim.protocol.renewal import DeadCredentialError
from shim.protocol.upstream import Identity, Upstream
from shim.protocol.usage import prompt_tokens, usage_of
from shim.settings import Settings
from shim.transport.base import Lane, Response, read_reply
from shim.transport.driver import Driver
from shim.transport.ways import Ways

log = logging.getLogger("chat2api")

_LARGE = 100_000  # characters; the tokenizer does some 30 a microsecond
_EVENT_STREAM = "text/event-stream"
_NOT_KEPT = "Chats are not kept here (HISTORY_DISABLED), so there is no conversation to go on with."
_PROXY_FAILURES = frozenset({"upstream_proxy", "upstream_unreachable", "connect_timeout"})
_ORIGIN_FAILURES = frozenset(
    {"upstream_unreachable", "upstream_tls", "connect_timeout", "timeout", "upstream_connection"}
) | {f"upstream_{status}" for status in (500, 502, 503, 504, *range(520, 525))}


class Clock(msgspec.Struct, frozen=True):
    """Where time and ids come from; tests put their own in."""

    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())


class Exchange:
    """One answer under way. `first` are the events that came with the head."""

    def __init__(
        self,
        response: Response,
        answer: Answer,
        first: list[Event],
        *,
        request: ChatRequest,
        seat: Seat,
        clock: Clock,
        kept: bool,
    ) -> None:
        started = next((event for event in first if isinstance(event, Started)), None)
        self.request = request
        self.seat = seat
        self.model = answered_model(seat.model, seat.slug, started.slug if started else None)
        self.id = f"chatcmpl-{clock.new_id().replace('-', '')}"
        self.created = int(clock.now())
        self._response = response
        self._answer = answer
        self._first = first
        self._last: Event | None = None
        self._now = clock.now
        self._kept = kept

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events, in the batches they arrived in; the last one is Finished or Failed."""
        batch = self._first
        while batch or not self._answer.ended:
            if batch:
                self._last = batch[-1]
                yield batch
            batch = [] if self._answer.ended else await _next_events(self._response, self._answer)

    def ids(self) -> dict[str, str]:
        """What a client goes on with, where chats are kept: the names of the conversation and of the answer in it."""
        conversation, message = self._answer.conversation_id, self._answer.message_id
        if not self._kept or conversation is None or message is None:
            return {}
        return {"conversation_id": conversation_name(conversation, self.seat.account_id), "message_id": message}

    def usage(self, text: str, reasoning: str) -> Usage:
        """Token counts for the answer so far."""
        return usage_of(prompt_tokens(self.request.messages, tokenizer.count), text, reasoning, tokenizer.count)

    def is_large(self, answer_size: int) -> bool:
        """Whether counting tokens (of an answer this many characters long) should stay off the event loop."""
        return answer_size + sum(len(text_of(message)) for message in self.request.messages) > _LARGE

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
                self.seat.succeeded()
            case Failed(error=error):
                self.seat.failed(error, self._now())
            case _:
                self.seat.left()


class Way(msgspec.Struct, frozen=True):
    """How upstream is reached in one attempt."""

    origin: str
    lane: Lane


# What a probe that went well proves wrong. Limits are not among it: those end when upstream has said.
_DISPROVED = frozenset({State.PARKED, State.EXPIRED})


class Gateway:
    """Everything an exchange needs, made once per worker."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        *,
        pool: Roster,
        guests: Roster,
        installation: uuid.UUID,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.seats = Seats(
            pool,
            guests,
            fetch=self._fetch_models,
            installation=installation,
            clock=clock.now,
            default_model=settings.default_model or None,
            conversation_only=settings.conversation_only,
        )
        self.driver = driver
        self._origins = Ways(settings.chatgpt_base_url)
        self._proxies = Ways(settings.proxy_url)
        self._began = clock.now()
        self.options = HandshakeOptions(
            profile=ClientProfile(user_agent=settings.user_agent),
            two_step=settings.sentinel == "two-step",
            conversation_only=settings.conversation_only,
            turnstile=settings.turnstile,
            pow_floor=settings.pow_difficulty,
        )

    def caller(self, authorization: str | None) -> Caller:
        """Who calls. Raises CredentialError."""
        return caller_of(authorization, self.settings.authorization)

    async def open(self, request: ChatRequest, caller: Caller) -> Exchange:
        """Begin the exchange; it is at its head when this returns.

        Where it fails before upstream has taken the turn, another account is tried at once (or, where there is none,
        the same way again after a pause), up to RETRY_TIMES and within the deadline for the first byte. Raises
        GatewayError.
        """
        check_messages(request)
        if request.conversation_id and self.settings.history_disabled:
            raise RequestError(_NOT_KEPT, param="conversation_id", code="history_disabled")
        until = self.clock.now() + self.settings.first_byte_timeout
        alone = caller.own is not None or not len(self.seats.pool) or owner_of(request) is not None
        tries = Tries(self.settings.retry_times, until, alone=alone)
        while True:
            seat = await self._seat(caller, request, tries)
            attempt = Attempt()
            try:
                return await self._attempt(request, seat, attempt)
            except GatewayError as error:
                error.settle(self.clock.now())
                seat.failed(error, self.clock.now())
                tries.note(error, attempt, seat.account_id, self.clock.now(), renewable=seat.renewable)
                log.info("turn failed (%s), trying again", error.code)
            except BaseException:
                seat.left()
                raise

    async def probe(self, id: str) -> AccountView | None:
        """Try an account of the pool: renew it where that can be done, and ask for its models. None where it is not
        there. What that showed is in the view."""
        pool = self.seats.pool
        try:
            account = await pool.renew(id)
            if account is None:
                return None
            identity = self.seats.identity_of(account)
            pool.learn(id, await self._fetch_models(identity))
            view = pool.view(id)
            if view is not None and view.state in _DISPROVED:
                await pool.reset(id)
        except DeadCredentialError:
            pass  # the renewal has parked it
        except GatewayError as error:
            pool.report(id, event_of(error, slug=AUTO, renewable=False, now=self.clock.now()))
        return pool.view(id)

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _seat(self, caller: Caller, request: ChatRequest, tries: Tries) -> Seat:
        """The next seat; what failed before decides whether to wait first, and what is told where there is none."""
        while True:
            if tries.alone and isinstance(tries.failure, UpstreamError):
                await asyncio.sleep(tries.pause())
            try:
                return await self.seats.take(caller, request.model, tries.tried, owner_of(request))
            except GatewayError as error:
                if not is_shortage(error):
                    tries.note(error, Attempt(), None, self.clock.now())
                elif isinstance(tries.failure, UpstreamError) and tries.tried:
                    await asyncio.sleep(tries.pause())
                    tries.tried = frozenset()
                else:
                    raise tries.failure if tries.failure is not None and caller.own is not None else error from error

    async def _attempt(self, request: ChatRequest, seat: Seat, attempt: Attempt) -> Exchange:
        way = self.way(seat.identity)
        try:
            exchange = await self._converse(request, seat, attempt, way)
        except UpstreamError as error:
            self.note_failed(error, way)
            raise
        self._origins.worked(way.origin)
        if way.lane.proxy is not None:
            self._proxies.worked(way.lane.proxy)
        return exchange

    async def _converse(self, request: ChatRequest, seat: Seat, attempt: Attempt, way: Way) -> Exchange:
        upstream = Upstream(way.origin, seat.identity, self.options.profile)
        conversation = conversation_for(
            request,
            seat.slug,
            temporary=self.settings.history_disabled,
            now=self.clock.now(),
            new_id=self.clock.new_id,
        )
        handshake = open_turn(upstream, conversation, self.options, self.moment(seat.identity))
        kept = not self.settings.history_disabled
        turn = await self.driver.run(handshake, way.lane)
        attempt.sent = True
        response = await self.driver.transport.send(turn.request, way.lane)
        try:
            answer, first = await _head(response, turn, attempt)
            return Exchange(response, answer, first, request=request, seat=seat, clock=self.clock, kept=kept)
        except BaseException:
            response.close()
            raise

    async def _fetch_models(self, identity: Identity) -> tuple[str, ...]:
        way = self.way(identity)
        try:
            return await self.driver.run(list_models(Upstream(way.origin, identity, self.options.profile)), way.lane)
        except UpstreamError as error:
            self.note_failed(error, way)
            raise

    def way(self, identity: Identity) -> Way:
        """The way upstream this identity keeps to."""
        now, key = self.clock.now(), list_key(identity)
        return Way(self._origins.pick(key, now) or "", Lane(key, self._proxies.pick(key, now)))

    def note_failed(self, error: UpstreamError, way: Way) -> None:
        """A dead proxy and a failing gateway are left out for a while, where there are others."""
        now, proxy = self.clock.now(), way.lane.proxy
        if proxy is not None and error.code in _PROXY_FAILURES:
            self._proxies.failed(proxy, now)
        elif len(self._origins) > 1 and error.code in _ORIGIN_FAILURES:
            self._origins.failed(way.origin, now)

    def moment(self, identity: Identity) -> Moment:
        """Now, for the proofs of this identity."""
        now = self.clock.now()
        elapsed = round((now - self._began) * 1000, 1)
        return Moment(datetime.fromtimestamp(now, UTC), elapsed, identity.device_id)


async def _head(response: Response, turn: Turn, attempt: Attempt) -> tuple[Answer, list[Event]]:
    """The answer at its first event. Raises what the client gets as a status."""
    if response.status != 200 or not response.headers.get("content-type", "").lower().startswith(_EVENT_STREAM):
        raise turn.refused(await read_reply(response))
    attempt.accepted = True
    answer = Answer()
    first: list[Event] = []
    while not first:
        first = await _next_events(response, answer)
    if isinstance(first[0], Failed):
        raise first[0].error
    return answer, first


async def _next_events(response: Response, answer: Answer) -> list[Event]:
    try:
        return answer.receive(await response.chunk())
    except GatewayError as error:
        return answer.abort(error)
