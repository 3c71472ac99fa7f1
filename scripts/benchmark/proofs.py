"""The part about proof of work: how fast the search is, and how late it makes an event loop.

Rule: the loop's lateness is read with `time.perf_counter`, because uvloop's own clock is only good to a millisecond.
"""

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import uvloop

from pow import LANES, Challenge, ClientProfile, PowError, Solver, encode, plain, proof_config, search
from pow.hashing import Find
from scripts.benchmark.report import Row
from scripts.benchmark.sizes import Sizes

_TICK = 0.005
# The seed of protocol.md 2.6, and the hardest difficulty that is tried at all (2.3).
_SEED = "0.6180339887"
_DIFFICULTY = "000032"
# No hash is all zeros, so the search makes every attempt it is allowed.
_UNSOLVABLE = Challenge(_SEED, "0" * 128)
_CONFIG = proof_config(
    ClientProfile(), now=datetime(2024, 1, 1, tzinfo=UTC), performance_ms=1234.5, session_id=f"{0:032x}"
)
# Times what plain Python finds, by how many attempts one core makes at once.
_AIMS = {"4 at once": 3.0, "8 at once": 6.0}
_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}


def proofs(sizes: Sizes, tell: Callable[[str], None]) -> list[Row]:
    """Attempts per second against bare hashing, and lateness while proofs are solved against idling."""
    rows = _rates(sizes, tell)
    for name, new_loop in _LOOPS.items():
        tell(f"lateness of {name}")
        with asyncio.Runner(loop_factory=new_loop) as runner:
            idle, solving = runner.run(_lateness(sizes.solving_seconds))
        rows += [
            Row(
                part="pow",
                name=f"{name} late while solving {_DIFFICULTY}, {label}",
                unit="ms",
                baseline=_quantile(idle, share) * 1000,
                baseline_name="idle loop",
                measured=_quantile(solving, share) * 1000,
                aim=aim,
            )
            for label, share, aim in (("median", 0.5, None), ("p99", 0.99, 3.0))
        ]
    return rows


def _rates(sizes: Sizes, tell: Callable[[str], None]) -> list[Row]:
    """What one core finds, in Python against bare hashing, and compiled against Python, for each width there is."""

    def hash_alone() -> None:
        message = (_SEED + encode(_CONFIG)).encode()
        for _ in range(sizes.attempts):
            hashlib.sha3_512(message).digest()

    finders: list[tuple[str, Find, str, Callable[[], object]]] = [
        ("in Python", plain.find, "bare sha3_512", hash_alone),
    ]
    in_python = functools.partial(search, _UNSOLVABLE, _CONFIG, start=10**5, attempts=sizes.attempts, find=plain.find)
    for width in (1, 4, 8):
        if width <= LANES:
            from pow import _sha3  # noqa: PLC0415  it is only there where LANES says so

            def find_at_once(*order: Any, width: int = width) -> int | None:
                return _sha3.find(*order, width)

            finders.append((f"{width} at once", find_at_once, "in Python", in_python))
    rows = []
    for name, find, baseline_name, baseline in finders:
        found, beside = [], []
        for turn in range(sizes.repeats):
            tell(f"attempts per second, {name}, {turn + 1} of {sizes.repeats}")
            searching = functools.partial(search, _UNSOLVABLE, _CONFIG, start=10**5, attempts=sizes.attempts, find=find)
            found.append(_per_second(sizes.attempts, searching))
            beside.append(_per_second(sizes.attempts, baseline))
        rows.append(
            Row(
                part="pow",
                name=f"Attempts per second, {name}",
                unit="1/s",
                # The best of each, because others on the machine only ever make it slower.
                baseline=max(beside),
                baseline_name=baseline_name,
                measured=max(found),
                aim=max(beside) * _AIMS[name] if name in _AIMS else None,
            )
        )
    return rows


def _per_second(attempts: int, work: Callable[[], object]) -> float:
    began = time.process_time()  # what others do on this core is not our business
    work()
    return attempts / (time.process_time() - began)


async def _lateness(seconds: float) -> tuple[list[float], list[float]]:
    """How late each tick came, without and with proofs being solved all the while."""
    solver = Solver(workers=1)

    async def solve_on() -> None:
        for number in range(1_000_000):
            with contextlib.suppress(PowError):
                await solver.solve(Challenge(f"0.{number}", _DIFFICULTY), _CONFIG)

    try:
        idle = await _ticks(seconds)
        solving = asyncio.create_task(solve_on())
        await asyncio.sleep(0.5)  # workers start with the first hard proof
        late = await _ticks(seconds)
        solving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await solving
        return idle, late
    finally:
        await solver.close()


async def _ticks(seconds: float) -> list[float]:
    late = []
    end = time.perf_counter() + seconds
    while (before := time.perf_counter()) < end:
        await asyncio.sleep(_TICK)
        late.append(time.perf_counter() - before - _TICK)
    return late


def _quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
