"""The account loop: a turn is tried with one account after another, until it is had or there is nothing left to try.

Rule: every turn of the gateway goes through here, also those of the backend API. An attempt gives its lease on to what
it returns; of one that fails, the lease is ended here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease, Leases, is_shortage
from shim.accounts.outcomes import Attempt, Tries, is_refusal
from shim.errors import CredentialError, GatewayError, UpstreamError
from shim.exchange.calls import Calls, Route

if TYPE_CHECKING:
    from shim.exchange.live_turn import LiveTurn

T = TypeVar("T")
log = logging.getLogger("chat2api")


class Attempted:
    """What was tried for one client call: how many turns, the last one's account, and the last one that upstream has
    taken, be it at its head or not."""

    def __init__(self) -> None:
        self.live: LiveTurn | None = None
        self.tries = 0
        self.account: str | None = None


class Seeker(msgspec.Struct, frozen=True):
    """Who needs an account for a turn, on which model; `owner` is the only one that will do, None: any. `prefer` is the
    one to take where it can take the turn now. `is_turn` is False for a call that goes the same way and is none."""

    caller: Caller
    model: str
    owner: str | None
    attempted: Attempted
    prefer: str | None = None
    is_turn: bool = True


class AccountLoop:
    """One for each worker. `now` gives seconds since 1970."""

    def __init__(self, leases: Leases, calls: Calls, now: Callable[[], float]) -> None:
        self._leases, self._calls, self._now = leases, calls, now

    async def run(
        self, seeker: Seeker, tries: Tries, attempt: Callable[[AccountLease, Route, Attempt], Awaitable[T]]
    ) -> T:
        """What the first attempt gives that does not fail. Where one fails before upstream has taken the turn, another
        account is tried at once (or, where there is none, the same way again after a pause), as long as there are
        `tries`. Raises GatewayError, that of the last attempt."""
        while True:
            lease = await self._next_lease(seeker, tries)
            # How far this attempt got decides whether there may be another (protocol.md 9.3).
            made = Attempt()
            seeker.attempted.tries += 1
            seeker.attempted.account = lease.account_id
            # After the lease, for a route is kept by identity: the same account goes the same way while it works.
            route = self._calls.route(lease.identity)
            try:
                return await attempt(lease, route, made)
            except GatewayError as error:
                self.failed(error, lease, route, made, tries)
            except BaseException:  # cancelled, mostly: the client has gone
                lease.left()
                raise

    def failed(self, error: GatewayError, lease: AccountLease, route: Route, attempt: Attempt, tries: Tries) -> None:
        """An attempt failed: what that says of route and account is noted. Raises `error` where it was the last one."""
        if isinstance(error, UpstreamError):
            self._calls.failed(error, route)
        if tries.asks_again(error, attempt, lease.account_id, self._now()):
            lease.left()
        else:
            lease.failed(error, self._now())
            tries.note(error, attempt, lease.account_id, self._now(), renewable=lease.renewable)
        log.info("turn failed (%s), trying again", error.code)

    async def _next_lease(self, seeker: Seeker, tries: Tries) -> AccountLease:
        """A lease on an account that was not tried yet. What failed before decides whether to wait first (where there
        is nobody else), and what is told where there is none. Raises GatewayError."""
        while True:
            if tries.waits or (tries.alone and tries.may_pass):
                await asyncio.sleep(tries.pause())
            only = tries.again or seeker.owner
            tries.waits, tries.again = False, None
            try:
                lease = await self._leases.take(seeker.caller, seeker.model, tries.tried, only, prefer=seeker.prefer)
            except GatewayError as error:
                # Nobody is left to be tried. Any other error is of one account (its renewal failed), and uses a try up.
                if is_shortage(error):
                    shortage = error
                else:
                    tries.note(error, Attempt(), None, self._now())
                    continue
            else:
                lease.is_turn = seeker.is_turn
                return lease
            if tries.may_pass and tries.tried:
                # All have failed by something that passes: they are asked once more, from the first.
                await asyncio.sleep(tries.pause())
                tries.tried = frozenset()
            elif tries.failure is not None and (
                seeker.caller.own is not None
                or is_refusal(tries.failure)
                # What is no turn lets no account rest for a limit, so that the shortage would not say what it is.
                or (not seeker.is_turn and not isinstance(tries.failure, CredentialError))
            ):
                raise tries.failure  # outside of `except`, so that nothing is hung onto an error that others hold, too
            else:
                raise shortage
