"""Tokens at rest: sealed with a key of the operator's where there is one, else as they are.

Rules:
* the first key seals, every key opens (Fernet: AES-128-CBC with an HMAC), so that a key is replaced by putting the new
  one in front; sealed and plain tokens may be mixed, because a token is sealed when it is next written;
* what can't be opened is an error that says what to do, and never shows the token or the key;
* everything else about an account (user id, plan, times) is kept readable; of its mail address only what is shown is
  kept at all.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shim.accounts.account import Account
from shim.accounts.stores.base import StoreError
from shim.chatgpt.token import is_secret
from shim.databases import DatabaseError
from shim.databases.keys import box_of

TOKENS = tuple(filter(is_secret, Account.__struct_fields__))
_SEALED = "sealed:"
_PLAIN = "plain:"  # goes before a plain token that would be taken for a marked one


class Sealing:
    """Seals and opens the tokens of accounts. Without keys it opens plain ones only.

    Raises StoreError for an invalid key.
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        try:
            self._box = box_of(keys) if keys else None
        except DatabaseError as error:
            raise StoreError(str(error)) from None

    def seal(self, account: Account) -> Account:
        """The account as it is written."""
        written: dict[str, str] = {}
        for name, token in _tokens(account):
            if self._box is not None:
                written[name] = _SEALED + self._box.encrypt(token.encode()).decode("ascii")
            else:
                written[name] = _PLAIN + token if token.startswith((_SEALED, _PLAIN)) else token
        return msgspec.structs.replace(account, **written)

    def unseal(self, account: Account) -> Account:
        """The account as it was before `seal`. Raises StoreError where no key fits."""
        opened: dict[str, Any] = {name: self._opened(kept) for name, kept in _tokens(account)}
        return msgspec.structs.replace(account, **opened)

    def _opened(self, kept: str) -> str:
        if not kept.startswith(_SEALED):
            return kept.removeprefix(_PLAIN)
        if self._box is None:
            raise StoreError("the tokens in the store are sealed: set STORE_KEY to the key they were sealed with")
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  only where there are keys

        try:
            return self._box.decrypt(kept.removeprefix(_SEALED)).decode()
        except (InvalidToken, UnicodeDecodeError):
            raise StoreError(
                "a token in the store is damaged, or sealed with another key: add that key to STORE_KEY"
            ) from None


def _tokens(account: Account) -> list[tuple[str, str]]:
    return [(name, token) for name in TOKENS if (token := getattr(account, name)) is not None]
