"""Opens what is relayed: with whose account, over which route, and what is told where it can't be had.

    BackendRequest ──read──> Relayed ──┬─ TURN:  lease, handshake, conversation call ─┐
                              └─ else:  account call, the call ──────────────┴──> Relaying

Rules: a turn is tried again only while upstream has not taken it, any other call never. What upstream says no with is
passed on in its own bytes; only that a token of the pool is dead stays between the pool and upstream, for the client's
own credential is not what failed.
"""

import logging

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountCall, AccountLease
from shim.accounts.outcomes import Attempt, Tries
from shim.apis.backend.passing import Relaying, Watch
from shim.apis.backend.table import BackendRequest, Kind, Relayed, down, has_names, read
from shim.errors import About, CredentialError, GatewayError, LimitError, UpstreamError
from shim.exchange import Gateway
from shim.exchange.calls import Route
from shim.exchange.next_account import next_lease
from shim.exchange.turns import is_event_stream
from shim.http.downloads import is_length
from shim.protocol.commands import HttpReply, HttpRequest
from shim.protocol.owners import Namer
from shim.protocol.refusals import refusal_of
from shim.protocol.turn.handshake import ConversationCall, open_call
from shim.protocol.upstream import Upstream
from shim.transport.base import Response, read_reply

log = logging.getLogger("chat2api")

_NOBODY = "No account of this gateway can serve this"
_MODEL_LIMIT = "model_cap_exceeded"


class SaidNoError(Exception):
    """Upstream's own refusal of a turn, to be passed on as it is."""

    def __init__(self, reply: HttpReply) -> None:
        super().__init__(f"upstream answered {reply.status}")
        self.reply = reply


class Client(msgspec.Struct, frozen=True):
    """Who asks the relay: `device` tells clients apart that use the same key, `public` is our address as they see it
    (with the prefix, no slash at the end)."""

    caller: Caller
    device: str
    public: str


class Relay:
    """Relays calls over one gateway's accounts and ways."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._leases = gateway.leases
        self._calls = gateway.calls

    async def open(self, asked: BackendRequest, client: Client) -> Relaying:
        """The answer to a call, at its head. Raises GatewayError, and SaidNoError for a turn that upstream refused."""
        shared = client.caller.own is None and len(self._leases.pool) > 0
        wanted = read(asked, shared=shared)
        if asked.row.kind is Kind.TURN:
            return await _Turn(self._gateway, wanted, client, shared=shared).open()
        pin = client.device if asked.row.kind in {Kind.PINNED, Kind.LISTING} else None
        account = await self._leases.call_on(client.caller, wanted.owner, pin=pin)
        route = self._calls.route(account.identity)
        response = await self._send(_request(wanted, route.upstream), route)
        if response.status == 401:
            raise await self._refused(response, account)
        owner = account.account_id if shared else None
        relaying = Relaying(response, *_towards(client, response, wanted, route, owner))
        relaying.account = account.account_id
        return relaying

    async def _send(self, request: HttpRequest, route: Route) -> Response:
        try:
            return await self._calls.send(request, route)
        except UpstreamError as error:
            self._calls.failed(error, route)
            raise

    async def _refused(self, response: Response, account: AccountCall) -> GatewayError:
        reply = await read_reply(response)
        error = refusal_of(reply.status, reply.headers, reply.body)
        account.failed(error, self._gateway.clock.now())
        return error


class _Turn:
    """One turn and its tries."""

    def __init__(self, gateway: Gateway, wanted: Relayed, client: Client, *, shared: bool) -> None:
        self._gateway = gateway
        self._wanted = wanted
        self._client = client
        self._shared = shared
        self._now = gateway.clock.now
        self._calls = gateway.calls
        settings = gateway.settings
        alone = not shared or wanted.owner is not None
        self._tries = Tries(settings.retry_times, self._now() + settings.first_byte_timeout, alone=alone)
        self._said_no: dict[GatewayError, SaidNoError] = {}

    async def open(self) -> Relaying:
        """The answer, at its head: upstream has taken the turn. Raises GatewayError or SaidNoError."""
        while True:
            lease = await self._lease()
            attempt = Attempt()
            try:
                return await self._attempt(lease, attempt)
            except GatewayError as error:
                self._note(error, attempt, lease)
            except BaseException:
                lease.left()
                raise

    def _note(self, error: GatewayError, attempt: Attempt, lease: AccountLease) -> None:
        """Raises what the client is told where that was the last try."""
        now = self._now()
        lease.failed(error, now)
        try:
            self._tries.note(error, attempt, lease.account_id, now, renewable=lease.renewable)
        except GatewayError:
            if (said_no := self._said_no.get(error)) is not None:
                raise said_no from error
            raise
        log.info("relayed turn failed (%s), trying again", error.code)

    async def _lease(self) -> AccountLease:
        wanted, caller = self._wanted, self._client.caller
        try:
            return await next_lease(
                self._gateway.leases, caller, wanted.model, wanted.owner, tries=self._tries, now=self._now
            )
        except LimitError as error:
            if error.about is About.POOL and wanted.owner is None:
                raise _of_model(error) from error
            raise

    async def _attempt(self, lease: AccountLease, attempt: Attempt) -> Relaying:
        route = self._calls.route(lease.identity)
        try:
            response = await self._converse(lease, attempt, route)
        except UpstreamError as error:
            self._calls.failed(error, route)
            raise
        owner = lease.account_id if self._shared else None
        watch = Watch(lease, self._now)
        relaying = Relaying(response, *_towards(self._client, response, self._wanted, route, owner), watch)
        relaying.account = lease.account_id
        return relaying

    async def _converse(self, lease: AccountLease, attempt: Attempt, route: Route) -> Response:
        calls, wanted = self._calls, self._wanted
        headers = {name: value for name, value in wanted.headers.items() if name not in {"accept", "content-type"}}
        path = wanted.path.partition("?")[0]
        call = ConversationCall(wanted.body_for(lease.slug), lease.slug, path, headers)
        handshake = open_call(route.upstream, call, calls.options, calls.moment(lease.identity))
        turn = await calls.driver.run(handshake, route.connection)
        attempt.sent = True
        response = await calls.send(turn.request, route)
        if is_event_stream(response.status, response.headers):
            attempt.accepted = True
            return response
        reply = await read_reply(response)
        error = turn.refused(reply)
        if reply.status != 200 and not turn.challenged and told_to(self._client, error) is error:
            self._said_no[error] = SaidNoError(reply)
        raise error


def told_to(client: Client, error: GatewayError) -> GatewayError:
    """What a client is told of a failure: a dead account of the pool is not the client's credential."""
    nobody = error.about is About.POOL and isinstance(error, UpstreamError)
    if client.caller.own is None and (nobody or isinstance(error, CredentialError)):
        return UpstreamError(_NOBODY, code="no_account", status=503)
    return error


def _of_model(error: LimitError) -> LimitError:
    """That all accounts have to wait was asked for one model, and says nothing of others: so it is called what a front
    gateway keeps to for that model alone."""
    return LimitError(error.message, code=_MODEL_LIMIT, retry_after=error.retry_after)


def _request(wanted: Relayed, upstream: Upstream) -> HttpRequest:
    bare = upstream.get(wanted.path)
    return HttpRequest(wanted.row.method, bare.url, bare.headers | wanted.headers, wanted.body)


def _towards(
    client: Client, response: Response, wanted: Relayed, route: Route, owner: str | None
) -> tuple[dict[str, str], Namer | None]:
    """The headers for the client, and what puts names into the body (None: it goes on as it is, and so its length)."""
    headers = down(response.headers)
    if has_names(wanted.row, response.headers):
        lists = wanted.row.kind is Kind.LISTING
        return headers, Namer(owner, origin=route.origin, public=client.public, lists=lists)
    length = response.headers.get("content-length", "")
    if is_length(length) and not {"content-encoding", "transfer-encoding"} & response.headers.keys():
        headers["content-length"] = length
    return headers, None
