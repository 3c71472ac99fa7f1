"""The next account for a turn that is tried until it is had."""

import asyncio
from collections.abc import Callable

from shim.accounts.credentials import Caller
from shim.accounts.leases import AccountLease, Leases, is_shortage
from shim.accounts.outcomes import Attempt, Tries, is_refusal
from shim.errors import GatewayError


async def next_lease(
    leases: Leases, caller: Caller, model: str, owner: str | None, *, tries: Tries, now: Callable[[], float]
) -> AccountLease:
    """A lease on an account that was not tried yet. What failed before decides whether to wait first (where there is
    nobody else), and what is told where there is none. Raises GatewayError."""
    while True:
        if tries.waits or (tries.alone and tries.may_pass):
            await asyncio.sleep(tries.pause())
        only = tries.again or owner
        tries.waits, tries.again = False, None
        try:
            return await leases.take(caller, model, tries.tried, only)
        except GatewayError as error:
            if is_shortage(error):
                shortage = error
            else:
                tries.note(error, Attempt(), None, now())
                continue
        if tries.may_pass and tries.tried:
            await asyncio.sleep(tries.pause())
            tries.tried = frozenset()
        elif tries.failure is not None and (caller.own is not None or is_refusal(tries.failure)):
            raise tries.failure  # outside of `except`, so that nothing is hung onto an error that others hold, too
        else:
            raise shortage
