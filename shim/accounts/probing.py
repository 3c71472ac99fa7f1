"""Trying an account because a person asks how it is doing."""

from collections.abc import Callable

from shim.accounts.leases import Leases
from shim.accounts.outcomes import event_of
from shim.accounts.states import State
from shim.accounts.views import AccountView
from shim.errors import GatewayError
from shim.protocol.models import AUTO
from shim.protocol.turn.renewal import DeadCredentialError

# What a probe that went well proves wrong. Limits are not among it: those end when upstream has said.
_DISPROVED = frozenset({State.PARKED, State.EXPIRED})


class AccountProber:
    """Asks upstream for the state of accounts of the pool. `now` gives seconds since 1970."""

    def __init__(self, leases: Leases, now: Callable[[], float]) -> None:
        self._leases, self._now = leases, now

    async def probe(self, id: str) -> AccountView | None:
        """Try an account of the pool: renew it where that can be done, and ask for its models. None where it is not
        there. What that showed is in the view."""
        pool = self._leases.pool
        try:
            account = await pool.renew(id)
            if account is None:
                return None
            identity = self._leases.identity_of(account)
            pool.learn(id, (await self._leases.fetch(identity)).slugs)
            view = pool.view(id)
            if view is not None and view.state in _DISPROVED:
                await pool.reset(id)
        except DeadCredentialError:
            pass  # the renewal has parked it
        except GatewayError as error:
            pool.report(id, event_of(error, slug=AUTO, renewable=False, now=self._now()))
        return pool.view(id)
