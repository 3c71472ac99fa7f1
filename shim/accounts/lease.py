"""What the pool hands out: a lease on an account, or the reason why there is none.

Rule: the pool says what is the case, whoever asked decides what it means (wait, try again, 404, 429).
"""

import enum
from collections.abc import Mapping

import msgspec

from shim.accounts.account import Account
from shim.accounts.states import Succeeded


class Lease(msgspec.Struct, frozen=True):
    """The right to make one turn with an account, on `slug`. It ends with `PoolState.end`.

    Where `needs_renewal`, there is no good access token now: the account has to be renewed first, and
    `PoolState.leased(lease)` then has the new one.
    """

    id: str
    account: Account
    slug: str
    begun: float
    needs_renewal: bool = False

    def succeeded(self) -> Succeeded:
        """The event for a turn that went well."""
        return Succeeded(self.slug, self.begun)


class Shortage(enum.Enum):
    """Why there is no account for a turn."""

    EMPTY = "there are no accounts"
    GONE = "the account that owns the conversation is not here any more"
    NO_MODEL = "no account has this model"
    BUSY = "every account that could serve is at its limit of concurrent turns"
    TRIED = "every account that could serve has been tried"
    LATER = "every account that could serve has to wait"
    NEVER = "no account that could serve is good any more"


class NoAccountError(Exception):
    """No lease. `retry_after` is the seconds until an account is usable by time alone (LATER only). `counts` says of
    how many suitable accounts why not; it is left empty for BUSY, which is asked often and says enough."""

    def __init__(
        self, shortage: Shortage, retry_after: float | None = None, counts: Mapping[str, int] | None = None
    ) -> None:
        self.shortage = shortage
        self.retry_after = retry_after
        self.counts = dict(counts or {})
        listed = ", ".join(f"{number} {why}" for why, number in sorted(self.counts.items()))
        super().__init__(f"{shortage.value} ({listed})" if listed else shortage.value)

    @property
    def busy(self) -> bool:
        """Whether the end of another turn is worth waiting for."""
        return self.shortage is Shortage.BUSY
