"""Access tokens that are good: renewed ahead of their end, once, however many ask and wherever they run.

    fresh ──good──> the account                      many callers, one task (single flight, shielded)
      └─due──> lock ──> catch up ──> exchange ──> store ──> told
                 └─ taken: wait for what the other one stores

Rules: a refresh token is sent by one process at a time, and only if it is the newest. The lock keeps others away, but
whoever had it just before may have stored a newer token: so, under the lock, what others changed is read first. No
lock, no exchange: a refresh token used twice costs the account, a token a minute late costs one try. What an exchange
brought is stored before it is used (`rotations`).
"""

import asyncio
import logging
import math
import zlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from shim.accounts.account import Account, read_claims
from shim.accounts.rotations import Latest, Rotation, Rotations, Tell
from shim.accounts.stores.base import Store, StoreError
from shim.errors import DeadlineError, GatewayError, UpstreamError
from shim.protocol.commands import Handshake
from shim.protocol.turn.renewal import DeadCredentialError, Fresh, Places, renewal_of
from shim.transport.base import ConnectionKey

log = logging.getLogger("chat2api")

T = TypeVar("T")
Exchange = Callable[[Account], Awaitable[Fresh]]
Clock = Callable[[], float]

_BUSY = "renewal_busy"
_OF_LIFETIME = 0.1  # a short-lived token is renewed in its last tenth
# What upstream also says to the slower of two who sent the same token.
_MAYBE_LATE = frozenset({"refresh_token_reused", "invalid_grant"})


class RenewalTimes(msgspec.Struct, frozen=True):
    """Seconds, and counts. `lease` must be longer than `exchange`, and `patience` longer than `lease`.

    ahead: what an access token must have left. exchange: for one call. lease: of the lock. patience: for somebody
    else's renewal. poll, lag, max_save_delay: see Rotations. tries, delay, max_delay: transient failures within one
    call; delay doubles. rest: after these, while the access token is still good. closing: for exchanges under way at
    the end.
    """

    ahead: float = 300.0
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
    places: Callable[[Account], Places],
    connection: Callable[[Account], ConnectionKey],
    clock: Clock,
) -> Exchange:
    """The exchange over a driver: where an account is renewed, and over which connections."""

    async def exchange(account: Account) -> Fresh:
        return await driver.run(renewal_of(account, places(account), clock()), connection(account))

    return exchange


class Renewals:
    """One of these a process; `holder` names it among all that share the store.

    `latest` and `tell` are the pool's: see Rotations. `catch_up` asks the store for what others changed, so that when
    it returns, `latest` knows all of it; it raises StoreError. `jitter` gives a number from 0 to 1, `clock` seconds
    since 1970.
    """

    def __init__(
        self,
        store: Store,
        exchange: Exchange,
        *,
        latest: Latest,
        tell: Tell,
        catch_up: Callable[[], Awaitable[None]],
        holder: str,
        clock: Clock,
        jitter: Callable[[], float],
        times: RenewalTimes | None = None,
    ) -> None:
        self._store = store
        self._exchange = exchange
        self._latest = latest
        self._catch_up = catch_up
        self._holder = holder
        self._clock = clock
        self._jitter = jitter
        self._times = times = times or RenewalTimes()
        self._rotations = Rotations(store, latest, tell, poll=times.poll, lag=times.lag, max_delay=times.max_save_delay)
        self._under_way: dict[str, asyncio.Task[Account]] = {}
        self._committed: set[str] = set()
        self._resting: dict[str, float] = {}
        self._closed = False

    @property
    def unsaved(self) -> int:
        """How many renewed accounts the store does not have yet (for health; 0 is well)."""
        return self._rotations.unsaved

    async def fresh(self, account: Account) -> Account:
        """The account with an access token that is good for a while: as it is, or renewed.

        Raises DeadCredentialError where a person has to log in again (park it), GatewayError where it may work later.
        """
        newest = self._newest(account)
        if self._is_good(newest):
            return newest
        try:
            return await self._renewed(newest)
        except DeadCredentialError:
            raise
        except GatewayError:
            if newest.is_fresh(self._clock()):  # there was time left, and there still is
                return newest
            raise

    async def renew(self, account: Account) -> Account:
        """The account with another access token than it has here: for when upstream has refused that one.

        Raises like `fresh`.
        """
        newest = self._newest(account)
        return newest if _is_other(newest, account) else await self._renewed(newest)

    async def keep_fresh(
        self, accounts: Iterable[Account], *, ahead: float = 3600.0, at_once: int = 4, pause: float = 0.0
    ) -> dict[str, GatewayError]:
        """Renew those whose token runs out within `ahead` seconds or so; returns why some could not be, by id.

        Spread in three ways: each account comes due at a time of its own between `ahead` and twice that, `at_once` go
        on at the same time, and each waits up to `pause` seconds first. Accounts that never were used are left alone.
        """
        now = self._clock()
        due = sorted((one for one in accounts if self._is_due(one, now, ahead)), key=lambda one: one.expires or 0.0)
        failed: dict[str, GatewayError] = {}
        waiting = iter(due)
        await asyncio.gather(*(self._work_off(waiting, failed, pause) for _ in range(min(at_once, len(due)))))
        return failed

    async def close(self) -> None:
        """Let go: what only waits is ended; an exchange is awaited, as its answer may carry a refresh token."""
        self._closed = True
        tasks = dict(self._under_way)
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

    def _is_good(self, account: Account) -> bool:
        """Whether there is nothing to do, or nothing that could be done."""
        now = self._clock()
        if account.is_fresh(now, self._times.ahead):
            return True
        if not account.renewable or now < self._resting.get(account.id, 0.0):
            return account.is_fresh(now)
        return account.is_fresh(now, min(self._times.ahead, _margin(account)))

    def _is_due(self, account: Account, now: float, ahead: float) -> bool:
        if account.access_token is None or not account.renewable or now < self._resting.get(account.id, 0.0):
            return False
        ahead *= 1 + _share(account.id)
        return not account.is_fresh(now, ahead) and not account.is_fresh(now, min(ahead, _margin(account)))

    async def _work_off(self, waiting: Iterator[Account], failed: dict[str, GatewayError], pause: float) -> None:
        for account in waiting:
            await asyncio.sleep(pause * self._jitter())
            try:
                await self.renew(account)
            except GatewayError as error:
                failed[account.id] = error

    # --- single flight ----------------------------------------------------------------------------------------------

    async def _renewed(self, account: Account) -> Account:
        """The renewal of this account that is under way, or a new one. A caller that leaves does not end it."""
        if self._closed:
            raise _closing()
        if not account.renewable:
            raise DeadCredentialError("not_renewable" if account.is_fresh(self._clock()) else "token_expired")
        task = self._under_way.get(account.id)
        if task is None:
            task = self._under_way[account.id] = asyncio.create_task(self._renew(account))
            task.add_done_callback(partial(self._ended, account.id))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._closed:
                raise _closing() from None
            raise

    def _ended(self, id: str, task: "asyncio.Task[Account]") -> None:
        """Also looks at the outcome, for nobody else may be there to do it."""
        del self._under_way[id]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._resting.pop(id, None)
            log.info("account %s: renewed", id)
        elif isinstance(error, GatewayError):
            log.warning("account %s: not renewed (%s)", id, error.code)
            self._resting[id] = self._clock() + max(self._times.rest, error.retry_after or 0.0)

    async def _renew(self, account: Account) -> Account:
        """A few tries. What upstream limits is not tried again: the limit is honoured."""
        for attempt in range(1, self._times.tries + 1):
            try:
                return await self._once(account)
            except UpstreamError as error:
                if attempt == self._times.tries or self._closed or error.code == _BUSY:
                    raise
            await asyncio.sleep(self._delay(attempt))
        raise AssertionError("unreachable: the last try returns or raises")

    def _delay(self, attempt: int) -> float:
        whole = min(self._times.max_delay, self._times.delay * 2.0 ** (attempt - 1))
        return whole * (1 + self._jitter()) / 2

    # --- one exchange among all processes ---------------------------------------------------------------------------

    async def _once(self, account: Account) -> Account:
        """Renew it, or wait until somebody else has."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._times.patience
        while loop.time() < until:
            newest = await self._lock(account)
            if newest is None:
                newest = self._newest(account)
            elif not _is_other(newest, account):
                return await self._exchange_locked(newest)
            else:
                await self._unlock(account.id)
            if _is_other(newest, account):
                return newest
            await asyncio.sleep(self._times.poll)
        raise UpstreamError("Another process has not finished renewing this account", code=_BUSY)

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
            raise UpstreamError("The store of accounts is away: no renewals", code="store_unavailable") from error
        return self._newest(account)

    async def _exchange_locked(self, account: Account) -> Account:
        """The lock is left to its lease where the new token is not stored, so that nobody sends the old one."""
        self._committed.add(account.id)
        try:
            return await self._rotations.keep(Rotation(account, await self._ask(account)))
        except DeadCredentialError as error:
            if error.reason in _MAYBE_LATE and (newer := await self._newer_than(account)) is not None:
                return newer
            raise
        finally:
            self._committed.discard(account.id)
            if self._rotations.unsaved_account(account.id) is None:
                await self._unlock(account.id)

    async def _ask(self, account: Account) -> Fresh:
        try:
            async with asyncio.timeout(self._times.exchange):
                return await self._exchange(account)
        except TimeoutError as error:
            raise DeadlineError(f"No new access token within {self._times.exchange:g} s") from error

    async def _newer_than(self, account: Account) -> Account | None:
        """A process that could not store its exchange may do so only now: look once more before the account is dead."""
        for _ in range(math.ceil(self._times.lag / self._times.poll)):
            await asyncio.sleep(self._times.poll)
            newest = self._newest(account)
            if _is_other(newest, account):
                return newest
        return None

    async def _unlock(self, id: str) -> None:
        with suppress(StoreError):  # then it ends by itself
            await self._store.unlock(_lock_name(id), self._holder)


def _is_other(newest: Account, account: Account) -> bool:
    """Whether there are other credentials by now. (A version says less: it rises with whatever is noted of them.)"""
    return (newest.access_token, newest.refresh_token, newest.session_token) != (
        account.access_token,
        account.refresh_token,
        account.session_token,
    )


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


def _share(id: str) -> float:
    """From 0 to 1, always the same for an id."""
    return zlib.crc32(id.encode()) / 2**32


def _closing() -> GatewayError:
    return UpstreamError("The gateway is shutting down", code="shutting_down")
