"""The gateway of one worker: from a request to an exchange at its head, and from a link to the bytes of a file.

Rule: what is wrong with a request is found before an account is taken, and what is wrong with an account before the
turn is sent.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

import msgspec

from shim import tokenizer
from shim.accounts.credentials import Caller, bearer_of, caller_of
from shim.accounts.leases import Leases
from shim.errors import CredentialError, UpstreamError
from shim.exchange.affinity import Affinity
from shim.exchange.audio import Audio
from shim.exchange.calls import Calls
from shim.exchange.choice import Choice
from shim.exchange.clock import Clock
from shim.exchange.continuations import Continuations, KnownChat
from shim.exchange.conversations import Conversations
from shim.exchange.exchange import ClientCall, Exchange
from shim.exchange.jobs import Jobs
from shim.exchange.kept import KeptAnswers
from shim.exchange.line import Line
from shim.exchange.links import Links
from shim.exchange.live_turn import LiveTurn, Wanted
from shim.exchange.next_account import Attempted
from shim.exchange.services import AnswerServices
from shim.exchange.stored_files import StoredFiles
from shim.exchange.tapes import Tapes
from shim.exchange.turns import Turns, is_temporary
from shim.files.intake import Files, Gathered
from shim.keys import ApiKeys
from shim.metrics.metrics import Metrics, OpenCounts
from shim.metrics.traces import Traces
from shim.notes import Notes
from shim.protocol.events import FileRef
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.protocol.turn.checks import check_prompt
from shim.schemas import check_parameters, check_schema
from shim.settings import Settings
from shim.transport.base import Response
from shim.usage import CallBook, CallRecord

ANONYMOUS = "anonymous"
"""In the place of an account's id, where a turn was made without one"""
_MARK_KEY_LENGTH = 8  # hexadecimal digits of a UUID: too many to guess, few enough for a model to repeat


class Gateway:
    """Everything an exchange needs."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        calls: Calls,
        keys: ApiKeys,
        usage: CallBook,
        leases: Leases,
        files: Files,
        stored_files: StoredFiles,
        audio: Audio,
        turns: Turns,
        continuations: Continuations,
        links: Links,
        filter_needs: FilterDependencies,
        kept: KeptAnswers,
        conversations: Conversations,
        jobs: Jobs,
        metrics: Metrics,
        traces: Traces | None,
        line: Line,
        affinity: Affinity,
        tapes: Tapes,
        notes: Notes,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.aliases = settings.aliases
        self.usage = usage
        self.calls, self.keys, self.leases, self.turns = calls, keys, leases, turns
        self._files, self._continuations, self._links = files, continuations, links
        self.stored_files, self.audio = stored_files, audio
        self._filter_needs = filter_needs
        self.kept, self.conversations, self.jobs = kept, conversations, jobs
        self.metrics, self._traces, self.line = metrics, traces, line
        self.affinity = affinity
        self.tapes = tapes
        self._notes = notes

    @property
    def away(self) -> list[str]:
        """The stores that could not be read, or not be written, when that was last tried."""
        away = {
            "accounts": self.leases.pool.health().store != "ok",
            "keys": self.keys.is_away,
            "notes": self._notes.is_away,
        }
        return [name for name, is_away in away.items() if is_away]

    @property
    def failing(self) -> list[str]:
        """The background tasks that failed when they last ran: whose they are, and what they are called."""
        owners: dict[str, Mapping[str, str]] = {
            "accounts": self.leases.pool.health().background,
            "guests": self.leases.guests.health().background,
            "keys": self.keys.failing,
            "usage": self.usage.failing,
            "metrics": self.metrics.failing,
        }
        return [f"{owner}: {name}" for owner, failing in owners.items() for name in failing]

    def counts(self) -> OpenCounts:
        """What there is at this moment, for the metrics."""
        pool = self.leases.pool
        accounts = {state.value: number for state, number in pool.counts().items()}
        line, is_store_well = self.line, pool.health().store == "ok"
        return OpenCounts(line.open, line.waiting, pool.waiting, accounts, len(self.failing), is_store_well)

    async def settle(self) -> None:
        """Before the stores are closed: what is still written to them beside answers is waited for. Jobs first, for
        they have turns, and turns leave work behind."""
        await self.jobs.close()
        await self.turns.settled()
        await self.kept.settled()
        await self.conversations.settled()
        await self.affinity.settled()
        await self.tapes.close()

    def note(self, record: CallRecord, parent: str | None = None) -> None:
        """A call is over. `parent` is the client's `traceparent`."""
        self.usage.note(record)
        if self._traces is not None:
            self._traces.note(record, parent)
        is_pooled = record.account is not None and (
            record.account == ANONYMOUS or self.leases.pool.account(record.account) is not None
        )
        is_listed = record.model is not None and self.leases.is_listed(record.model)
        self.metrics.note(record, is_listed=is_listed, is_pooled=is_pooled)

    def caller(self, authorization: str | None) -> Caller:
        """Who calls. Raises CredentialError."""
        has_keys = len(self.keys) > 0
        key = self.keys.find(bearer_of(authorization)) if has_keys else None
        if key is not None:
            return Caller(key=key.name, key_id=key.id)
        needs_key = has_keys or bool(self.settings.authorization)
        caller = caller_of(authorization, self.settings.authorization, needs_key=needs_key)
        if caller.own is None or self.settings.own_tokens:
            return caller
        if needs_key:
            raise CredentialError("Callers' own tokens are not served here (OWN_TOKENS): send a key of this gateway")
        return Caller()

    async def open(self, call: ClientCall) -> Exchange:
        """Begin the exchange; it is at its head when this returns. Raises GatewayError."""
        wanted = await self.wanted(call.asked.prompt, call.caller, call.attempted, is_large=call.is_large)
        # TOTAL_TIMEOUT is for clients that wait, and nobody waits for this one.
        if call.asked.background:
            wanted = msgspec.structs.replace(wanted, longest=self.settings.background_timeout)
        chat = self._continuations.chat_of(wanted)
        # A chat that is gone on with has one choice, and its own way of failing.
        if chat is not None:
            turns = [await chat.open()]
        elif wanted.prompt.limits.choices == 1:
            turns = [await self.turns.open(wanted)]
        else:
            turns = await self._open_all(wanted)
        return self.exchange(call, wanted, turns, chat)

    async def recalled(self, call: ClientCall, *, anew: bool = False) -> ClientCall:
        """The same call, completed by the kept answers that it builds on, and holding the conversation that it adds to.
        `anew` as in `Conversations.hold`. Raises GatewayError."""
        asked = call.asked
        if asked.complete is None:
            return call
        held = None
        if asked.conversation is not None and asked.appending is not None:
            held = await self.conversations.hold(call.caller, asked.conversation, anew=anew)
        try:
            complete = asked.complete(await self.found(call.caller, asked.refers, asked.conversation))
        except BaseException:  # cancelled, too: nobody else would let go of the conversation before its lease is over
            if held is not None:
                held.let_go_soon()
            raise
        return msgspec.structs.replace(call, asked=complete, held=held)

    async def found(self, caller: Caller, refers: Iterable[str], conversation: str | None) -> dict[str, bytes | None]:
        """Kept answers by their names, and a conversation by its own; None for what is not there. Raises
        UnavailableError."""
        names = sorted(refers)
        found = await asyncio.gather(*(self.kept.find(caller, name) for name in names))
        by_name = dict(zip(names, found, strict=True))
        if conversation is not None:
            by_name[conversation] = await self.conversations.find(caller, conversation)
        return by_name

    async def rejoin(self, call: ClientCall, conversation: str, *, passing: bool) -> Exchange:
        """The exchange that somebody else had opened in a kept conversation, and is gone. Raises GatewayError."""
        longest = self.settings.background_timeout  # only what goes on in the background outlives its gateway
        wanted = Wanted(call.asked.prompt, Gathered(), call.caller, call.attempted, longest=longest)
        live = await self.turns.rejoin(wanted, conversation, passing=passing)
        # Closed where it can't begin, for nobody else knows of it yet; from then on it is the exchange's.
        with ExitStack() as undo:
            undo.callback(live.close)
            await self.turns.begin(live)
            undo.pop_all()
        return self.exchange(call, wanted, [live])

    async def wanted(
        self, prompt: Prompt, caller: Caller, attempted: Attempted | None = None, *, is_large: bool = False
    ) -> Wanted:
        """The prompt, found to be in order, with its files at hand. Raises GatewayError."""
        kept = not is_temporary(prompt, self.settings)
        check = partial(check_prompt, prompt, kept=kept, check_parameters=check_parameters, check_schema=check_schema)
        # A large one would hold up the loop; a small one costs less than the thread.
        await asyncio.to_thread(check) if is_large else check()
        if prompt.has_marks:
            prompt = msgspec.structs.replace(prompt, mark_key=self.clock.new_id()[:_MARK_KEY_LENGTH])

        async def accepted() -> None:
            """Raises GatewayError for a token that upstream has not accepted, or could not be asked about."""
            if not await self.leases.meet(caller):
                raise UpstreamError(
                    "Files are only fetched for an account that upstream accepts, and it could not be asked for its "
                    "models",
                    code="account_not_verified",
                )

        files = Gathered()
        if prompt.attached:
            before = accepted if caller.own is not None else None
            known = await self.stored_files.named(caller, prompt)
            files = await self._files.gather(prompt, before, known, scope=caller.scope)
        session = await self.affinity.find(caller, prompt.session) if prompt.session else None
        return Wanted(prompt, files, caller, attempted or Attempted(), session)

    async def count(self, prompt: Prompt, caller: Caller, *, is_large: bool = False) -> int:
        """The tokens of a prompt, which goes nowhere. Raises GatewayError."""
        wanted = await self.wanted(prompt, caller, is_large=is_large)
        return await tokenizer.total_by(wanted.tokens)

    def exchange(
        self, call: ClientCall, wanted: Wanted, turns: Sequence[LiveTurn], chat: KnownChat | None = None
    ) -> Exchange:
        """The exchange whose choices are answered by these turns."""
        if wanted.session is not None:
            self.affinity.note(wanted.session, turns[0].lease.account_id)
        services = AnswerServices(
            wanted,
            call.address,
            turns=self.turns,
            calls=self.calls,
            links=self._links,
            max_bytes=self.settings.max_file_bytes,
        )
        # Links are for clients that can reach this gateway later; data is for those that keep nothing.
        inline = wanted.prompt.pictures == "data"
        most = self.settings.max_answer_bytes
        previews = wanted.prompt.previews
        choices = [Choice(turn, services.link, max_bytes=most, inline=inline, previews=previews) for turn in turns]
        for choice in choices:
            choice.set_filters(call.api.filters(wanted.prompt, self._filter_needs, choice.link))
        return Exchange(call, wanted, choices, services, clock=self.clock, chat=chat, kept=self.kept)

    async def file(self, link: str) -> tuple[FileRef, Response]:
        """The file a link names, at the head of its bytes. Raises GatewayError."""
        ticket = self._links.read(link, self.clock.now())
        async with self.leases.call_as(ticket.account or "") as identity:
            return ticket.file, await self.calls.file(identity, ticket.file)

    async def _open_all(self, wanted: Wanted) -> list[LiveTurn]:
        """A turn for each of several choices, all at their head; where one fails, none."""
        prompts = map(wanted.prompt.of_choice, range(wanted.prompt.limits.choices))
        tasks = [
            asyncio.ensure_future(self.turns.open(msgspec.structs.replace(wanted, prompt=prompt))) for prompt in prompts
        ]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:  # one that failed, or the client has gone: no other turn has anybody to read it
            for task in tasks:
                task.cancel()
            for opened in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(opened, LiveTurn):
                    opened.close()
            raise
