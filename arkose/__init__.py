"""Arkose tokens from the operator's own token service (protocol.md 3).

Rule: this package never imports `shim`, and never solves anything itself.
"""

from arkose.client import ArkoseClient
from arkose.errors import ArkoseError

__all__ = ["ArkoseClient", "ArkoseError"]
