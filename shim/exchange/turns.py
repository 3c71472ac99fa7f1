"""Opens turns: an account, the handshake, the call, and its answer until the head, with tries over other accounts.

    open ──lease, files, handshake──> conversation call ──stream──> LiveTurn at its head (first events)

Rules: a failure before the head is raised, so that it becomes a status; after it, it is the last event. Retries happen
only before upstream has accepted anything. Whoever opened a turn closes it, and closing is what tells upstream that
the client is gone.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease, Leases, list_key
from shim.accounts.outcomes import Attempt, Tries
from shim.chatgpt.conversation import Conversation
from shim.errors import DeadlineError, GatewayError, RequestError, UpstreamError
from shim.exchange.calls import Calls, Route
from shim.exchange.clock import Clock
from shim.exchange.next_account import next_lease
from shim.exchange.sockets import Sockets
from shim.files import Files, Gathered
from shim.protocol.answer.follow_up import SILENCE, Continue, Poll, Resume, Socket, continuation, poll, resume
from shim.protocol.answer.machine import Answer
from shim.protocol.api import AnsweredBy, AnswerPlace
from shim.protocol.commands import Handshake, HttpReply, HttpRequest
from shim.protocol.counting.usage import Count, prompt_tokens
from shim.protocol.events import Event, Failed, Finished, Started
from shim.protocol.models import answered_model, hands_over, works
from shim.protocol.owners import named
from shim.protocol.prompt import Prompt
from shim.protocol.turn.aftermath import delete, keep_out_of_memory, stop
from shim.protocol.turn.conversation import Chosen, conversation_for, owner_of
from shim.protocol.turn.handshake import OpeningCall, open_turn
from shim.settings import Settings
from shim.transport.base import MAX_REPLY_BYTES, Response, read_reply

T = TypeVar("T")
log = logging.getLogger("chat2api")

# What may still follow an `end_turn` (a title, a verdict, [DONE]) follows at once. An upstream that hangs there would
# keep a client waiting for IDLE_TIMEOUT with the whole answer in its hands.
_AFTER_END_SECONDS = 3.0
_EVENT_STREAM = "text/event-stream"


class Attempted:
    """What was tried for one client call, for its line in the log: how many turns, and the last one's account."""

    def __init__(self) -> None:
        self.tries = 0
        self.account: str | None = None


class Wanted(msgspec.Struct, frozen=True):
    """What a turn is opened for: the prompt as it goes up, its files, and who asks."""

    prompt: Prompt
    files: Gathered
    caller: Caller
    attempted: Attempted = msgspec.field(default_factory=Attempted)

    def tokens(self, count: Count) -> int:
        """The tokens of the prompt, with the functions it tells of and its pictures."""
        prompt = self.prompt
        return prompt_tokens(prompt.messages, count, functions=prompt.callable_functions, images=(self.files.tokens,))


class PreparedTurn(msgspec.Struct, frozen=True):
    """A turn whose call is ready to be sent: with whose account, over which route, and the conversation in it."""

    lease: AccountLease
    route: Route
    conversation: Conversation
    call: OpeningCall
    passing: bool = False  # the chat is kept for this turn alone, and deleted afterwards
    research: bool = False
    forgetful: bool = False  # the kept chat is to stay out of the account's memory


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
        self._clear_up = clear_up
        self.response, self.answer = response, answer
        self.first: list[Event] = []  # what came before the turn was handed over
        self.opened_at = now()
        self.whole_since: float | None = None  # when upstream said that the answer is complete, by `time.monotonic`
        self.reopened = False  # whether `response` is not the first any more
        self._now = now
        self._last: Event | None = None
        self._closed = False

    @property
    def reads_on(self) -> bool:
        """Whether all it needs is its response's next chunk, however long that takes: nearly always. A forgetful turn
        needs upstream told as soon as its chat has a name."""
        plain = not self.reopened and not self.forgetful
        return plain and self.answer.follow is None and not self.answer.seems_whole

    def receive(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes (`b""` is the end)."""
        return self.note(self.answer.receive(chunk))

    def note(self, events: list[Event]) -> list[Event]:
        """The same events, after what they say of the turn has been learnt."""
        if events:
            self.whole_since = None  # it was not all
            if isinstance(first := events[0], Started):
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
    def kept(self) -> bool:
        """Whether upstream keeps the chat, so that it can be continued."""
        return not (self.conversation.history_and_training_disabled or self.passing)

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
        if self.answer.done:
            self.response.release(self._leave)
        else:
            self.response.close()
            self._leave()

    def _leave(self) -> None:
        if (limits := self.answer.observed.limits) is not None:
            self.lease.note_quotas(limits)
        end_lease(self.lease, self._last, self._now())


class Turns:
    """Opens turns. One for each worker."""

    def __init__(
        self, settings: Settings, calls: Calls, leases: Leases, files: Files, *, clock: Clock, sockets: Sockets
    ) -> None:
        self._settings, self._sockets = settings, sockets
        self._calls, self._leases, self._files, self._clock = calls, leases, files, clock
        self._aftermath: set[asyncio.Task[None]] = set()

    async def settled(self, seconds: float = 5.0) -> None:
        """Wait until upstream has been told all there is to tell of turns that are over, but no longer than that."""
        if self._aftermath:
            await asyncio.wait(self._aftermath, timeout=seconds)

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock.now()

    def tries(self, wanted: Wanted) -> Tries:
        """The attempts there may be at a turn that is wanted now: up to RETRY_TIMES after the first, within the
        deadline for the first byte."""
        until = self.now() + self._settings.first_byte_timeout
        own = wanted.caller.own is not None
        alone = own or not len(self._leases.pool) or owner_of(wanted.prompt) is not None
        return Tries(self._settings.retry_times, until, alone=alone)

    async def open(self, wanted: Wanted, tries: Tries | None = None) -> LiveTurn:
        """Begin a turn; it is at its head when this returns.

        Where it fails before upstream has taken the turn, another account is tried at once (or, where there is none,
        the same way again after a pause), as long as there are `tries`. Raises GatewayError.
        """
        return await self._try(wanted, tries or self.tries(wanted), self._send)

    async def prepare(self, wanted: Wanted, tries: Tries) -> PreparedTurn:
        """The same up to the call that opens the answer, which whoever asks for it makes. What comes of it goes to
        `adopt`, or to `instead`, or ends the lease. Raises GatewayError."""

        async def ready(prepared: PreparedTurn, _attempt: Attempt) -> PreparedTurn:
            return prepared

        return await self._try(wanted, tries, ready)

    def adopt(self, prepared: PreparedTurn, response: Response) -> LiveTurn:
        """The answer to a prepared turn: upstream has taken it. It has not begun."""
        self._calls.worked(prepared.route)
        return self._live(prepared, response)

    async def instead(
        self, error: GatewayError, wanted: Wanted, prepared: PreparedTurn, tries: Tries, *, accepted: bool
    ) -> LiveTurn:
        """Another turn in the place of a prepared one that failed; at its head. Raises GatewayError, `error` where it
        was the last try, or where upstream had `accepted` the turn."""
        self._blame(error, prepared.route)
        self._note(error, prepared.lease, Attempt(sent=True, accepted=accepted), tries)
        return await self.open(wanted, tries)

    def gave_up(self, error: GatewayError, prepared: PreparedTurn) -> None:
        """A prepared turn failed, and nobody is there any more to tell."""
        self._blame(error, prepared.route)
        prepared.lease.failed(error, self.now())

    async def begin(self, live: LiveTurn) -> None:
        """Read a turn up to its first events, which are kept in `first`. Raises what the client gets as a status."""
        while not live.first:
            live.first = await self.advance(live)
        if isinstance(first := live.first[0], Failed):
            raise first.error

    async def _try(self, wanted: Wanted, tries: Tries, finish: "Callable[[PreparedTurn, Attempt], Awaitable[T]]") -> T:
        prompt = wanted.prompt
        while True:
            lease = await next_lease(
                self._leases, wanted.caller, prompt.model, owner_of(prompt), tries=tries, now=self.now
            )
            attempt = Attempt()
            wanted.attempted.tries += 1
            wanted.attempted.account = lease.account_id
            route = self._calls.route(lease.identity)
            try:
                return await finish(await self._prepared(wanted, lease, route), attempt)
            except GatewayError as error:
                self._blame(error, route)
                self._note(error, lease, attempt, tries)
            except BaseException:
                lease.left()
                raise

    def _blame(self, error: GatewayError, route: Route) -> None:
        if isinstance(error, UpstreamError):
            self._calls.failed(error, route)

    def _note(self, error: GatewayError, lease: AccountLease, attempt: Attempt, tries: Tries) -> None:
        """An attempt failed. Raises `error` where it was the last one."""
        if tries.asks_again(error, attempt, lease.account_id, self.now()):
            lease.left()
        else:
            lease.failed(error, self.now())
            tries.note(error, attempt, lease.account_id, self.now(), renewable=lease.renewable)
        log.info("turn failed (%s), trying again", error.code)

    async def _prepared(self, wanted: Wanted, lease: AccountLease, route: Route) -> PreparedTurn:
        key = list_key(lease.identity)
        temporary, passing = self._temporary(wanted.prompt, lease)
        placed = await self._files.upload(wanted.prompt, wanted.files, route.upstream, route.connection, key)
        conversation = conversation_for(
            wanted.prompt,
            Chosen(lease.slug, lease.known, lease.preset),
            placed,
            temporary=temporary,
            now=self.now(),
            new_id=self._clock.new_id,
        )
        call = await self._shake_hands(lease, route, conversation)
        wishes = wanted.prompt.wishes
        forgetful = wishes.memory is False and not temporary
        return PreparedTurn(lease, route, conversation, call, passing, "research" in wishes.hints, forgetful)

    def _temporary(self, prompt: Prompt, lease: AccountLease) -> tuple[bool, bool]:
        """(whether the chat is a temporary one, whether it is kept for this turn alone). Raises RequestError where the
        model works in kept chats only, and none may be made."""
        if not is_temporary(prompt, self._settings):
            return False, False
        needs_kept = works(lease.slug) or "research" in prompt.wishes.hints
        if self._settings.kept_for_handoff and (needs_kept or hands_over(lease.slug)):
            return False, True
        if needs_kept:
            raise RequestError(
                "This is answered in kept chats only, and chats are temporary here: ask for a kept one "
                '("chatgpt": {"temporary": false}); KEPT_FOR_HANDOFF=true allows ones that are deleted afterwards.',
                param="chatgpt.temporary",
                code="needs_kept_chat",
            )
        return True, False

    async def _send(self, prepared: PreparedTurn, attempt: Attempt) -> LiveTurn:
        attempt.sent = True
        response = await self._calls.send(prepared.call.request, prepared.route)
        live = self._live(prepared, response)
        try:
            await _check_taken(response, prepared.call)
            attempt.accepted = True
            await self.begin(live)
        except BaseException:
            self._clear_up(live)
            live.response.close()  # the lease is ended by whoever took it
            raise
        self._calls.worked(prepared.route)
        return live

    def _live(self, prepared: PreparedTurn, response: Response) -> LiveTurn:
        conversation = prepared.conversation
        answer = Answer(
            continue_times=self._settings.continue_times,
            kept=not conversation.history_and_training_disabled,
            named=conversation.conversation_id is not UNSET,
            token=response.headers.get("x-conduit-token"),
            research=prepared.research,
        )
        return LiveTurn(prepared, response, answer, self.now, self._clear_up)

    # --- for turns under way ------------------------------------------------------------------------------------------

    async def advance(self, live: LiveTurn) -> list[Event]:
        """The next events: of the stream's next chunk, or from wherever the machine says that the answer goes on. Empty
        where there is nothing to say yet."""
        answer = live.answer
        try:
            if answer.follow is None:
                events = live.receive(await self._chunk(live))
                if live.forgetful and answer.conversation_id is not None:
                    live.forgetful = False
                    self._soon(self._tell(live, keep_out_of_memory(live.route.upstream, answer.conversation_id)))
                return events
            return await self._go_after(live)
        except GatewayError as error:
            return live.note(answer.abort(error))

    async def _go_after(self, live: LiveTurn) -> list[Event]:
        """Do what the machine says that it can't go on without. Raises GatewayError."""
        answer = live.answer
        match answer.follow:
            case _ if self.now() > live.opened_at + self._settings.total_timeout:
                late = DeadlineError("The answer took longer than TOTAL_TIMEOUT allows")
                return live.note(answer.abort(late, final=True))
            case Poll() as follow:
                return live.note(answer.read_conversation(await self._run(poll(live.route.upstream, follow), live)))
            case Resume() as follow:
                opening = resume(live.route.upstream, follow, self._clock.chance())
                return await self._reopen(live, await self._run(opening, live))
            case Socket() as follow:
                return await self._onto_socket(live, follow)
            case Continue() as follow:
                conversation = continuation(live.conversation, follow, self._clock.new_id())
                call = await self._shake_hands(live.lease, live.route, conversation)
                return await self._reopen(live, call.request)
            case None:
                return []

    async def _onto_socket(self, live: LiveTurn, follow: Socket) -> list[Event]:
        """Read on from the account's socket. Whatever is in the way of that says nothing about the answer."""
        live.response.close()
        try:
            live.response = await self._sockets.open(follow, live.route)
        except GatewayError as error:
            log.info("the account's socket can't be had (%s)", error.code)
            return live.note(live.answer.abort(UpstreamError(error.message, code="stream_handoff")))
        live.answer.reopen()
        return []

    async def _chunk(self, live: LiveTurn) -> bytes:
        """The stream's next chunk. After the answer's own end it is waited for only a moment, and then it is as if the
        stream had ended. A stream that was opened again is lost sooner than the first, which IDLE_TIMEOUT ends: there,
        silence may be long thinking."""
        whole = live.answer.seems_whole
        if not whole and not live.reopened:
            return await live.response.chunk()
        now = time.monotonic()
        if whole:
            live.whole_since = live.whole_since or now
        patience = live.whole_since + _AFTER_END_SECONDS - now if live.whole_since is not None and whole else SILENCE
        try:
            async with asyncio.timeout(max(0.0, patience)):
                return await live.response.chunk()
        except TimeoutError as error:
            if whole:
                return b""
            live.response.close()
            raise DeadlineError("Upstream was silent for a minute after its stream was opened again") from error

    async def _reopen(self, live: LiveTurn, request: HttpRequest) -> list[Event]:
        """Read on from another stream."""
        live.response.close()
        live.response = await self._calls.send(request, live.route)
        if is_event_stream(live.response.status, live.response.headers):
            live.answer.learn_token(live.response.headers.get("x-conduit-token"))
            live.answer.reopen()
            live.reopened = True
            return []
        return live.note(live.answer.refused(await read_reply(live.response)))

    def _clear_up(self, live: LiveTurn) -> None:
        """Tell upstream what is left to tell of a turn that is let go of, while nobody waits for it."""
        upstream, id = live.route.upstream, live.answer.conversation_id
        if id is None:
            return
        left = ((stop, live.answer.is_elsewhere), (keep_out_of_memory, live.forgetful), (delete, live.passing))
        if told := [tell(upstream, id) for tell, applies in left if applies]:
            self._soon(self._tell(live, *told))

    def _soon(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(telling)
        self._aftermath.add(task)
        task.add_done_callback(self._aftermath.discard)

    async def _tell(self, live: LiveTurn, *told: Handshake[None]) -> None:
        for one in told:
            try:
                await self._run(one, live)
            except GatewayError as error:
                log.warning("upstream was not told what is left of a turn (%s)", error.code)

    async def _run(self, handshake: Handshake[T], live: LiveTurn) -> T:
        return await self._calls.driver.run(handshake, live.route.connection)

    async def _shake_hands(self, lease: AccountLease, route: Route, conversation: Conversation) -> OpeningCall:
        moment = self._calls.moment(lease.identity)
        handshake = open_turn(route.upstream, conversation, self._calls.options, moment)
        return await self._calls.driver.run(handshake, route.connection)


def is_temporary(prompt: Prompt, settings: Settings) -> bool:
    """Whether a temporary chat is wanted: by the client, or else by the operator."""
    wished = prompt.wishes.temporary
    return settings.history_disabled if wished is None else wished


def end_lease(lease: AccountLease, last: Event | None, now: float) -> None:
    """Give an account back, with how its turn ended by the `last` event of it. `now` is in seconds since 1970."""
    match last:
        case Finished():
            lease.succeeded()
        case Failed(error=error):
            lease.failed(error, now)
        case _:
            lease.left()


async def _check_taken(response: Response, call: OpeningCall) -> None:
    """Raises what the client gets as a status where upstream refused the turn."""
    if not is_event_stream(response.status, response.headers):
        raise call.refused(await _read_refusal(response))


async def _read_refusal(response: Response) -> HttpReply:
    """What upstream said instead of answering. One that is too long to be read is told by its status."""
    status, headers = response.status, response.headers
    body = bytearray()
    try:
        while len(body) <= MAX_REPLY_BYTES and (chunk := await response.chunk()):
            body += chunk
    finally:
        response.close()
    return HttpReply(status, headers, bytes(body) if len(body) <= MAX_REPLY_BYTES else b"")


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether upstream took the turn and answers it. Header names are lower case."""
    return status == 200 and headers.get("content-type", "").lower().startswith(_EVENT_STREAM)
