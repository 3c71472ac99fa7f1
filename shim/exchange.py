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
from shim.accounts.credentials import identify
from shim.accounts.model_lists import ModelList, ModelLists
from shim.chatgpt.conversation import Conversation
from shim.errors import DeadlineError, GatewayError, UpstreamError
from shim.openai.chat import ChatRequest, Usage
from shim.protocol.answer import Answer
from shim.protocol.conversation import conversation_for, text_of
from shim.protocol.events import Event, Failed, Started
from shim.protocol.handshake import HandshakeOptions, Moment, Turn, open_turn
from shim.protocol.listing import list_models
from shim.protocol.models import answered_model, resolve
from shim.protocol.upstream import Identity, Upstream
from shim.protocol.usage import prompt_tokens, usage_of
from shim.settings import Settings
from shim.transport.base import Lane, Response, read_reply
from shim.transport.driver import Driver

log = logging.getLogger("chat2api")

_BACKOFF_SECONDS = 0.25  # doubles with every try
_MAX_BACKOFF_SECONDS = 4.0
_LARGE = 100_000  # characters; the tokenizer does some 30 a microsecond
_EVENT_STREAM = "text/event-stream"


class Clock(msgspec.Struct, frozen=True):
    """Where time and ids come from; tests put their own in."""

    now: Callable[[], float] = time.time
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())


class Exchange:
    """One answer under way. `model` is the name it carries, `first` the events that came with the head."""

    def __init__(
        self,
        response: Response,
        answer: Answer,
        first: list[Event],
        request: ChatRequest,
        *,
        model: str,
        slug: str,
        clock: Clock,
    ) -> None:
        self.request = request
        self.model = model
        self.slug = slug
        self.id = f"chatcmpl-{clock.new_id().replace('-', '')}"
        self.created = int(clock.now())
        self._response = response
        self._answer = answer
        self._first = first

    async def events(self) -> AsyncIterator[list[Event]]:
        """The events, in the batches they arrived in; the last one is Finished or Failed."""
        if self._first:
            yield self._first
        while not self._answer.ended:
            if batch := await _next_events(self._response, self._answer):
                yield batch

    def usage(self, text: str, reasoning: str) -> Usage:
        """Token counts for the answer so far."""
        return usage_of(prompt_tokens(self.request.messages, tokenizer.count), text, reasoning, tokenizer.count)

    def is_large(self, answer_size: int) -> bool:
        """Whether counting tokens (of an answer this many characters long) should stay off the event loop."""
        return answer_size + self._prompt_size() > _LARGE

    def _prompt_size(self) -> int:
        return sum(len(text_of(message)) for message in self.request.messages)

    def close(self) -> None:
        """Let go of upstream: at once where the answer is still under way, else so that the connection lives on."""
        if self._answer.done:
            self._response.release()
        else:
            self._response.close()


class Gateway:
    """Everything an exchange needs, made once per worker."""

    def __init__(self, settings: Settings, driver: Driver, installation: uuid.UUID, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self._driver = driver
        self._installation = installation
        self._lists = ModelLists(self.clock.now)
        self._began = self.clock.now()
        self._options = HandshakeOptions(
            profile=ClientProfile(user_agent=settings.user_agent),
            two_step=settings.sentinel == "two-step",
            conversation_only=settings.conversation_only,
            turnstile=settings.turnstile,
            pow_floor=settings.pow_difficulty,
        )

    def identify(self, authorization: str | None) -> Identity:
        """Who calls. Raises CredentialError."""
        return identify(authorization, self.settings.authorization, self._installation, self.clock.now())

    async def models(self, identity: Identity) -> ModelList:
        """The models `identity` may use. Raises CredentialError where upstream refuses the token."""
        return await self._lists.get(_key(identity), lambda: self._fetch_models(identity))

    async def open(self, request: ChatRequest, identity: Identity) -> Exchange:
        """Begin the exchange; it is at its head when this returns. Raises GatewayError."""
        listed = (await self.models(identity)).slugs
        model, slug = resolve(request.model, listed, self.settings.default_model or None)
        conversation = conversation_for(
            request,
            slug,
            temporary=self.settings.history_disabled,
            now=self.clock.now(),
            new_id=self.clock.new_id,
        )
        turn = await self._handshake(self._upstream(identity), conversation, identity)
        response = await self._driver.transport.send(turn.request, self._lane(identity))
        try:
            answer, first = await _head(response, turn)
        except BaseException:
            response.close()
            raise
        started = next((event for event in first if isinstance(event, Started)), None)
        named = answered_model(model, slug, started.slug if started else None)
        return Exchange(response, answer, first, request, model=named, slug=slug, clock=self.clock)

    async def _handshake(self, upstream: Upstream, conversation: Conversation, identity: Identity) -> Turn:
        for attempt in range(self.settings.retry_times + 1):
            try:
                handshake = open_turn(upstream, conversation, self._options, self._moment(identity))
                return await self._driver.run(handshake, self._lane(identity))
            except UpstreamError as error:
                if attempt == self.settings.retry_times or isinstance(error, DeadlineError):
                    raise
                log.info("handshake failed (%s), trying again", error.code)
                await asyncio.sleep(min(_BACKOFF_SECONDS * 2**attempt, _MAX_BACKOFF_SECONDS))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _fetch_models(self, identity: Identity) -> tuple[str, ...]:
        if self.settings.conversation_only:
            return ()
        return await self._driver.run(list_models(self._upstream(identity)), self._lane(identity))

    def _upstream(self, identity: Identity) -> Upstream:
        origins = self.settings.chatgpt_base_url
        return Upstream(_pick(origins, identity).rstrip("/"), identity, self._options.profile)

    def _lane(self, identity: Identity) -> Lane:
        proxies = self.settings.proxy_url
        return Lane(_key(identity), _pick(proxies, identity) if proxies else None)

    def _moment(self, identity: Identity) -> Moment:
        now = self.clock.now()
        elapsed = round((now - self._began) * 1000, 1)
        return Moment(datetime.fromtimestamp(now, UTC), elapsed, identity.device_id)


async def _head(response: Response, turn: Turn) -> tuple[Answer, list[Event]]:
    """The answer at its first event. Raises what the client gets as a status."""
    if response.status != 200 or not response.headers.get("content-type", "").lower().startswith(_EVENT_STREAM):
        raise turn.refused(await read_reply(response))
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


def _key(identity: Identity) -> str:
    return f"{identity.device_id},{identity.account_id or ''}"


def _pick(choices: tuple[str, ...], identity: Identity) -> str:
    """The same choice for the same identity, always."""
    return choices[int(identity.device_id.replace("-", ""), 16) % len(choices)]
