"""The part about selection: how long it takes to choose the account for a turn among 1,000.

Rule: what is measured is the pool's own `lease` and `end`, as every turn makes them, not the scan alone.
"""

import itertools
import time
from collections.abc import Callable
from statistics import median

from scripts.benchmark.report import Row, rows_of
from scripts.benchmark.sizes import Sizes
from shim.accounts.account import Account, Condition
from shim.accounts.pool_state import PoolState
from shim.accounts.states import Limited, Unused

_ACCOUNTS = 1000
# Any time will do; none passes, so that no cool-down ends while it is measured.
_NOW = 1_000_000.0
_SLUGS = ("gpt-5", "gpt-5-thinking")
_MODELS = (*(f"model-{number}" for number in range(10)), _SLUGS[-1])
# Microseconds: what a turn may cost of a loop that has other turns waiting.
_AIM = 150.0


def selection(sizes: Sizes, tell: Callable[[str], None]) -> list[Row]:
    """Microseconds a turn, against a bare `min()` over as many numbers."""
    ranks = [(float(number), number) for number in range(_ACCOUNTS)]
    bare = _microseconds(sizes, lambda: min(ranks))
    # All but the last are limited, and each has to be looked at.
    cooling = _pool()
    for number in range(_ACCOUNTS - 1):
        cooling.report(f"account {number}", Limited(_NOW + 3600), _NOW)
    ids = itertools.count()
    rows, row = [], rows_of("selection", "us", "bare min()")
    for name, pool in (("all ready", _pool()), ("worst order", _pool(falling=True)), ("all but one cooling", cooling)):
        tell(f"selection, {name}")
        measured = _microseconds(
            sizes,
            lambda pool=pool: pool.end(pool.lease(_SLUGS, _NOW, slot_id=str(next(ids))), Unused(), _NOW),  # type: ignore[misc]
        )
        rows.append(row(f"Choosing among {_ACCOUNTS:,} accounts, {name}", baseline=bare, measured=measured, aim=_AIM))
    return rows


def _pool(*, falling: bool = False) -> PoolState:
    """With `falling`, each account was used before the one ahead of it in the pool: every comparison finds a better."""
    pool = PoolState(4)
    for number in range(_ACCOUNTS):
        used = float(_ACCOUNTS - number if falling else number)
        account = Account(f"account {number}", access_token="token", expires=_NOW * 2)  # noqa: S106  nobody's
        pool.add(account, Condition(last_used=used), _NOW)
        pool.learn(account.id, _MODELS)
    return pool


def _microseconds(sizes: Sizes, call: Callable[[], object]) -> float:
    """The median over many calls: others on the machine make single ones slow."""
    taken = []
    for _ in range(sizes.repeats * 40):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return median(taken) * 1e6
