"""The stand-in upstream: a scripted ChatGPT web backend for the demo, the tests and the bench.

Rule: it is an independent reading of the protocol. It imports nothing of the client side (only `pow`), so that a
misreading on the client side fails here instead of being shared.
"""

from shim.standin.accounts import Account, make_access_token, make_refresh_token, make_session_token
from shim.standin.app import create_standin
from shim.standin.options import StandinOptions
from shim.standin.server import RunningStandin, serve_standin

__all__ = [
    "Account",
    "RunningStandin",
    "StandinOptions",
    "create_standin",
    "make_access_token",
    "make_refresh_token",
    "make_session_token",
    "serve_standin",
]
