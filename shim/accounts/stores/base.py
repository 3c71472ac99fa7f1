"""The one interface of the stores. Both pass the same test suite.

Rules:
* when `add`, `save_account`, `save_condition` or `remove` returns, a `kill -9` loses nothing of it;
* a credential is saved by compare-and-set on its version, so that a late writer never brings back a token that has
  been rotated away; a condition is last writer wins; uses are added up;
* claims and locks are leases: they end by themselves, so that a machine that died holds nothing for ever;
* a store that can't be reached raises StoreError; the pool then continues from memory and tries again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from shim.accounts.account import Account, Condition


class StoreError(Exception):
    """The store can't be reached or read. The text names it without credentials."""


class StoreEmptiedError(StoreError):
    """The store came back empty although it was not cleared, so the only copy is the one in memory."""


class Change(msgspec.Struct, frozen=True):
    """What another process did to one account: its new state, or None for both where it is gone."""

    id: str
    account: Account | None
    condition: Condition | None


class Store(Protocol):
    """Accounts that outlive the process. All times are in seconds."""

    async def open(self) -> None:
        """Connect, and bring an older format up to date. Raises StoreError; it may then be called again."""
        ...

    async def close(self) -> None:
        """Disconnect. Safe to call twice, and without `open`."""
        ...

    async def load(self) -> list[tuple[Account, Condition]]:
        """Everything, in the order it was added."""
        ...

    async def add(self, accounts: Sequence[Account]) -> list[bool]:
        """Keep new accounts; for each whether it was new. One that is there already stays as it is."""
        ...

    async def save_account(self, account: Account) -> bool:
        """Put `account` (whose version is one more than the one kept) in place. False where somebody was first, or it
        is gone: then nothing has changed. True where exactly this is kept already, so that a call whose answer was lost
        can be made again."""
        ...

    async def save_condition(self, id: str, condition: Condition) -> None:
        """Put how an account is doing in place (all but `last_used` and `turns`). Nothing happens where it is gone."""
        ...

    async def add_uses(self, uses: Mapping[str, tuple[float, int]]) -> None:
        """For each id: (last used, further turns). Need not survive a kill."""
        ...

    async def remove(self, ids: Sequence[str] | None) -> int:
        """Forget these accounts, or all of them (None); how many there were."""
        ...

    async def changes(self) -> list[Change]:
        """What other processes have changed since the last call (or since `load`), oldest first; [] where nothing.
        Uses alone are no change. Cheap enough to be asked several times a second."""
        ...

    async def claim(self, id: str, lease: str, limit: int, seconds: float) -> bool:
        """Atomically: one more lease on an account that has fewer than `limit`, over all processes. The claim ends by
        itself after `seconds`; a lease that has one gets it prolonged. Of a call that failed or was cancelled it is not
        known whether it claimed: release it."""
        ...

    async def release(self, id: str, lease: str) -> None:
        """Give a claim back. Nothing happens where it has ended."""
        ...

    async def prolong(self, claims: Sequence[tuple[str, str]], seconds: float) -> None:
        """These claims, each an id and a lease, end `seconds` from now. One that has ended meanwhile begins again,
        whatever the limit: its turn is under way."""
        ...

    async def release_held_by(self, holds: Callable[[str], bool]) -> int:
        """Give back every claim whose lease begins with "holder/" for a holder of which this is true; how many."""
        ...

    async def lock(self, name: str, holder: str, seconds: float) -> bool:
        """Atomically: `holder` has `name` for `seconds` from now, if nobody else has."""
        ...

    async def unlock(self, name: str, holder: str) -> None:
        """Give `name` back, if `holder` still has it."""
        ...
