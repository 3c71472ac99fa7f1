"""The next lease for a turn that is tried until it is had."""

import asyncio
from collections.abc import Callable

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease, Leases, is_shortage
from shim.accounts.outcomes import Attempt, Tries
from shim.errors import GatewayError, UpstreamError


async def next_lease(
    leases: Leases, caller: Caller, model: str, owner: str | None, *, tries: Tries, now: Callable[[], float]
) -> AccountLease:
    """A lease with an account that was not tried yet. What failed before decides whether to wait first (where there is
    nobody else), and what is told where there is none. Raises GatewayError."""
    while True:
        if tries.alone and isinstance(tries.failure, UpstreamError):
            await asyncio.sleep(tries.pause())
        try:
            return await leases.take(caller, model, tries.tried, owner)
        except GatewayError as error:
            if not is_shortage(error):
                tries.note(error, Attempt(), None, now())
            elif isinstance(tries.failure, UpstreamError) and tries.tried:
                await asyncio.sleep(tries.pause())
                tries.tried = frozenset()
            else:
                raise tries.failure if tries.failure is not None and caller.own is not None else error from error
