"""Opens turns: an account, the handshake, the call, and its answer until the head, with tries over other accounts.

    open ──lease, files, handshake──> conversation call ──stream──> LiveTurn at its head (first events)

Rules: a failure before the head is raised, so that it becomes a status; after it, it is the last event. Retries happen
only before upstream has accepted anything. Whoever opened a turn closes it, and closing is what tells upstream that
the client is gone.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import msgspec
from msgspec import UNSET

from shim.accounts.leases import AccountLease, Leases
from shim.accounts.outcomes import Attempt, Tries
from shim.background import Background
from shim.cassettes.taping import is_taping
from shim.chatgpt.conversation import Conversation
from shim.errors import DeadlineError, GatewayError, RequestError, UpstreamError
from shim.exchange.ahead import Ahead
from shim.exchange.calls import Calls, Route
from shim.exchange.clock import Clock
from shim.exchange.live_turn import LiveTurn, PreparedTurn, Wanted
from shim.exchange.next_account import AccountLoop, Seeker
from shim.exchange.sockets import Sockets
from shim.files.intake import Files
from shim.protocol.answer.follow_up import SILENCE, Continue, Poll, Resume, Socket, continuation, poll, resume
from shim.protocol.answer.machine import Answer
from shim.protocol.commands import Handshake, HttpReply, HttpRequest
from shim.protocol.events import Event, Failed
from shim.protocol.models import hands_over, works
from shim.protocol.owners import taken_apart
from shim.protocol.prompt import Prompt
from shim.protocol.turn.aftermath import archive, delete, keep_out_of_memory, stop
from shim.protocol.turn.conversation import Chosen, Placed, conversation_for
from shim.protocol.turn.handshake import Clearance, OpeningCall, is_event_stream, open_turn
from shim.settings import Settings
from shim.transport.base import MAX_REPLY_BYTES, Response, read_reply

T = TypeVar("T")
log = logging.getLogger("chat2api")

# What may still follow an `end_turn` (a title, a verdict, [DONE]) follows at once. An upstream that hangs there would
# keep a client waiting for IDLE_TIMEOUT with the whole answer in its hands.
_AFTER_END_SECONDS = 3.0
_NONE_PLACED: Placed = {}


class Turns:
    """Opens turns. One for each worker."""

    def __init__(
        self, settings: Settings, calls: Calls, leases: Leases, files: Files, *, clock: Clock, sockets: Sockets
    ) -> None:
        self._settings, self._sockets = settings, sockets
        self._calls, self._leases, self._files, self._clock = calls, leases, files, clock
        self.now = clock.now  # seconds since 1970
        self.accounts = AccountLoop(leases, calls, clock.now)
        # What upstream is told of turns that are over: nobody waits for it, and its failures are the log's.
        self._aftermath = Background("the turns")
        self._ahead = Ahead(calls) if settings.requirements_ahead and not settings.conversation_only else None

    async def settled(self, seconds: float = 5.0) -> None:
        """Wait until upstream has been told all there is to tell of turns that are over, but no longer than that. What
        was begun for turns to come is given up."""
        if self._ahead is not None:
            await self._ahead.close()
        await self._aftermath.settled(seconds)

    def tries(self, seeker: Seeker) -> Tries:
        """The attempts there may be at a turn that is sought now: up to RETRY_TIMES after the first, within the
        deadline for the first byte."""
        until = self.now() + self._settings.first_byte_timeout
        alone = seeker.caller.own is not None or seeker.owner is not None or not len(self._leases.pool)
        return Tries(self._settings.retry_times, until, alone=alone)

    # Here and below: what only hands on what another coroutine gives is none itself.

    def open(self, wanted: Wanted, tries: Tries | None = None) -> Coroutine[Any, Any, LiveTurn]:
        """Begin a turn; it is at its head when this is done. Raises GatewayError."""

        async def attempt(lease: AccountLease, route: Route, made: Attempt) -> LiveTurn:
            prepared = await self._prepared(wanted, lease, route)
            # Before the call, not after: one that breaks off may have been taken by upstream all the same.
            made.sent = True
            response = await self._send(prepared.call.request, prepared)
            if response.status == 403 and prepared.call.ahead:
                # What was made ahead may have lost its worth for reasons that only upstream knows. That says nothing of
                # the account, so the turn brings what is made for it before anybody is blamed.
                response.close()
                call = await self._shake_hands(lease, route, prepared.conversation)
                prepared = msgspec.structs.replace(prepared, call=call)
                response = await self._send(call.request, prepared)
            # Noted before its head, which a model that thinks may leave open for minutes: a job whose gateway ends then
            # tells the next one where its answer will be.
            live = wanted.attempted.live = self._live(prepared, response)
            try:
                if not is_event_stream(response.status, response.headers):
                    await _raise_refusal(prepared.call, response)
                made.accepted = True
                await self.begin(live)
            except BaseException:  # cancelled, too; the lease is ended by the account loop
                self._clear_up(live)
                response.close()
                raise
            self._calls.worked(route)
            # A taped call makes all of its own calls and none for another, or its tape could not be replayed.
            if self._ahead is not None and not is_taping():
                self._ahead.begin(route)
            return live

        seeker = wanted.seeker
        return self.accounts.run(seeker, tries or self.tries(seeker), attempt)

    def prepare(self, wanted: Wanted, tries: Tries) -> Coroutine[Any, Any, PreparedTurn]:
        """The same up to the call that opens the answer, which whoever asks for it makes. What comes of it goes to
        `adopt`, or to `instead`, or ends the lease. Raises GatewayError."""

        def attempt(lease: AccountLease, route: Route, _made: Attempt) -> Coroutine[Any, Any, PreparedTurn]:
            return self._prepared(wanted, lease, route)

        return self.accounts.run(wanted.seeker, tries, attempt)

    def adopt(self, prepared: PreparedTurn, response: Response) -> LiveTurn:
        """The answer to a prepared turn: upstream has taken it. It has not begun."""
        self._calls.worked(prepared.route)
        return self._live(prepared, response)

    async def instead(
        self, error: GatewayError, wanted: Wanted, prepared: PreparedTurn, tries: Tries, *, accepted: bool
    ) -> LiveTurn:
        """Another turn in the place of a prepared one that failed; at its head. Raises GatewayError, `error` where it
        was the last try, or where upstream had `accepted` the turn."""
        self.accounts.failed(error, prepared.lease, prepared.route, Attempt(sent=True, accepted=accepted), tries)
        return await self.open(wanted, tries)

    def gave_up(self, error: GatewayError, prepared: PreparedTurn) -> None:
        """A prepared turn failed, and nobody is there any more to tell."""
        if isinstance(error, UpstreamError):
            self._calls.failed(error, prepared.route)
        prepared.lease.failed(error, self.now())

    async def begin(self, live: LiveTurn) -> None:
        """Read a turn up to its first events, which are kept in `first`. Raises what the client gets as a status."""
        while not live.first:
            live.first = await self.advance(live)
        if isinstance(first := live.first[0], Failed):
            raise first.error

    async def _prepared(self, wanted: Wanted, lease: AccountLease, route: Route) -> PreparedTurn:
        if wanted.prompt.wishes.account and lease.identity.access_token is None:
            text = f"{wanted.prompt.wishes.account}: send an access token."
            raise RequestError(text, code="account_needed")
        temporary, passing = self._temporary(wanted.prompt, lease)
        # Files are kept by identity, for no account can use those of another.
        key = route.connection.identity
        files, placed = wanted.files, _NONE_PLACED
        if files.files or files.kept:
            placed = await self._files.upload(wanted.prompt, files, route.upstream, route.connection, key)
        conversation = conversation_for(
            wanted.prompt,
            Chosen(lease.slug, lease.known, lease.preset),
            placed,
            temporary=temporary,
            now=self.now(),
            new_id=self._clock.new_id,
        )
        # Last, for a requirement token is good for minutes, and uploads may take them.
        ahead = self._ahead
        cleared = await ahead.take(route) if ahead is not None and not is_taping() else None
        call = await self._shake_hands(lease, route, conversation, cleared)
        wishes = wanted.prompt.wishes
        forgetful = wishes.memory is False and not temporary
        research = "research" in wishes.hints
        return PreparedTurn(lease, route, conversation, call, passing, research, forgetful, wanted.longest)

    def _temporary(self, prompt: Prompt, lease: AccountLease) -> tuple[bool, bool]:
        """(whether the chat is a temporary one, whether it is kept for this turn alone). Raises RequestError where the
        model works in kept chats only, and none may be made."""
        if prompt.wishes.passing:
            return False, True
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

    async def rejoin(self, wanted: Wanted, conversation: str, *, passing: bool) -> LiveTurn:
        """The turn that a conversation's newest answer is: it was opened by somebody who is gone. `conversation` is its
        name, `passing` as in `PreparedTurn`. It has not begun. Raises GatewayError."""
        id, owner = taken_apart(conversation)
        prompt = wanted.prompt
        wanted.attempted.tries += 1
        wanted.attempted.account = owner
        lease = await self._leases.take(wanted.caller, prompt.model, frozenset(), owner)
        route = self._calls.route(lease.identity)
        sent = conversation_for(
            prompt, Chosen(lease.slug), {}, temporary=False, now=self.now(), new_id=self._clock.new_id
        )
        research = "research" in prompt.wishes.hints
        opening = OpeningCall(route.upstream.get(f"conversation/{id}"))  # reading it is what opens it
        prepared = PreparedTurn(lease, route, sent, opening, passing, research, longest=wanted.longest)
        answer = Answer.rejoined(id, research=research)
        return LiveTurn(prepared, _NothingToRead(), answer, self.now, self._clear_up)

    # --- for turns under way ------------------------------------------------------------------------------------------

    async def advance(self, live: LiveTurn) -> list[Event]:
        """The next events: of the stream's next chunk, or from wherever the machine says that the answer goes on. Empty
        where there is nothing to say yet."""
        answer = live.answer
        try:
            if answer.follow is None:
                settled = not answer.seems_whole and not live.reopened
                chunk = await (live.response.chunk() if settled else self._chunk_soon(live))
                events = live.note(answer.receive(chunk))
                if live.forgetful and answer.conversation_id is not None:
                    # Once is enough, and `_clear_up` must not say it again.
                    live.forgetful = False
                    self._aftermath.spawn(
                        self._tell(live, keep_out_of_memory(live.route.upstream, answer.conversation_id))
                    )
                return events
            return await self._go_after(live)
        except GatewayError as error:
            return live.note(answer.abort(error))

    async def _go_after(self, live: LiveTurn) -> list[Event]:
        """Do what the machine says that it can't go on without. Raises GatewayError."""
        answer = live.answer
        match answer.follow:
            # First of all: what the machine follows is bounded in number, but each may take minutes.
            case _ if self.now() > live.opened_at + (live.longest or self._settings.total_timeout):
                setting = "TOTAL_TIMEOUT" if live.longest is None else "BACKGROUND_TIMEOUT"
                late = DeadlineError(f"The answer took longer than {setting} allows")
                return live.note(answer.abort(late, final=True))
            case Poll() as follow:
                return live.note(answer.read_conversation(await self._run(poll(live.route.upstream, follow), live)))
            case Resume() as follow:
                opening = resume(live.route.upstream, follow, self._clock.chance())
                return await self._reopen(live, await self._run(opening, live))
            case Socket() as follow:
                live.response.close()
                try:
                    live.response = await self._sockets.open(follow, live.route)
                except GatewayError as error:
                    # Whatever is in the way of the socket says nothing about the answer, nor of the account.
                    log.info("the account's socket can't be had (%s)", error.code)
                    return live.note(answer.abort(UpstreamError(error.message, code="stream_handoff")))
                answer.reopen()
            case Continue() as follow:
                conversation = continuation(live.conversation, follow, self._clock.new_id())
                call = await self._shake_hands(live.lease, live.route, conversation)
                return await self._reopen(live, call.request)
        return []  # the next chunk is what there is to do

    async def _chunk_soon(self, live: LiveTurn) -> bytes:
        """The stream's next chunk, which may not take long. After the answer's own end it is waited for only a moment,
        and then it is as if the stream had ended. A stream that was opened again is lost sooner than the first, which
        IDLE_TIMEOUT ends: there, silence may be long thinking."""
        now, whole = time.monotonic(), live.answer.seems_whole
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
        live.response = await self._send(request, live)
        if is_event_stream(live.response.status, live.response.headers):
            live.answer.learn_token(live.response.headers.get("x-conduit-token"))
            live.answer.reopen()
            live.reopened = True
            return []
        return live.note(live.answer.refused(await read_reply(live.response)))

    def _clear_up(self, live: LiveTurn) -> None:
        """Tell upstream what is left to tell of a turn that is let go of, while nobody waits for it."""
        upstream, id = live.route.upstream, live.answer.conversation_id
        if id is None or live.handed_on:
            return
        # In this order: a chat that is deleted can't be told anything any more.
        left = (
            (stop, live.answer.is_elsewhere),
            (keep_out_of_memory, live.forgetful),
            (archive if live.linked else delete, live.passing),  # what was made in a chat goes with it
        )
        if told := [tell(upstream, id) for tell, applies in left if applies]:
            self._aftermath.spawn(self._tell(live, *told))

    async def _tell(self, live: LiveTurn, *told: Handshake[None]) -> None:
        for one in told:
            try:
                await self._run(one, live)
            except GatewayError as error:
                log.warning("upstream was not told what is left of a turn (%s)", error.code)

    def _send(self, request: HttpRequest, turn: PreparedTurn | LiveTurn) -> Coroutine[Any, Any, Response]:
        """The call that brings a turn's answer, for as long as that may take."""
        # Mostly neither has one, and the request goes out as the core has made it.
        if turn.longest != request.longest:
            request = msgspec.structs.replace(request, longest=turn.longest)
        return self._calls.send(request, turn.route)

    def _run(self, handshake: Handshake[T], live: LiveTurn) -> Coroutine[Any, Any, T]:
        return self._calls.driver.run(handshake, live.route.connection)

    def _shake_hands(
        self, lease: AccountLease, route: Route, conversation: Conversation, cleared: Clearance | None = None
    ) -> Coroutine[Any, Any, OpeningCall]:
        moment = self._calls.moment(lease.identity)
        handshake = open_turn(route.upstream, conversation, self._calls.options, moment, cleared)
        return self._calls.driver.run(handshake, route.connection)


class _NothingToRead:
    """The response of a turn that was opened by somebody else."""

    def __init__(self) -> None:
        self.status, self.headers = 200, dict[str, str]()

    async def chunk(self) -> bytes:
        return b""

    def close(self) -> None:
        """There is nothing to close."""

    def release(self, then: Callable[[], None]) -> None:
        then()


def is_temporary(prompt: Prompt, settings: Settings) -> bool:
    """Whether a temporary chat is wanted: by the client, or else by the operator."""
    wished = prompt.wishes.temporary
    return settings.history_disabled if wished is None else wished


async def _raise_refusal(call: OpeningCall, response: Response) -> NoReturn:
    """Raises what upstream said instead of answering. One that is too long to be read is told by its status."""
    status, headers = response.status, response.headers
    body = bytearray()
    try:
        while len(body) <= MAX_REPLY_BYTES and (chunk := await response.chunk()):
            body += chunk
    finally:
        response.close()
    raise call.refused(HttpReply(status, headers, bytes(body) if len(body) <= MAX_REPLY_BYTES else b""))
