"""The gateway of one worker: from a request to an exchange at its head, and from a link to the bytes of a file.

Rule: what is wrong with a request is found before an account is taken, and what is wrong with an account before the
turn is sent.
"""

import asyncio
import uuid
from collections.abc import Sequence
from functools import partial

import msgspec

from shim import tokenizer
from shim.accounts.credentials import Caller, caller_of
from shim.accounts.leases import Leases
from shim.accounts.outcomes import event_of
from shim.accounts.pool import AccountPool
from shim.accounts.states import State
from shim.accounts.views import AccountView
from shim.errors import CredentialError, GatewayError, UpstreamError
from shim.exchange.calls import Calls
from shim.exchange.choice import Choice
from shim.exchange.clock import Clock
from shim.exchange.continuations import Continuations, KnownChat
from shim.exchange.exchange import ClientCall, Exchange
from shim.exchange.links import Links
from shim.exchange.services import AnswerServices
from shim.exchange.sockets import Sockets
from shim.exchange.turns import Attempted, LiveTurn, Turns, Wanted, is_temporary
from shim.files import Files
from shim.notes import Notes
from shim.protocol.catalog import Catalog
from shim.protocol.events import FileRef
from shim.protocol.models import AUTO
from shim.protocol.prompt import Prompt
from shim.protocol.shaping.pipeline import FilterDependencies
from shim.protocol.turn.checks import check_prompt
from shim.protocol.turn.model_list import list_models
from shim.protocol.turn.renewal import DeadCredentialError
from shim.protocol.upstream import Identity
from shim.schemas import check_parameters, check_schema, validate
from shim.settings import Settings
from shim.transport.base import ConnectionKey, Response
from shim.transport.driver import Driver
from shim.transport.websocket import CurlWebSocket, FrameSocket

# What a probe that went well proves wrong. Limits are not among it: those end when upstream has said.
_DISPROVED = frozenset({State.PARKED, State.EXPIRED})
_MARK_KEY_LENGTH = 8  # hexadecimal digits of a UUID: too many to guess, few enough for a model to repeat


class Gateway:
    """Everything an exchange needs."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        *,
        pool: AccountPool,
        guests: AccountPool,
        installation: uuid.UUID,
        clock: Clock,
        notes: Notes,
        link_secret: str,
    ) -> None:
        self.settings = settings
        self.aliases = settings.aliases
        self.clock = clock
        self.driver = driver
        self.calls = Calls(settings, driver, clock)
        self.leases = Leases(
            pool,
            guests,
            fetch=self._fetch_models,
            installation=installation,
            clock=clock.now,
            default_model=settings.default_model or None,
            conversation_only=settings.conversation_only,
        )
        self._links = Links(link_secret)
        self._files = Files(settings, driver, clock=clock.now)
        sockets = Sockets(self.calls, partial(_open_socket, settings))
        self.turns = Turns(settings, self.calls, self.leases, self._files, clock=clock, sockets=sockets)
        self._continuations = Continuations(settings, self.leases, self.turns, notes)
        self._filter_needs = FilterDependencies(tokenizer.count, tokenizer.cut, clock.new_id, validate)

    def caller(self, authorization: str | None) -> Caller:
        """Who calls. Raises CredentialError."""
        caller = caller_of(authorization, self.settings.authorization)
        if caller.own is None or self.settings.own_tokens:
            return caller
        if self.settings.authorization:
            raise CredentialError("Callers' own tokens are not served here (OWN_TOKENS): send a key of this gateway")
        return Caller()

    async def open(self, call: ClientCall) -> Exchange:
        """Begin the exchange; it is at its head when this returns. Raises GatewayError."""
        wanted = await self.wanted(call.asked.prompt, call.caller, call.attempted, is_large=call.is_large)
        chat = self._continuations.chat_of(wanted)
        turns = [await chat.open()] if chat else await self._begin(wanted)
        return self.exchange(call, wanted, turns, chat)

    async def wanted(
        self, prompt: Prompt, caller: Caller, attempted: Attempted | None = None, *, is_large: bool = False
    ) -> Wanted:
        """The prompt, found to be in order, with its files at hand. Raises GatewayError."""
        kept = not is_temporary(prompt, self.settings)
        check = partial(check_prompt, prompt, kept=kept, check_parameters=check_parameters, check_schema=check_schema)
        await asyncio.to_thread(check) if is_large else check()
        if prompt.has_marks:
            prompt = msgspec.structs.replace(prompt, mark_key=self.clock.new_id()[:_MARK_KEY_LENGTH])
        before = partial(self._accepted, caller) if caller.own is not None else None
        return Wanted(prompt, await self._files.gather(prompt, before), caller, attempted or Attempted())

    async def _accepted(self, caller: Caller) -> None:
        """Raises GatewayError for a caller with a token that upstream has not accepted, or could not be asked about."""
        if not await self.leases.meet(caller):
            raise UpstreamError(
                "Files are only fetched for an account that upstream accepts, and it could not be asked for its models",
                code="account_not_verified",
            )

    async def count(self, prompt: Prompt, caller: Caller) -> int:
        """The tokens of a prompt, which goes nowhere. Raises GatewayError."""
        wanted = await self.wanted(prompt, caller)
        return await tokenizer.total_by(wanted.tokens)

    def exchange(
        self, call: ClientCall, wanted: Wanted, turns: Sequence[LiveTurn], chat: KnownChat | None = None
    ) -> Exchange:
        """The exchange whose choices are answered by these turns."""
        services = AnswerServices(
            wanted,
            call.address,
            turns=self.turns,
            calls=self.calls,
            links=self._links,
            max_bytes=self.settings.max_file_bytes,
        )
        inline = wanted.prompt.pictures == "data"
        most = self.settings.max_answer_bytes
        choices = [Choice(turn, services.link, max_bytes=most, inline=inline) for turn in turns]
        for choice in choices:
            choice.set_filters(call.api.filters(wanted.prompt, self._filter_needs, choice.link))
        return Exchange(call, wanted, choices, services, clock=self.clock, chat=chat)

    async def file(self, link: str) -> tuple[FileRef, Response]:
        """The file a link names, at the head of its bytes. Raises GatewayError."""
        ticket = self._links.read(link, self.clock.now())
        async with self.leases.call_as(ticket.account or "") as identity:
            return ticket.file, await self.calls.file(identity, ticket.file)

    async def probe(self, id: str) -> AccountView | None:
        """Try an account of the pool: renew it where that can be done, and ask for its models. None where it is not
        there. What that showed is in the view."""
        pool = self.leases.pool
        try:
            account = await pool.renew(id)
            if account is None:
                return None
            identity = self.leases.identity_of(account)
            pool.learn(id, (await self._fetch_models(identity)).slugs)
            view = pool.view(id)
            if view is not None and view.state in _DISPROVED:
                await pool.reset(id)
        except DeadCredentialError:
            pass  # the renewal has parked it
        except GatewayError as error:
            pool.report(id, event_of(error, slug=AUTO, renewable=False, now=self.clock.now()))
        return pool.view(id)

    async def _begin(self, wanted: Wanted) -> list[LiveTurn]:
        """A turn for each choice, all at their head; where one fails, none."""
        if wanted.prompt.limits.choices == 1:
            return [await self.turns.open(wanted)]
        tasks = [asyncio.ensure_future(self.turns.open(wanted)) for _ in range(wanted.prompt.limits.choices)]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            for opened in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(opened, LiveTurn):
                    opened.close()
            raise

    async def _fetch_models(self, identity: Identity, lane: str | None = None) -> Catalog:
        return await self.calls.run(identity, list_models, lane)


async def _open_socket(settings: Settings, url: str, headers: dict[str, str], connection: ConnectionKey) -> FrameSocket:
    return await CurlWebSocket.open(
        url,
        headers,
        proxy=connection.proxy,
        ca_file=settings.ca_file or None,
        connect_timeout=settings.connect_timeout,
    )
