"""Access tokens that are good: renewed ahead of their end or when refused, once, however many ask and wherever.

    renew ──one flight an account──> RenewalBegan ──> lock ──> catch up ──> exchange ──> store ──> Renewed
                                                        └─ taken: wait for what the other one stores

Rules: a refresh token is sent by one process at a time, and only if it is the newest. The lock keeps others away, but
whoever had it just before may have stored a newer token: so, under the lock, what others changed is read first. No
lock, no exchange: a refresh token used twice costs the account, a token a minute late costs one try. What an exchange
brought is stored before it is used (`rotations`). The pool hears of every renewal the same way, whoever asked for it:
that it began, and one event for how it ended; when a failed one may be tried again is the pool's to know (`retry_at`).
"""

import asyncio
import logging
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec

from shim.accounts.account import Account, read_claims
from shim.accounts.rotations import Latest, Rotation, Rotations
from shim.accounts.states import (
    AccountEvent,
    RenewalBegan,
    RenewalDropped,
    RenewalFailed,
    RenewalRefused,
    Renewed,
    Supplied,
)
from shim.accounts.stores.base import Store, StoreError
from shim.errors import About, DeadlineError, GatewayError, Sent, UpstreamError
from shim.protocol.commands import Handshake
from shim.protocol.turn.renewal import (
    DeadCredentialError,
    RenewedTokens,
    TokenEndpoints,
    WrongAddressError,
    renewal_of,
)
from shim.single_flight import SingleFlight
from shim.transport.base import ConnectionKey

log = logging.getLogger("chat2api")

T = TypeVar("T")
ExchangeTokens = Callable[[Account], Awaitable[RenewedTokens]]
Report = Callable[[str, AccountEvent], None]
Clock = Callable[[], float]

_OF_LIFETIME = 0.1  # a short-lived token is renewed in its last tenth


class RenewalTimes(msgspec.Struct, frozen=True):
    """Seconds, and counts. `lease` must be longer than `exchange`, and `patience` longer than `lease`.

    wait: for whoever asks; the renewal itself goes on. exchange: for one call. lease: of the lock. patience: for
    somebody else's renewal. poll, lag, max_save_delay: see Rotations. tries, delay, max_delay: transient failures
    within one call; delay doubles. rest: after these, where upstream does not say how long. closing: for exchanges
    under way at the end.
    """

    wait: float = 75.0
    exchange: float = 45.0
    lease: float = 60.0
    patience: float = 75.0
    poll: float = 0.1
    lag: float = 1.0
    max_save_delay: float = 5.0
    tries: int = 3
    delay: float = 0.5
    max_delay: float = 8.0
    rest: float = 30.0
    closing: float = 10.0


class RunsHandshakes(Protocol):
    """What is needed of the driver."""

    async def run(self, handshake: Handshake[T], connection: ConnectionKey) -> T:
        """Perform a handshake. Raises GatewayError."""
        ...


def exchange_by(
    driver: RunsHandshakes,
    places: Callable[[Account], TokenEndpoints],
    connection: Callable[[Account], ConnectionKey],
    clock: Clock,
) -> ExchangeTokens:
    """The exchange over a driver: where an account is renewed, and over which connections."""

    async def exchange(account: Account) -> RenewedTokens:
        where = places(account)
        try:
            return await driver.run(renewal_of(account, where, clock()), connection(account))
        except UpstreamError as error:
            if error.about is About.TOKEN:
                raise
            # Whoever makes a turn knows one upstream only, and would think it was the one that failed.
            kind = DeadlineError if isinstance(error, DeadlineError) else UpstreamError
            server = urlsplit(where.oauth_url if account.refresh_token else where.origin).netloc.rpartition("@")[2]
            named = kind(
                f"The log-in server {server} could not renew the access token: {error.message}",
                code=error.code,
                retry_after=error.retry_after,
                about=About.TOKEN,
                sent=error.sent,
            )
            named.evidence = error.evidence
            raise named from error

    return exchange


class Renewals:
    """One of these a process; `holder` names it among all that share the store.

    `latest` and `report` are the pool's: the newest it knows of an account, and what happened to one. `catch_up` asks
    the store for what others changed, so that when it returns, `latest` knows all of it; it raises StoreError. `jitter`
    gives a number from 0 to 1, `clock` seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        exchange: ExchangeTokens,
        *,
        latest: Latest,
        report: Report,
        catch_up: Callable[[], Awaitable[None]],
        holder: str,
        clock: Clock,
        jitter: Callable[[], float],
        times: RenewalTimes | None = None,
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._latest = latest
        self._report = report
        self._catch_up = catch_up
        self._holder = holder
        self._clock = clock
        self._jitter = jitter
        self._times = times = times or RenewalTimes()
        self._rotations = Rotations(
            store,
            latest,
            lambda account: report(account.id, Supplied(account)),
            poll=times.poll,
            lag=times.lag,
            max_delay=times.max_save_delay,
        )
        self._flights: SingleFlight[str, Account] = SingleFlight()
        self._committed: set[str] = set()
        self._misled = False  # OAUTH_URL leads to something that renews no tokens
        self._closed = False

    @property
    def unsaved(self) -> int:
        """How many renewed accounts the store does not have yet (for health; 0 is well)."""
        return self._rotations.unsaved

    async def renew(self, account: Account) -> Account:
        """The account with another access token than it has here: for when that one has expired, or upstream has
        refused it.

        Raises DeadCredentialError where a person has to log in again (it is parked), GatewayError where it may work
        later.
        """
        newest = self._newest(account)
        if _is_other(newest, account):
            return newest
        if self._closed:
            raise _closing()
        if not newest.renewable:
            raise DeadCredentialError("not_renewable" if newest.is_fresh(self._clock()) else "token_expired")
        try:
            async with asyncio.timeout(self._times.wait):
                return await self._flights.run(account.id, lambda: self._renewal(newest))
        except TimeoutError as error:
            raise DeadlineError(
                f"The log-in server has not renewed the access token within {self._times.wait:g} s", about=About.TOKEN
            ) from error
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and caller is not None and not caller.cancelling():  # the flight was, not the caller
                raise _closing() from None
            raise

    async def keep_fresh(
        self, accounts: Iterable[Account], *, ahead: float = 3600.0, at_once: int = 4, pause: float = 0.0
    ) -> None:
        """Renew those whose token runs out within `ahead` seconds or so. Those that fail are reported, and no more.

        Spread in three ways: each account comes due at a time of its own between `ahead` and twice that, `at_once` go
        on at the same time, and each waits up to `pause` seconds first. Accounts that never were used are left alone.
        """
        now = self._clock()
        due = sorted((one for one in accounts if self._is_due(one, now, ahead)), key=lambda one: one.expires or 0.0)
        waiting = iter(due)

        async def work_off() -> None:
            for account in waiting:
                await asyncio.sleep(pause * self._jitter())
                with suppress(GatewayError):  # reported already
                    await self.renew(account)

        await asyncio.gather(*(work_off() for _ in range(min(at_once, len(due)))))

    async def close(self) -> None:
        """Let go: what only waits is ended; an exchange is awaited, as its answer may carry a refresh token."""
        self._closed = True
        tasks = self._flights.tasks()
        for id, task in tasks.items():
            if id not in self._committed:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks.values(), timeout=self._times.closing)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await self._rotations.close(self._times.closing)

    # --- whose turn it is -------------------------------------------------------------------------------------------

    def _newest(self, account: Account) -> Account:
        """The newest that is known of it. Whoever asks may have held an older one for a while."""
        newest = self._rotations.unsaved_account(account.id) or self._latest(account.id)
        if newest is None:
            raise DeadCredentialError("account_removed")
        return newest if newest.version >= account.version else account

    def _is_due(self, account: Account, now: float, ahead: float) -> bool:
        if account.access_token is None or not account.renewable:
            return False
        if self._misled and account.refresh_token is not None:
            return False  # somebody who needs it finds out whether that has changed
        ahead *= 1 + zlib.crc32(account.id.encode()) / 2**32  # spread out, and always alike for one account
        return not account.is_fresh(now, ahead) and not account.is_fresh(now, min(ahead, _margin(account)))

    # --- one renewal ------------------------------------------------------------------------------------------------

    async def _renewal(self, account: Account) -> Account:
        """From its first event to its last."""
        id = account.id
        self._report(id, RenewalBegan())
        try:
            newer = await self._try(account)
        except DeadCredentialError as error:
            log.warning("account %s: not renewed (%s)", id, error.reason)
            self._report(id, RenewalRefused(error.reason, error.evidence))
            raise
        except GatewayError as error:
            log.warning("account %s: not renewed (%s)", id, error.message)
            now = self._clock()
            retry_at = now + (error.retry_in(now) or self._times.rest)
            self._report(id, RenewalFailed(error.code or "failed", retry_at, error.evidence))
            raise
        except BaseException:  # cancelled, or what nobody foresaw: the account would stay "refreshing" for ever
            self._report(id, RenewalDropped())
            raise
        log.info("account %s: renewed", id)
        self._misled = False
        # What the store does not have yet must not become the pool's newest: it would count as saved. Whoever asks for
        # this account gets it from `_newest` meanwhile.
        is_stored = self._rotations.unsaved_account(id) is None
        self._report(id, Renewed(newer) if is_stored else RenewalDropped())
        return newer

    async def _try(self, account: Account) -> Account:
        """A few tries. What upstream limits is not tried again: the limit is honoured. Nor is what has taken its time
        already (a log-in server that hangs, another process at it), nor a wrong address."""
        for attempt in range(1, self._times.tries + 1):
            try:
                return await self._once(account)
            except UpstreamError as error:
                if isinstance(error, WrongAddressError):
                    self._misled = account.refresh_token is not None
                is_over = error.about is About.ACCOUNT or isinstance(error, DeadlineError | WrongAddressError)
                if attempt == self._times.tries or self._closed or is_over:
                    raise
            whole = min(self._times.max_delay, self._times.delay * 2.0 ** (attempt - 1))
            await asyncio.sleep(whole * (1 + self._jitter()) / 2)
        raise AssertionError("unreachable: the last try returns or raises")

    # --- one exchange among all processes ---------------------------------------------------------------------------

    async def _once(self, account: Account) -> Account:
        """Renew it, or wait until somebody else has."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._times.patience
        while loop.time() < until:
            newest = await self._lock(account)
            if newest is None:
                newest = self._newest(account)
            # With the lock in hand, so that nobody else sends the same token.
            elif not _is_other(newest, account):
                return await self._exchange_locked(newest)
            else:
                await self._unlock(account.id)
            if _is_other(newest, account):
                return newest
            await asyncio.sleep(self._times.poll)
        raise UpstreamError(
            "Another process has not finished renewing this account",
            code="renewal_busy",
            about=About.ACCOUNT,
            sent=Sent.NEVER,
        )

    async def _lock(self, account: Account) -> Account | None:
        """Take the lock and read what others stored before: the newest there is. None where it can't be had now."""
        if self._rotations.unsaved_account(account.id) is not None:
            return None  # the store does not know what we would send
        try:
            if not await self._store.lock(_lock_name(account.id), self._holder, self._times.lease):
                return None
            await self._catch_up()
        except StoreError as error:
            await self._unlock(account.id)
            raise UpstreamError(
                "The store of accounts is away: no renewals",
                code="store_unavailable",
                about=About.GATEWAY,
                sent=Sent.NEVER,
            ) from error
        return self._newest(account)

    async def _exchange_locked(self, account: Account) -> Account:
        """The lock is left to its lease where the new token is not stored, so that nobody sends the old one."""
        self._committed.add(account.id)
        try:
            async with asyncio.timeout(self._times.exchange):
                renewed = await self._exchange(account)
            return await self._rotations.keep(Rotation(account, renewed))
        except TimeoutError as error:
            raise DeadlineError(
                f"The log-in server has not renewed the access token within {self._times.exchange:g} s",
                about=About.TOKEN,
            ) from error
        except DeadCredentialError as error:
            # A process that could not store its exchange may do so only now: it is waited for, as long as stores lag
            # behind, before the account counts as dead.
            for _ in range(math.ceil(self._times.lag / self._times.poll) if error.maybe_late else 0):
                await asyncio.sleep(self._times.poll)
                newest = self._newest(account)
                if _is_other(newest, account):
                    return newest
            raise
        finally:
            self._committed.discard(account.id)
            if self._rotations.unsaved_account(account.id) is None:
                await self._unlock(account.id)

    async def _unlock(self, id: str) -> None:
        with suppress(StoreError):  # then it ends by itself
            await self._store.unlock(_lock_name(id), self._holder)


def _is_other(newest: Account, account: Account) -> bool:
    """Whether there are other credentials by now."""
    return newest.tokens != account.tokens


def _lock_name(id: str) -> str:
    return f"renew:{id}"


def _margin(account: Account) -> float:
    """A tenth of the access token's lifetime, in seconds; infinite where the token does not say how long it lives."""
    try:
        claims = read_claims(account.access_token or "")
    except ValueError:
        return math.inf
    if claims.expires is None or claims.issued is None:
        return math.inf
    return (claims.expires - claims.issued) * _OF_LIFETIME


def _closing() -> GatewayError:
    return UpstreamError("The gateway is shutting down", code="shutting_down", about=About.GATEWAY, sent=Sent.NEVER)
