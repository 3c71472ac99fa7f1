"""Keys of the gateway's own, beside those of AUTHORIZATION: who may call, which models, and how much.

    chat2api keys, admin API ──add, rotate, remove──> KeyStore (a file in DATA_DIR, or Redis)
    a call ──find──> ApiKeys (memory, follows the store) ──enter──> KeyStore (limits, over all gateways) ──leave──> …

Rules:
* a key is shown once, when it is made; what is kept is its SHA-256, which is enough for 256 random bits;
* a key without limits costs no call to the store; one with limits is refused (503) while the store is away, for
  nobody could tell whether it is over them.
"""

from shim.keys.base import LAST_SECOND, ApiKey, KeyLimits, KeyStoreError, KeyUse, Standing, UnfitKeyError
from shim.keys.keys import ApiKeys, Pass, open_keys

__all__ = [
    "LAST_SECOND",
    "ApiKey",
    "ApiKeys",
    "KeyLimits",
    "KeyStoreError",
    "KeyUse",
    "Pass",
    "Standing",
    "UnfitKeyError",
    "open_keys",
]
