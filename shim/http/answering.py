"""One client call of any API, from who calls to the log line: the one handler of them all.

    request ──> who calls ──> read ──> open (at its head) ──> the answer, streamed or whole ──> close, log
                   └───────────────────────┴── GatewayError ──> the API's own refusal ──> log

Rule: every call ends in exactly one log line, and everything that was opened for it is closed before that line. The app
runs a call by `answer`; the mitmproxy addon does the same steps with the same `ApiCall`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import msgspec
from litestar import Request
from litestar.types import ASGIApp

from shim.accounts.credentials import Caller
from shim.cassettes.taping import Tape
from shim.errors import GatewayError
from shim.exchange import ClientCall, Exchange, Gateway
from shim.exchange.conversations import HeldConversation
from shim.exchange.exchange import Send
from shim.exchange.gateway import ANONYMOUS
from shim.exchange.next_account import Attempted
from shim.http.errors import unforeseen
from shim.http.presence import Presence
from shim.http.provided import gateway_of
from shim.http.responses import (
    BLANK,
    JSON,
    LOGGED,
    BytesResponse,
    ByteStream,
    EventStream,
    Opening,
    Run,
    json_answer,
    read_body,
    request_id,
)
from shim.keys import Pass
from shim.keys.keys import KeyLimitError, headers_of
from shim.logs import Fields, log_fields
from shim.protocol.api import Api, Asked, BackgroundKeeping
from shim.protocol.models import under_alias
from shim.usage import CallRecord

log = logging.getLogger("chat2api.exchange")
T = TypeVar("T")

SESSION_HEADER = "x-session-id"
_LARGE = 256 * 1024  # bytes of a body
_CHARACTERS = 4  # in a token, roughly, where counting them would take too long
SLOW_SECONDS = 45.0  # nginx gives up on an answer that does not begin after 60, others after 100


class ApiCall:
    """One call. `headers` are the client's (names in lower case), `address` is where it reaches this gateway."""

    def __init__(self, gateway: Gateway, api: Api, *, id: str, headers: Mapping[str, str], address: str) -> None:
        self.gateway, self.api = gateway, api
        self.id, self._address = id, address
        self.asked: Asked | None = None
        self.exchange: Exchange | None = None
        self._held: HeldConversation | None = None
        self.failure: GatewayError | None = None  # of a call whose head was out already
        self.first_byte: float | None = None
        self._attempted = Attempted()
        self._headers = headers
        self._caller: Caller | None = None
        self._pass: Pass | None = None  # of a key with limits
        self._used = 0  # tokens of a call that this one goes on for
        self._began = time.perf_counter()
        self._opened: float | None = None  # when its exchange was at its head
        self._entered = False  # among the answers that are open
        self._over = False
        self._tape: Tape | None = None

    def go_on_for(self, entered: Pass | None, tokens: int) -> None:
        """Take the place of a call that was counted already, and has used so many tokens."""
        self._pass, self._used = entered, tokens

    def admit(self) -> Caller:
        """Who calls. Raises CredentialError."""
        if self._caller is None:
            self._caller = self.gateway.caller(self.api.credential(self._headers))
        return self._caller

    async def tape(self) -> None:
        """Tape what is sent upstream from here on, where somebody has ordered that. Raises CredentialError."""
        self._tape = await self.gateway.tapes.begin(self.admit().label, self.api.name)

    def read(self, body: bytes) -> ClientCall:
        """What is asked, and by whom. Raises GatewayError."""
        caller = self.admit()
        asked = self.api.read(body, strict=self.gateway.settings.strict_params)
        self.asked = self._meant(asked, caller)
        return ClientCall(self.asked, caller, self.api, self._address, self._attempted, is_large(body))

    async def enter(self) -> None:
        """Count the call, where its key has limits; once. Raises GatewayError, LimitError where it is over one."""
        if self._pass is None:
            self._pass = await self.gateway.keys.enter(self.admit().key)

    async def open(self, asked: ClientCall) -> Exchange:
        """Begin; the answer is at its head when this returns. Raises GatewayError."""
        await self.enter()
        await self.gateway.line.enter()
        self._entered = True
        if asked.asked.complete is not None:  # it builds on kept answers
            asked = await self.recall(asked)
        self.exchange = await self.gateway.open(asked)
        self._opened = time.perf_counter()
        return self.exchange

    async def recall(self, asked: ClientCall, *, anew: bool = False) -> ClientCall:
        """The same, with the kept answers that it builds on; `anew` where it goes on with a call whose gateway is gone.
        Raises GatewayError."""
        recalled = await self.gateway.recalled(asked, anew=anew)
        if recalled is asked:  # it builds on none
            return asked
        self._held = recalled.held
        self.asked = self._meant(recalled.asked, recalled.caller)
        return msgspec.structs.replace(recalled, asked=self.asked)

    def _meant(self, asked: Asked, caller: Caller) -> Asked:
        """The same, in the conversation and of the model that are meant. Raises GatewayError."""
        prompt = asked.prompt
        # What the client's header calls its conversation goes before what the request does.
        if named := self._headers.get(SESSION_HEADER, "").strip():
            prompt = msgspec.structs.replace(prompt, session=named)
        said = prompt.asked_model or prompt.model
        prompt = under_alias(prompt, self.gateway.aliases)
        # By the name that the client said, or by that of the model behind an alias.
        self.gateway.keys.check_model(caller.key, said, prompt.model)
        return asked if prompt is asked.prompt else msgspec.structs.replace(asked, prompt=prompt)

    def begun(self) -> None:
        """The first bytes of its stream go out."""
        self.first_byte = time.perf_counter()

    def answer_headers(self) -> dict[str, str]:
        """`x-request-id`, what was ignored of the request, and how its key stands to its limits."""
        ignored = list(self.asked.ignored) if self.asked is not None else []
        ignored += self.exchange.ignored if self.exchange is not None else []
        named = {"x-chat2api-ignored": ", ".join(ignored)} if ignored else {}
        limits = headers_of(self._pass.key, self._pass.standing) if self._pass is not None else {}
        return {"x-request-id": self.id} | named | limits

    def refusal(self, error: GatewayError) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer that is an error."""
        headers, body = self.api.refuse(error)
        limits = headers_of(error.key, error.standing) if isinstance(error, KeyLimitError) else {}
        return error.http_status, {"x-request-id": self.id} | limits | headers, body

    def broken_off(self, error: GatewayError) -> bytes:
        """What is still told of a failure once the head is out: a stream's end, or what stands in a whole answer's
        place."""
        self.failure = error
        if self.asked is None or not self.asked.prompt.stream:
            return self.api.refuse(error)[1]
        return self.exchange.cut_off(error) if self.exchange is not None else self.api.break_off(error)

    def end(self, error: GatewayError | None = None) -> None:
        """Let go of everything, and write the log line. `error` is what the call failed with before its answer began;
        what an answer failed with it knows itself. Ending again does nothing."""
        if self._over:
            return
        self._over = True
        if self.exchange is not None:
            self.exchange.close()
        if self._held is not None:
            self._held.let_go_soon()
        if self._entered:
            self.gateway.line.leave()
        if self._pass is not None:
            tokens = self._used
            if (exchange := self.exchange) is not None:
                usage = exchange.counted
                # Where it broke off in the midst of a long answer nothing was counted, so that it is estimated.
                said = sum(transcript.size for transcript in exchange.transcripts) if usage is None else 0
                tokens += usage.prompt + usage.completion if usage is not None else said // _CHARACTERS
            self.gateway.keys.leave(self._pass, tokens)
        record, parent = self._record(error or self.failure), self._headers.get("traceparent")
        if self._tape is not None:
            self.gateway.tapes.end(self._tape, record)
        note_call(self.gateway, record, is_read=self.asked is not None, parent=parent)

    def _record(self, error: GatewayError | None) -> CallRecord:
        """`status` is what became of the call, `code` is that of HTTP; `first_ms` is from the request to the first byte
        of a stream, `ms` to the last."""
        exchange, prompt = self.exchange, self.asked.prompt if self.asked is not None else None
        began, first, opened = self._began, self.first_byte, self._opened
        model, slug, account = None, None, None
        # The account as `tokens list` shows it; none where no turn was tried.
        if exchange is not None:
            model, slug = exchange.model, exchange.choices[0].turn.slug
            account = exchange.choices[0].turn.lease.account_id or ANONYMOUS
        else:
            model = prompt.model if prompt is not None else None
            if self._attempted.tries:
                account = self._attempted.account or ANONYMOUS
        failed = error or (exchange.error if exchange is not None else None)
        if failed is not None:
            status = failed.code or failed.error_type
        elif exchange is None:
            status = "client_gone"
        else:
            status = ",".join(dict.fromkeys(one.finish_reason or "client_gone" for one in exchange.transcripts))
        early = first is not None or self.failure is not None
        usage = exchange.counted if exchange is not None else None
        return CallRecord(
            self.id,
            time.time(),
            self.api.name,
            status,
            (time.perf_counter() - began) * 1000,
            code=failed.http_status if failed is not None and not early else 200 if exchange is not None else None,
            failed=failed is not None,
            model=model[:100] if model is not None else None,  # a client may make up any
            slug=slug,
            account=account,
            key=self._caller.label if self._caller is not None else None,
            stream=prompt is not None and prompt.stream,
            tries=self._attempted.tries,
            first_ms=(first - began) * 1000 if first is not None else None,
            tokens=(usage.prompt, usage.completion) if usage is not None else None,
            opened_ms=(opened - began) * 1000 if opened is not None else None,
        )


def is_large(body: bytes) -> bool:
    """Whether reading a body, or checking what it asks for, would be felt by others."""
    return len(body) >= _LARGE


async def beside_others(read: Callable[[bytes], T], body: bytes) -> T:
    """What `read` makes of a body; a large one off the loop, which would stand still for seconds."""
    return await asyncio.to_thread(read, body) if is_large(body) else read(body)


@contextmanager
def ending_failed(end: Callable[[GatewayError | None], None]) -> Iterator[None]:
    """Whatever fails in the block is the end of a call, also that it is cancelled (None)."""
    try:
        yield
    except GatewayError as error:
        end(error)
        raise
    except BaseException as error:  # the outermost edge of a call: it is raised on, and logged by who answers for it
        end(unforeseen() if isinstance(error, Exception) else None)
        raise


def note_call(gateway: Gateway, record: CallRecord, *, is_read: bool, parent: str | None = None) -> None:
    """A call is over: its line in the log, and its place in usage, metrics and traces. `is_read` is whether it was
    known what was asked; `parent` is the client's `traceparent`."""
    gateway.note(record, parent)
    tokens = "many" if record.slug is not None else None
    if record.tokens is not None:
        tokens = f"{record.tokens[0]}+{record.tokens[1]}"
    fields: Fields = {
        "api": record.api,
        "model": record.model,
        "stream": record.stream if is_read else None,
        "slug": record.slug,
        "account": record.account,
        "key": record.key,
        "status": record.status,
        "code": record.code,
        "tries": record.tries or None,
        "first_ms": record.first_ms,
        "ms": record.ms,
        "tokens": tokens,
    }
    log_fields(log, logging.INFO, record.id, fields)


async def answer(request: Request[Any, Any, Any], api: Api, *, is_slow: bool = False) -> ASGIApp:
    """The answer to one request of `api`. Who calls is known before the body is read, and the body is read here, so
    that from then on all the client can still say is that it is gone. `is_slow`: a whole answer mostly takes so long
    that proxies give up on it; then its head goes out early, and blanks before its JSON."""
    # As bytes, for Litestar's own dictionary of them costs 50 microseconds.
    gateway = gateway_of(request.scope["litestar_app"])
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
    address = gateway.settings.address(f"{request.scope['scheme']}://{headers.get('host') or request.url.netloc}")
    call = ApiCall(gateway, api, id=request_id(request), headers=headers, address=address)
    request.scope["state"][LOGGED] = True
    # As `ending_failed` does, written out: a block that is a generator is nine calls of functions.
    try:
        await call.tape()
        body = await read_body(request, gateway.settings.max_request_bytes, headers.get("content-length"))
        with Presence(request.receive) as presence:
            asked = await beside_others(call.read, body)
            if asked.asked.background:
                return await _in_background(request, call, asked, body)
            streams = asked.asked.prompt.stream
            if streams or (is_slow and gateway.settings.early_head):
                presence.keep()
                return (_streamed if streams else _slow)(request, call, asked, presence)
            whole = await (await call.open(asked)).whole()
    except GatewayError as error:
        return _refused(call, error)
    except BaseException as error:  # the outermost edge of a call, as there: cancelled, or what nobody foresaw
        call.end(unforeseen() if isinstance(error, Exception) else None)
        raise
    return _ended(call, whole)


def _refused(call: ApiCall, error: GatewayError) -> BytesResponse:
    """A refusal, of a call that is over by it."""
    call.end(error)
    status, headers, body = call.refusal(error)
    return BytesResponse(body, headers, status=status)


def _ended(call: ApiCall, whole: bytes) -> BytesResponse:
    """A whole answer, whose call is over."""
    call.end()
    return BytesResponse(whole, call.answer_headers() | JSON)


async def _in_background(request: Request[Any, Any, Any], call: ApiCall, asked: ClientCall, body: bytes) -> ASGIApp:
    """The answer that has begun, to be asked for again; or its events, for as long as the client listens. Raises
    GatewayError."""
    jobs = call.gateway.jobs
    keeping = cast("BackgroundKeeping", asked.asked.keeping)  # `Asked` has promised so
    await call.enter()  # before there is a job: who is over a limit is told so, and not by a job that fails
    asked = await call.recall(asked)
    job = await jobs.start(asked, keeping, body, call.open)
    job.when_over(lambda: call.end(job.error))
    if not keeping.streamed:
        return json_answer(request, keeping.shown(job.under_way("queued")), headers=call.answer_headers())
    return follow_job(request, call.gateway, asked.caller, job.name, headers=call.answer_headers())


def follow_job(
    request: Request[Any, Any, Any],
    gateway: Gateway,
    caller: Caller,
    name: str,
    *,
    after: int = -1,
    over: Callable[[], Awaitable[bool]] | None = None,
    headers: dict[str, str] | None = None,
) -> EventStream:
    """The events of an answer in the background, behind the one numbered `after`. See `Jobs.follow`."""

    async def run(send: Send) -> bytes:
        async with aclosing(gateway.jobs.follow(caller, name, after, over or _never)) as events:
            async for event in events:
                await send(event)
        return b""

    def nothing() -> None:
        """The answer goes on."""

    return EventStream(
        request,
        run,
        nothing,
        headers=headers or {},
        longest=gateway.settings.background_timeout,
        break_off=lambda _error: b"",  # it can be followed again
    )


async def _never() -> bool:
    return False


def _streamed(request: Request[Any, Any, Any], call: ApiCall, asked: ClientCall, presence: Presence) -> EventStream:
    """The stream, which is opened as it is sent: a task of its own for that would cost each request three turns of the
    loop. Where it takes longer than EARLY_HEAD its head goes out before, since proxies and clients on the way give up
    on an answer that does not begin, and ask again. What fails from then on is told in the stream."""
    settings = call.gateway.settings
    return EventStream(
        request,
        Opening(partial(_opened, call, asked), partial(_refused, call), call.answer_headers, settings.early_head),
        call.end,
        headers={},
        longest=settings.total_timeout,
        break_off=call.broken_off,
        begun=call.begun,  # a call knows no stream: what goes in a circle waits for the collector
        presence=presence,
    )


def _slow(request: Request[Any, Any, Any], call: ApiCall, asked: ClientCall, presence: Presence) -> EventStream:
    """A whole answer; or, where it takes longer than a proxy may wait (SLOW_SECONDS), its head with blanks until it is
    there. What fails from then on is told by the body alone."""
    return EventStream(
        request,
        Opening(partial(_opened, call, asked), partial(_refused, call), call.answer_headers, SLOW_SECONDS),
        call.end,
        headers=JSON,
        longest=call.gateway.settings.total_timeout,
        break_off=call.broken_off,
        presence=presence,
        filler=BLANK,
    )


async def _opened(call: ApiCall, asked: ClientCall, stream: ByteStream) -> Run | bytes:
    """What the stream runs; or a whole answer, which is no stream where its head is not out yet. What fails before its
    head is raised."""
    try:
        exchange = await call.open(asked)
        if asked.asked.prompt.stream:
            return exchange.run
        whole = await exchange.whole()
    except GatewayError as error:
        if not stream.has_begun:
            raise
        return call.broken_off(error)
    except Exception:  # as in `answer`: it is raised on, and the line says what the client is told
        call.end(unforeseen())
        raise
    if not stream.has_begun:
        call.end()
        stream.headers = call.answer_headers() | JSON | {"content-length": str(len(whole))}
    return whole
