"""A seat: the account, slug and way upstream that one attempt at a turn uses, wherever they come from.

    bearer ── own credential ──> the account's own roster ─┐
           └─ key, or none ────> the pool's roster ────────┼──> AccountLease ── end ──> what it showed goes back
                                 (empty pool) nobody ──────┘

Rule: whoever takes a seat ends it, once; ending it again does nothing.
"""

import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from shim.accounts.account import Account
from shim.accounts.credentials import Caller, identity_of, own_account
from shim.accounts.lease import Lease, NoAccountError, Shortage
from shim.accounts.model_lists import ModelList, ModelLists
from shim.accounts.outcomes import event_of
from shim.accounts.pool import AccountPool
from shim.accounts.states import Released, State, TurnEvent, Unused
from shim.errors import CredentialError, GatewayError, LimitError, RequestError, UpstreamError
from shim.protocol.models import AUTO, model_not_found, resolve, slug_candidates, slug_for
from shim.protocol.upstream import Identity

Fetch = Callable[[Identity], Awaitable[tuple[str, ...]]]
_BUSY_SECONDS = 1.0


class AccountLease:
    """One attempt's place. `account_id` is None for nobody in particular."""

    def __init__(
        self,
        identity: Identity,
        model: str,
        slug: str,
        *,
        roster: AccountPool | None = None,
        lease: Lease | None = None,
        own: bool = False,
    ) -> None:
        self.identity = identity
        self._own = own
        self.model = model
        self.slug = slug
        self._roster = roster
        self._lease = lease

    @property
    def account_id(self) -> str | None:
        """Whose seat it is."""
        return self._lease.account.id if self._lease is not None else None

    @property
    def renewable(self) -> bool:
        """Whether its account can get a new access token."""
        return self._lease is not None and self._lease.account.renewable

    def succeeded(self) -> None:
        """The turn went well."""
        if self._lease is not None:
            self._end(self._lease.succeeded())

    def failed(self, error: GatewayError, now: float) -> None:
        """The turn failed: what that says of the account goes back."""
        if self._lease is not None:
            self._end(event_of(error, slug=self.slug, renewable=self.renewable, now=now, own=self._own))

    def left(self) -> None:
        """The turn was broken off by the client."""
        self._end(Released())

    def _end(self, event: TurnEvent) -> None:
        if self._roster is not None and self._lease is not None:
            self._roster.end(self._lease, event)


class AccountCall:
    """A call beside the turns of an account: it has no model and counts for no limit. `account_id` is None for nobody
    in particular."""

    def __init__(self, identity: Identity, roster: AccountPool | None = None, account: Account | None = None) -> None:
        self.identity = identity
        self._roster = roster
        self._account = account

    @property
    def account_id(self) -> str | None:
        """Who is visited."""
        return self._account.id if self._account is not None else None

    def failed(self, error: GatewayError, now: float) -> None:
        """The call failed: of that only a refused token says something about the account."""
        if isinstance(error, CredentialError) and self._roster is not None and self._account is not None:
            event = event_of(error, slug=AUTO, renewable=self._account.renewable, now=now)
            self._roster.report(self._account.id, event)


class Leases:
    """Gives seats. `fetch` asks upstream for the slugs of an identity."""

    def __init__(
        self,
        pool: AccountPool,
        guests: AccountPool,
        *,
        fetch: Fetch,
        installation: uuid.UUID,
        clock: Callable[[], float],
        default_model: str | None,
        conversation_only: bool = False,
    ) -> None:
        self.pool = pool
        self.guests = guests
        self._fetch = fetch
        self._installation = installation
        self._clock = clock
        self._default_model = default_model
        self._conversation_only = conversation_only
        self._lists = ModelLists(clock)

    async def take(self, caller: Caller, model: str, tried: frozenset[str], owner: str | None = None) -> AccountLease:
        """A seat for a turn on `model`, not with the accounts in `tried`; with `owner` only with that one.

        Raises RequestError (404) where nobody has the model, LimitError where all have to wait, CredentialError.
        """
        if caller.own is not None:
            guest = await self._guest(caller)
            return await self._lend(self.guests, model, frozenset(), guest)
        if len(self.pool):
            return await self._lend(self.pool, model, tried, owner)
        return await self._for_nobody(model)

    async def call_on(self, caller: Caller, owner: str | None = None, *, pin: str | None = None) -> AccountCall:
        """An account for a call that is no turn: the `owner` of what it is about; else for the same `pin` always the
        same one, as long as it is there; else any that could take a turn. Raises GatewayError."""
        if caller.own is not None:
            return await self._visit(self.guests, await self._guest(caller))
        if not len(self.pool):
            return AccountCall(identity_of(None, self._installation))
        if owner is None and pin is not None:
            owner = self._pinned(pin)
        return await self._visit(self.pool, await self._any() if owner is None else owner)

    @asynccontextmanager
    async def visit(self, caller: Caller, owner: str | None = None) -> AsyncIterator[Identity]:
        """Who goes upstream for a call that is no turn. Raises GatewayError; one raised inside goes back to the
        account."""
        async with self._reported(await self.call_on(caller, owner)) as identity:
            yield identity

    @asynccontextmanager
    async def visit_account(self, account_id: str) -> AsyncIterator[Identity]:
        """As `visit`, for an account of the pool or a guest. Raises RequestError (404) where it is gone."""
        roster = self.guests if self.pool.view(account_id) is None else self.pool
        async with self._reported(await self._visit(roster, account_id)) as identity:
            yield identity

    def identity_of(self, account: Account) -> Identity:
        """Who goes upstream for an account."""
        return identity_of(account, self._installation)

    async def models(self, caller: Caller) -> ModelList:
        """The models a caller may use; of the pool those of one account that is ready. Raises GatewayError."""
        if caller.own is None and not len(self.pool):
            return await self._list_of(identity_of(None, self._installation))
        roster = self.guests if caller.own is not None else self.pool
        owner = await self._guest(caller) if caller.own is not None else None
        lease = await self._lease(roster, (AUTO,), frozenset(), owner)
        try:
            return await self._list_of(await self._identity(roster, lease))
        finally:
            roster.end(lease, Unused())

    async def _lend(self, roster: AccountPool, model: str, tried: frozenset[str], owner: str | None) -> AccountLease:
        """An account that has the model. Each that turns out not to have it is not offered again (`learn`)."""
        while True:
            try:
                lease = await self._lease(roster, tuple(slug_candidates(model)), tried, owner)
            except RequestError:
                if self._default_model in {None, model}:
                    raise
                model = self._default_model or model
                continue
            seat = await self._seat(roster, lease, model)
            if seat is not None:
                return seat

    async def _seat(self, roster: AccountPool, lease: Lease, model: str) -> AccountLease | None:
        """The seat of a lease, or None where its account turns out not to have the model."""
        try:
            identity = await self._identity(roster, lease)
            listed = await self._list_of(identity)
        except GatewayError as error:
            renewable, own = lease.account.renewable, roster is self.guests
            roster.end(lease, event_of(error, slug=lease.slug, renewable=renewable, now=self._clock(), own=own))
            raise
        except BaseException:
            roster.end(lease, Unused())
            raise
        roster.learn(lease.account.id, listed.slugs)
        slug = slug_for(model, listed.slugs)
        if slug is None:
            roster.end(lease, Unused())
            return None
        return AccountLease(identity, model, slug, roster=roster, lease=lease, own=roster is self.guests)

    @asynccontextmanager
    async def _reported(self, visit: AccountCall) -> AsyncIterator[Identity]:
        try:
            yield visit.identity
        except GatewayError as error:
            visit.failed(error, self._clock())
            raise

    async def _visit(self, roster: AccountPool, id: str) -> AccountCall:
        view = roster.view(id)
        if view is not None and view.state is State.PARKED:
            raise _error_of(NoAccountError(Shortage.NEVER), (AUTO,), own=roster is self.guests)
        account = await roster.beside(id)
        if account is None:
            raise _error_of(NoAccountError(Shortage.GONE), (AUTO,), own=False)
        return AccountCall(self.identity_of(account), roster, account)

    async def _any(self) -> str:
        """The account whose turn it would be. It keeps its place in the queue."""
        lease = await self._lease(self.pool, (AUTO,), frozenset(), None)
        self.pool.end(lease, Unused())
        return lease.account.id

    def _pinned(self, pin: str) -> str | None:
        """By rendezvous: one account coming or going moves only those pinned to it."""
        usable = (view.id for view in self.pool.page() if view.state is not State.PARKED)
        return max(usable, key=lambda id: hashlib.sha256(f"{pin} {id}".encode()).digest(), default=None)

    async def _for_nobody(self, model: str) -> AccountLease:
        identity = identity_of(None, self._installation)
        listed = await self._list_of(identity)
        named, slug = resolve(model, listed.slugs, self._default_model)
        return AccountLease(identity, named, slug)

    async def _lease(
        self, roster: AccountPool, slugs: tuple[str, ...], tried: frozenset[str], owner: str | None
    ) -> Lease:
        try:
            return await roster.lease(slugs, exclude=tried, owner=owner)
        except NoAccountError as shortage:
            raise _error_of(shortage, slugs, own=roster is self.guests) from shortage

    async def _identity(self, roster: AccountPool, lease: Lease) -> Identity:
        account: Account = await roster.ready(lease)
        return identity_of(account, self._installation)

    async def _list_of(self, identity: Identity) -> ModelList:
        if self._conversation_only:
            return ModelList((), int(self._clock()), 0.0)
        return await self._lists.get(list_key(identity), lambda: self._fetch(identity))

    async def _guest(self, caller: Caller) -> str:
        """The id of a caller's own account, taken in among the guests."""
        assert caller.own is not None  # noqa: S101  the two callers above have looked
        account = own_account(caller.own, self._clock())
        return await self.guests.host(account)


def is_shortage(error: GatewayError) -> bool:
    """Whether `error` says that there is no seat at all, rather than that one account failed."""
    return isinstance(error.__cause__, NoAccountError)


def list_key(identity: Identity) -> str:
    """What the models and connections of an identity are kept under."""
    return f"{identity.device_id},{identity.workspace_id or ''}"


def _error_of(shortage: NoAccountError, slugs: tuple[str, ...], *, own: bool) -> GatewayError:
    match shortage.shortage:
        case Shortage.NO_MODEL:
            return model_not_found(slugs[-1])
        case Shortage.BUSY:
            return LimitError("Every account is busy with other turns", code="accounts_busy", retry_after=_BUSY_SECONDS)
        case Shortage.LATER:
            what = "This account has" if own else "Every account has"
            return LimitError(
                f"{what} to wait until its limit is over ({shortage})",
                code="accounts_cooling",
                retry_after=shortage.retry_after,
            )
        case Shortage.NEVER if own:
            return CredentialError("Upstream does not accept this token any more", code="invalid_api_key")
        case Shortage.GONE:
            return RequestError(
                "The account that owns this conversation is gone", status=404, code="conversation_not_found"
            )
        case _:
            return UpstreamError(f"No account of the pool can be used: {shortage}", code="no_account", status=503)
