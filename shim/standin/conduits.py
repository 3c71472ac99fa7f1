"""Conduit tokens: what a turn that was announced shows to be recognised (protocol.md 4.4).

Rule: a turn without one, or with one that has run out, is answered all the same; the statistics tell which it was.
"""

import base64
import secrets

import msgspec

from shim.standin.accounts import Clock
from shim.standin.memory import remember
from shim.standin.stats import Stats

LIFETIME = 7200.0  # seconds
NO_TOKEN = frozenset({"", "no-token"})


class Conduits:
    """The tokens handed out by f/conversation/prepare."""

    def __init__(self, clock: Clock, stats: Stats) -> None:
        self._clock = clock
        self._stats = stats
        self._until: dict[str, float] = {}

    def issue(self) -> str:
        """A token shaped like a JWT."""
        claims = {"sub": "conduit", "jti": secrets.token_hex(8), "exp": int(self._clock() + LIFETIME)}
        parts = (base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in ({"alg": "none"}, claims))
        token = b".".join((*parts, b"standin")).decode()
        remember(self._until, token, self._clock() + LIFETIME)
        self._stats.conduits["issued"] += 1
        return token

    def present(self, token: str) -> None:
        """Note with what a turn came."""
        if token not in NO_TOKEN:
            known = self._until.get(token, 0.0) > self._clock()
            self._stats.conduits["presented" if known else "unknown"] += 1
