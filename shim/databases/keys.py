"""The operator's keys (STORE_KEY), which seal secrets at rest (Fernet: AES-128-CBC with an HMAC)."""

from collections.abc import Sequence
from typing import Protocol

from shim.databases import DatabaseError


def new_key() -> str:
    """A fresh random key, in the form a setting takes."""
    from cryptography.fernet import Fernet  # noqa: PLC0415  only where it is asked for

    return Fernet.generate_key().decode("ascii")


class Box(Protocol):
    """What MultiFernet does for us."""

    def encrypt(self, msg: bytes) -> bytes: ...

    def decrypt(self, msg: bytes | str) -> bytes: ...


def box_of(keys: Sequence[str]) -> Box:
    """The first key seals, every key opens. Raises DatabaseError for a key that is none."""
    from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415  only where there are keys

    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise DatabaseError("a key in STORE_KEY is not a Fernet key (44 characters of URL-safe base64)") from None
