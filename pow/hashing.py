"""Which of the two solvers is here: the compiled one, or its twin in Python where nothing was compiled."""

from collections.abc import Callable
from typing import TypeAlias

from pow import plain

Find: TypeAlias = Callable[[bytes, bytes, bytes, bytes, int, int, bytes], int | None]

LANES = 0
"""How many messages the compiled solver hashes at once on this processor; 0 where there is no compiled solver."""

NICENESS = 15
"""How far hard work steps back behind the event loop. Beside four hard proofs on two busy cores a small request that
takes 1.5 ms took 3 ms at the median with a niceness of 10, 1.5 with 15; more would leave proofs no time at all.
Compiled work on Linux is idle (SCHED_IDLE) for as long as it gets on so: nine of ten small requests then came within
4 ms, where with 15 it was 8."""

find: Find = plain.find
find_nicely: Find = plain.find
"""The same for hard work; where it is not compiled, whole processes are nice instead."""

try:
    from pow import _sha3
except ImportError:  # it was not compiled, or for another kind of machine
    pass
else:
    find, LANES = _sha3.find, _sha3.LANES

    def find_nicely(  # noqa: PLR0917  as its twin has them
        seed: bytes, head: bytes, middle: bytes, tail: bytes, start: int, stop: int, highest: bytes
    ) -> int | None:
        return _sha3.find(seed, head, middle, tail, start, stop, highest, 0, NICENESS)


# Measured with messages of 300 and 600 bytes on a server of 2024; the slower figure of the two.
SECONDS_PER_ATTEMPT = {0: 2.5e-6, 1: 1.8e-6, 4: 0.8e-6, 8: 0.3e-6}[LANES]
"""What one attempt costs, roughly: good enough to tell easy challenges from hard ones."""
