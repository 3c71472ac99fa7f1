"""Proof of work for the ChatGPT web backend: what is asked, how it is checked, and how it is found.

Rule: this package never imports `shim`; every module but `solver` and its `children` is pure and synchronous.
"""

from pow.challenge import Challenge
from pow.errors import PowError, ProofNotSolvedError, SolverBrokenError, SolverBusyError, SolverClosedError
from pow.hashing import LANES
from pow.profile import ClientProfile, proof_config
from pow.proof import digest, encode, requirements_token, search, verify, verify_requirements_token
from pow.solver import Solver

__all__ = [
    "LANES",
    "Challenge",
    "ClientProfile",
    "PowError",
    "ProofNotSolvedError",
    "Solver",
    "SolverBrokenError",
    "SolverBusyError",
    "SolverClosedError",
    "digest",
    "encode",
    "proof_config",
    "requirements_token",
    "search",
    "verify",
    "verify_requirements_token",
]
