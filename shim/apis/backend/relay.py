"""Opens a relayed call: chooses account and route, and decides which error the client gets.

    BackendRequest ──read──> Relayed ──┬─ TURN:  lease, handshake, conversation call ─┐
                              └─ else:  account call, the call ──────────────┴──> Relaying

Rules: a turn is tried again only while upstream has not taken it, any other call never. What upstream says no with is
passed on in its own bytes; only that a token of the pool is dead stays between the pool and upstream, for the client's
own credential is not what failed.
"""

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease
from shim.accounts.outcomes import Attempt, Tries
from shim.apis.backend.passing import Relaying, Watch
from shim.apis.backend.table import BackendRequest, Kind, Relayed, down, has_names, read
from shim.errors import About, CredentialError, GatewayError, LimitError, UpstreamError
from shim.exchange import Gateway
from shim.exchange.calls import Route
from shim.exchange.next_account import Attempted, Seeker
from shim.http.downloads import length_of
from shim.protocol.commands import HttpReply, HttpRequest
from shim.protocol.owners import Namer
from shim.protocol.refusals import refusal_of
from shim.protocol.turn.handshake import ConversationCall, is_event_stream, open_call
from shim.transport.base import Response, read_reply

_NOBODY = "No account of this gateway can serve this"
_MODEL_LIMIT = "model_cap_exceeded"


class SaidNoError(Exception):
    """Upstream's own refusal of a turn, to be passed on as it is."""

    def __init__(self, reply: HttpReply, error: GatewayError) -> None:
        super().__init__(f"upstream answered {reply.status}")
        self.reply, self.error = reply, error


class Client(msgspec.Struct, frozen=True):
    """Who asks the relay: `device` tells clients apart that use the same key, `public` is our address as they see it
    (with the prefix, no slash at the end)."""

    caller: Caller
    device: str
    public: str


class Relay:
    """Relays calls over one gateway's accounts and routes."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._leases = gateway.leases
        self._calls = gateway.calls

    async def open(self, asked: BackendRequest, client: Client, attempted: Attempted) -> Relaying:
        """The answer to a call, at its head; `attempted` learns with which account. Raises GatewayError, and
        SaidNoError for a turn that upstream refused."""
        shared = client.caller.own is None and len(self._leases.pool) > 0
        wanted = read(asked, shared=shared)
        # Only a turn may go to another account when one fails: nothing was taken yet, and any may answer.
        if asked.row.kind is Kind.TURN:
            return await _Turn(self._gateway, wanted, client, shared=shared).open(attempted)
        # What is said of an account itself (who it is, its conversations) must not change with every call, so a device
        # keeps to one. For all else any account will do that the names in the call allow.
        pin = client.device if asked.row.kind in {Kind.PINNED, Kind.LISTING} else None
        account = await self._leases.call_on(client.caller, wanted.owner, pin=pin)
        attempted.account = account.account_id
        route = self._calls.route(account.identity)
        bare = route.upstream.get(wanted.path)
        request = HttpRequest(wanted.row.method, bare.url, bare.headers | wanted.headers, wanted.body)
        try:
            response = await self._calls.send(request, route)
        except UpstreamError as error:
            self._calls.failed(error, route)
            raise
        # Any other refusal is passed on as it is; this one is about the pool's token, which the client has never seen.
        if response.status == 401:
            reply = await read_reply(response)
            refusal = refusal_of(reply.status, reply.headers, reply.body)
            account.failed(refusal, self._gateway.clock.now())
            raise refusal
        # A credential of the caller's own has one account, so that there is nothing to tell apart by names.
        owner = account.account_id if shared else None
        return Relaying(response, *_towards(client, response, wanted, route, owner))


class _Turn:
    """One turn, which the account loop tries."""

    def __init__(self, gateway: Gateway, wanted: Relayed, client: Client, *, shared: bool) -> None:
        self._gateway = gateway
        self._wanted = wanted
        self._client = client
        self._shared = shared
        self._calls = gateway.calls
        self._said_no: dict[GatewayError, HttpReply] = {}

    async def open(self, attempted: Attempted) -> Relaying:
        """The answer, at its head: upstream has taken the turn. Raises GatewayError or SaidNoError."""
        settings, owner = self._gateway.settings, self._wanted.owner
        until = self._gateway.clock.now() + settings.first_byte_timeout
        tries = Tries(settings.retry_times, until, alone=not self._shared or owner is not None)
        seeker = Seeker(self._client.caller, self._wanted.model, owner, attempted)
        try:
            return await self._gateway.turns.accounts.run(seeker, tries, self._attempt)
        except GatewayError as error:
            if (reply := self._said_no.get(error)) is not None:
                raise SaidNoError(reply, error) from error
            if isinstance(error, LimitError) and error.about is About.POOL and owner is None:
                # That all accounts have to wait was asked for one model, and says nothing of others: so it is called
                # what a gateway in front of us keeps to for that model alone.
                raise LimitError(error.message, code=_MODEL_LIMIT, retry_after=error.retry_after) from error
            raise

    async def _attempt(self, lease: AccountLease, route: Route, attempt: Attempt) -> Relaying:
        calls, wanted = self._calls, self._wanted
        # A turn is always JSON for an event stream, whatever the client says of it: the handshake sets both.
        headers = {name: value for name, value in wanted.headers.items() if name not in {"accept", "content-type"}}
        path = wanted.path.partition("?")[0]
        call = ConversationCall(wanted.body_for(lease.slug), lease.slug, path, headers)
        # With a handshake of our own: the client's was answered here (`Kind.LOCAL`), so that its proofs prove nothing
        # upstream.
        handshake = open_call(route.upstream, call, calls.options, calls.moment(lease.identity))
        turn = await calls.driver.run(handshake, route.connection)
        attempt.sent = True
        response = await calls.send(turn.request, route)
        if is_event_stream(response.status, response.headers):
            attempt.accepted = True
            owner = lease.account_id if self._shared else None
            watch = Watch(lease, self._gateway.clock.now)
            return Relaying(response, *_towards(self._client, response, wanted, route, owner), watch)
        reply = await read_reply(response)
        error = turn.refused(reply)
        # Only what upstream itself says to this client goes on in its own bytes: no challenge page, no 200 without a
        # stream, and nothing about the credentials of the pool.
        if reply.status != 200 and not turn.challenged and told_to(self._client, error) is error:
            self._said_no[error] = reply
        raise error


def told_to(client: Client, error: GatewayError) -> GatewayError:
    """The error as the client may see it: a dead account of the pool is not the client's credential."""
    nobody = error.about is About.POOL and isinstance(error, UpstreamError)
    if client.caller.own is None and (nobody or isinstance(error, CredentialError)):
        return UpstreamError(_NOBODY, code="no_account", status=503)
    return error


def _towards(
    client: Client, response: Response, wanted: Relayed, route: Route, owner: str | None
) -> tuple[dict[str, str], Namer | None]:
    """The headers for the client, and what puts names into the body (None: body and length stay as they are)."""
    headers = down(response.headers)
    if has_names(wanted.row, response.headers):
        lists = wanted.row.kind is Kind.LISTING
        return headers, Namer(owner, origin=route.upstream.base_url, public=client.public, lists=lists)
    return headers | length_of(response.headers), None
