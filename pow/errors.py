"""Everything that can go wrong while solving a proof of work.

    PowError
     ├── ProofNotSolvedError    every attempt allowed was used; ask upstream for a new challenge
     ├── SolverBusyError        too much work is waiting already; nothing was tried
     ├── SolverClosedError      the solver is shutting down or shut down
     └── SolverBrokenError      the solving process died, and so did its replacement

Rule: a malformed challenge, config or profile is the caller's `ValueError`, not one of these.
"""


class PowError(Exception):
    """Base of the errors a `Solver` raises."""


class ProofNotSolvedError(PowError):
    """No accepted proof within the allowed attempts (protocol.md 2.3: never send the unsolved form instead)."""


class SolverBusyError(PowError):
    """A proof would have to wait longer than the solver lets anyone wait; in `retry_after` seconds it should not."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SolverClosedError(PowError):
    """The solver was closed before the proof was found."""


class SolverBrokenError(PowError):
    """A solving process died twice in a row on the same piece of work."""
