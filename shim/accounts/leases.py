"""Leases: the account, slug and identity that one attempt at a turn uses, wherever they come from.

    bearer ── own credential ──> the account's own pool ──┐
           └─ key, or none ────> the shared pool ─────────┼──> AccountLease ── end ──> what it showed goes back
                                 (empty) nobody ──────────┘

Rule: every lease is ended by its taker, once; ending it again does nothing.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

from shim.accounts.account import Account, Quota
from shim.accounts.credentials import Caller, identity_of, own_account
from shim.accounts.model_lists import FetchedModels, ModelLists
from shim.accounts.outcomes import event_of
from shim.accounts.pool import AccountPool
from shim.accounts.pool_state import Slot
from shim.accounts.selection import NoAccountError, Shortage
from shim.accounts.states import Refused, Released, State, TokenExpired, TurnEvent, Unused
from shim.errors import About, CredentialError, GatewayError, LimitError, RequestError, Sent, UpstreamError
from shim.protocol.catalog import Catalog, KnownModel, Preset, union
from shim.protocol.models import AUTO, model_not_found, resolve, slug_candidates, slug_for
from shim.protocol.upstream import Identity
from shim.single_flight import SingleFlight


class Fetch(Protocol):
    """Asks upstream for the models of an identity: on connections shared by all of a `lane`, or (None) its own."""

    def __call__(self, identity: Identity, lane: str | None = None) -> Awaitable[Catalog]: ...


# The lane of those who are asked about: they share connections, since anybody can make up a token.
_STRANGERS = "strangers"
_STRANGERS_AT_ONCE = 8  # callers with tokens of their own that upstream is asked about
_STRANGER_WAITS = 20.0  # seconds
_MAX_MET = 10_000  # callers known to be accepted; a forgotten one is asked about once more
_BUSY_SECONDS = 1.0  # how long SDKs sleep before they ask again; the end of a turn can't be foreseen
_OUT = frozenset({State.PARKED, State.PAUSED})  # what only a person brings back
# A pool of hundreds must not ask upstream for all lists in one moment, when the first client wants the models.
_LISTS_AT_ONCE = 4
_LISTS_WAIT = 10.0  # seconds that a call waits for the lists of a large pool, which go on being fetched


class AccountLease:
    """The right to make one turn: on which model, and as whom. `account_id` is None where that is nobody in
    particular; then there is nothing to give back. `known` is what the account's list says of the slug, `preset` the
    choice of the page that the model's name stands for. Where `is_turn` is False it counts as none, and of its failures
    only a refused token says something about the account."""

    def __init__(
        self,
        identity: Identity,
        model: str,
        slug: str,
        *,
        pool: AccountPool | None = None,
        slot: Slot | None = None,
        own: bool = False,
        known: KnownModel | None = None,
        preset: Preset | None = None,
    ) -> None:
        self.identity = identity
        self.model = model
        self.slug = slug
        self.known, self.preset = known, preset
        self.account_id = slot.account.id if slot is not None else None
        self.renewable = slot is not None and slot.account.renewable
        self.is_turn = True
        self._pool, self._slot, self._own = pool, slot, own

    def note_quotas(self, limits: list[Any]) -> None:
        """What upstream said of the account's quotas (`limits_progress`); what can't be read of it is left out."""
        if self._pool is None or self.account_id is None:
            return
        quotas = []
        for limit in limits:
            match limit:
                case {"feature_name": str(feature), **rest}:
                    left, resets = rest.get("remaining"), rest.get("reset_after")
                    remaining = left if isinstance(left, int) else None
                    quotas.append(Quota(feature[:64], remaining, resets[:40] if isinstance(resets, str) else None))
        self._pool.note_quotas(self.account_id, tuple(quotas[:32]))

    def succeeded(self) -> None:
        """The turn went well, which also ends older limits on its model."""
        if self._slot is not None:
            self._end(self._slot.succeeded())

    def failed(self, error: GatewayError, now: float) -> None:
        """The turn failed: what that says of the account goes back."""
        proxied = self.identity.proxy is not None
        event = event_of(error, slug=self.slug, renewable=self.renewable, now=now, own=self._own, own_proxy=proxied)
        self._end(event)

    def left(self) -> None:
        """The turn was broken off by the client."""
        self._end(Released())

    def _end(self, event: TurnEvent) -> None:
        if not self.is_turn and not isinstance(event, TokenExpired | Refused):
            event = Unused()
        if self._pool is not None and self._slot is not None:
            self._pool.end(self._slot, event)


class AccountCall:
    """A call beside the turns of an account: it has no model and counts for no limit. `account_id` is None for nobody
    in particular."""

    def __init__(self, identity: Identity, pool: AccountPool | None = None, account: Account | None = None) -> None:
        self.identity = identity
        self.account_id = account.id if account is not None else None
        self._pool, self._account = pool, account

    def failed(self, error: GatewayError, now: float) -> None:
        """The call failed: of that only a refused token says something about the account."""
        if isinstance(error, CredentialError) and self._pool is not None and self._account is not None:
            event = event_of(error, slug=AUTO, renewable=self._account.renewable, now=now)
            self._pool.report(self._account.id, event)


class Leases:
    """Gives leases on accounts of the shared `pool`, and of the `guests` that callers bring themselves. `fetch` asks
    upstream for the slugs of an identity."""

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
        self.fetch = fetch
        self._installation = installation
        self._nobody = identity_of(None, installation)
        self._clock = clock
        self._default_model = default_model
        self._conversation_only = conversation_only
        self._sweeps: SingleFlight[None, None] = SingleFlight()  # of the lists of the pool, one at a time
        self._lists = ModelLists(clock)
        self._met: dict[str, None] = {}  # guests whom upstream has accepted
        self._strangers = asyncio.Semaphore(_STRANGERS_AT_ONCE)

    async def take(
        self,
        caller: Caller,
        model: str,
        tried: frozenset[str],
        owner: str | None = None,
        *,
        prefer: str | None = None,
    ) -> AccountLease:
        """A lease for a turn on `model`, not with the accounts in `tried`; with `owner` only with that one, with
        `prefer` with that one where it can take the turn now.

        Raises RequestError (404) where nobody has the model, LimitError where all have to wait, CredentialError.
        """
        if caller.own is not None:
            # A caller's own credential is one account: there is no other to try, so `tried` does not apply.
            guest = await self._guest(caller)
            return await self._lend(self.guests, model, frozenset(), guest)
        if len(self.pool):
            return await self._lend(self.pool, model, tried, owner, prefer)
        identity = self._nobody
        listed = await self._list_of(identity)
        preset = listed.catalog.preset(model)
        named, slug = (model, preset.slug) if preset else resolve(model, listed.slugs, self._default_model)
        return AccountLease(identity, named, slug, known=listed.catalog.model(slug), preset=preset)

    async def call_on(self, caller: Caller, owner: str | None = None, *, pin: str | None = None) -> AccountCall:
        """An account for a call that is no turn: the `owner` of what it is about; else for the same `pin` always the
        same one, as long as it is there; else any that could take a turn. Raises GatewayError."""
        if caller.own is not None:
            return await self._call(self.guests, await self._guest(caller))
        if not len(self.pool):
            return AccountCall(self._nobody)
        if owner is None and pin is not None:
            # By rendezvous hashing: one account coming or going moves only those pinned to it.
            usable = (view.id for view in self.pool.page() if view.state not in _OUT)
            owner = max(usable, key=lambda id: hashlib.sha256(f"{pin} {id}".encode()).digest(), default=None)
        if owner is None:  # the account whose turn it would be
            # Lent and given back at once: chosen as for a turn, and counted as none.
            slot = await self._slot(self.pool, (AUTO,), frozenset(), None)
            self.pool.end(slot, Unused())
            owner = slot.account.id
        return await self._call(self.pool, owner)

    @asynccontextmanager
    async def call_as(self, account_id: str) -> AsyncIterator[Identity]:
        """Who goes upstream for a call by this account, of the pool or a guest. A GatewayError raised inside goes back
        to the account. Raises RequestError (404) where it is gone."""
        call = await self._call(self.guests if self.pool.view(account_id) is None else self.pool, account_id)
        try:
            yield call.identity
        except GatewayError as error:
            call.failed(error, self._clock())
            raise

    def identity_of(self, account: Account) -> Identity:
        """Who goes upstream for an account."""
        return identity_of(account, self._installation)

    def is_listed(self, model: str) -> bool:
        """Whether a name is that of a model which some list of upstream's has had."""
        return model == AUTO or slug_for(model, self._lists.seen) is not None

    async def models(self, caller: Caller) -> FetchedModels:
        """The models a caller may use; of the pool those of all its accounts. Raises GatewayError."""
        if caller.own is None and len(self.pool) > 1 and not self._conversation_only:
            listed = await self._all_of_pool()
            if listed is not None:
                return listed
        if caller.own is None and not len(self.pool):
            return await self._list_of(self._nobody)
        pool = self.guests if caller.own is not None else self.pool
        owner = await self._guest(caller) if caller.own is not None else None
        slot = await self._slot(pool, (AUTO,), frozenset(), owner)
        try:
            return await self._list_of(identity_of(await pool.ready(slot), self._installation))
        finally:
            pool.end(slot, Unused())

    async def _all_of_pool(self) -> FetchedModels | None:
        """The union of the accounts' lists, in the pool's order: what only a limited or expired account has stays
        listed, and what a list said before counts until it is there again. None where no list could be had."""
        views = [view for view in self.pool.page() if view.state not in _OUT]
        keys = {
            view.id: list_key(self.identity_of(account)) for view in views if (account := self.pool.account(view.id))
        }
        due = [id for id, key in keys.items() if self._lists.is_due(key)]
        if due:
            # Whoever has waited so long is told what is known by then, and the sweep goes on for the next one.
            with suppress(TimeoutError):
                async with asyncio.timeout(_LISTS_WAIT):
                    await self._sweeps.run(None, lambda: self._fetch_lists(due))
        lists = [listed for key in keys.values() if (listed := self._lists.last(key)) is not None and listed.slugs]
        if not lists:
            return None
        return FetchedModels(union(one.catalog for one in lists), max(one.fetched for one in lists), 0.0)

    async def _fetch_lists(self, ids: list[str]) -> None:
        """Fetch the lists of these accounts, a few at a time."""
        waiting = iter(ids)

        async def fetch() -> None:
            for id in waiting:
                with suppress(GatewayError):  # then what was known before stays
                    account = await self.pool.beside(id)
                    if account is not None:
                        listed = await self._list_of(self.identity_of(account))
                        self.pool.learn(id, listed.slugs)

        await asyncio.gather(*(fetch() for _ in range(_LISTS_AT_ONCE)))

    async def _lend(
        self, pool: AccountPool, model: str, tried: frozenset[str], owner: str | None, prefer: str | None = None
    ) -> AccountLease:
        """An account that has the model. Each that turns out not to have it is not offered again (`learn`)."""
        while True:
            try:
                slot = await self._slot(pool, slug_candidates(model), tried, owner, prefer)
            except RequestError:
                # Once: the second time it is the default model that nobody has.
                if self._default_model in {None, model}:
                    raise
                model = self._default_model or model
                continue
            lease = await self._lease(pool, slot, model)
            if lease is not None:
                return lease

    async def _lease(self, pool: AccountPool, slot: Slot, model: str) -> AccountLease | None:
        """The lease over a slot, or None where its account turns out not to have the model."""
        own = pool is self.guests
        try:
            identity = identity_of(await pool.ready(slot), self._installation)
            listed = await self._list_of(identity)
        except GatewayError as error:
            account = slot.account
            event = event_of(
                error,
                slug=slot.slug,
                renewable=account.renewable,
                now=self._clock(),
                own=own,
                own_proxy=account.proxy_url is not None,
            )
            pool.end(slot, event)
            raise
        except BaseException:  # cancelled, mostly: the client has gone, and that says nothing of the account
            pool.end(slot, Unused())
            raise
        # From now on selection knows the account's models, and does not offer it for one it lacks.
        pool.learn(slot.account.id, listed.slugs)
        preset = listed.catalog.preset(model)
        slug = preset.slug if preset else slug_for(model, listed.slugs)
        if slug is None:
            pool.end(slot, Unused())
            return None
        known = listed.catalog.model(slug)
        return AccountLease(identity, model, slug, pool=pool, slot=slot, own=own, known=known, preset=preset)

    async def _call(self, pool: AccountPool, id: str) -> AccountCall:
        view = pool.view(id)
        if view is not None and view.state in _OUT:
            raise _error_of(
                NoAccountError(Shortage.NEVER, told=f"1 {view.state.value}"), (AUTO,), own=pool is self.guests
            )
        account = await pool.beside(id)
        if account is None:
            raise _error_of(NoAccountError(Shortage.GONE), (AUTO,), own=False)
        return AccountCall(self.identity_of(account), pool, account)

    async def _slot(
        self,
        pool: AccountPool,
        slugs: tuple[str, ...],
        tried: frozenset[str],
        owner: str | None,
        prefer: str | None = None,
    ) -> Slot:
        try:
            return await pool.lease(slugs, exclude=tried, owner=owner, prefer=prefer)
        except NoAccountError as shortage:
            raise _error_of(shortage, slugs, own=pool is self.guests) from shortage

    async def _list_of(self, identity: Identity) -> FetchedModels:
        # An upstream that takes nothing but conversations has no list to ask for: any model is tried there.
        if self._conversation_only:
            return FetchedModels(Catalog(), int(self._clock()), 0.0)
        return await self._lists.get(list_key(identity), lambda: self.fetch(identity))

    async def meet(self, caller: Caller) -> bool:
        """Find out whether upstream accepts a caller's own credential, before anything is done for them; False where it
        could not be asked. Raises CredentialError where it does not, and GatewayError."""
        return await self._guest(caller) in self._met

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Only so many strangers at once keep upstream busy. Raises LimitError."""
        try:
            async with asyncio.timeout(_STRANGER_WAITS):
                await self._strangers.acquire()
        except TimeoutError:
            text = "Too many callers with tokens of their own are being checked; try again in a moment"
            raise LimitError(text, code="too_many_callers", retry_after=_BUSY_SECONDS, about=About.POOL_BUSY) from None
        try:
            yield
        finally:
            self._strangers.release()

    async def _guest(self, caller: Caller) -> str:
        """The id of a caller's own account among the guests. Anybody can write a token, so that one is only stored, and
        only has connections of its own, once upstream has answered to it."""
        assert caller.own is not None  # noqa: S101  the callers above have looked
        account = own_account(caller.own, self._clock())
        known = self.guests.find(account)
        if known is not None and known in self._met:
            return await self.guests.host(account)
        async with self._in_turn():
            # What has to be renewed is stored at once: the login server replaces the token that it came with.
            renewing = account.access_token is None
            id = known or (await self.guests.host(account) if renewing else self.guests.meet(account))
            try:
                good = await self.guests.beside(id) or account
                identity = identity_of(good, self._installation)
                listed = await self._lists.get(list_key(identity), lambda: self.fetch(identity, _STRANGERS))
            except GatewayError:
                if known is None:
                    await self.guests.dismiss(id)
                raise
            except BaseException:
                # The client has gone: else whoever asks and leaves fills the room that guests have. What was renewed
                # stays, for the token it came with is used up.
                if known is None and not renewing:
                    await self.guests.dismiss(id)
                raise
            if listed.slugs:
                self._met[id] = None
                if len(self._met) > _MAX_MET:
                    self._met.pop(next(iter(self._met)))
                return await self.guests.host(good if known is None else account, keep=True)
            return id


def is_shortage(error: GatewayError) -> bool:
    """Whether `error` says that there is no lease at all, rather than that one account failed."""
    return error.about in {About.POOL, About.POOL_BUSY}


def list_key(identity: Identity) -> str:
    """What the models and connections of an identity are kept under."""
    return f"{identity.device_id},{identity.workspace_id or ''}"


def _of_unlisted(model: str, told: str) -> str:
    """Said of a model that may be a slip of the pen, or one of an account that was never asked."""
    return (
        f"No account that can be asked has the model `{model[:100]}` (GET /v1/models lists what they have), "
        f"and one that may have it can't be asked now: {told}"
    )


def _error_of(shortage: NoAccountError, slugs: tuple[str, ...], *, own: bool) -> GatewayError:
    match shortage.shortage:
        case Shortage.NO_MODEL:
            return model_not_found(slugs[-1], About.POOL)
        case Shortage.BUSY:
            return LimitError(
                "Every account is busy with other turns",
                code="accounts_busy",
                retry_after=_BUSY_SECONDS,
                about=About.POOL_BUSY,
            )
        case Shortage.LATER:
            # Of one account there is nothing to count.
            what = "This account has" if own else "Every account has"
            why = shortage.told.removeprefix("1 limited: ") if own else shortage.told
            sentence = f"{what} to wait until its limit is over ({why})"
            return LimitError(
                _of_unlisted(slugs[-1], shortage.told) if shortage.unlisted else sentence,
                code="accounts_cooling",
                retry_after=shortage.retry_after,
                about=About.POOL,
            )
        case Shortage.NEVER if own:
            return CredentialError(
                "Upstream does not accept this token any more", code="invalid_api_key", about=About.POOL
            )
        case Shortage.GONE:
            return RequestError(
                "The account that has this conversation or file is gone",
                status=404,
                code="conversation_not_found",
                about=About.POOL,
            )
        case _:
            # Nothing of ours and no limit: it is the log-in server that has to come back.
            login = shortage.shortage is Shortage.NOT_RENEWED
            what = "The log-in server gave no new access token" if login else "No account of the pool can be used"
            return UpstreamError(
                _of_unlisted(slugs[-1], shortage.told) if shortage.unlisted else f"{what}: {shortage}",
                code="not_renewed" if login else "no_account",
                status=502 if login else 503,
                retry_after=shortage.retry_after,
                about=About.POOL,
                sent=Sent.NEVER,
            )
