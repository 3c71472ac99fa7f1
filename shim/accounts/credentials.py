"""From a client's bearer to who calls (protocol.md 8).

Rule: keys are compared in constant time; a token is read, never verified (upstream does that) and never logged.
"""

import hashlib
import hmac
import uuid
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from shim.accounts.account import Account, Credential, ForeignTokenError, account_of, id_of, parse_credential
from shim.errors import CredentialError
from shim.protocol.upstream import Identity

_BEARER = "bearer "
_OURS = ("eyJ", "fk-", "rt_")
_NO_KEY = "No API key provided: send one as 'Authorization: Bearer KEY'"
_WRONG_KEY = "Incorrect API key provided: it is neither a key of this gateway nor a token of an account"


class Caller(msgspec.Struct, frozen=True):
    """Who calls: somebody with a credential of their own, or (None) somebody who may use the pool. `key` is the name of
    the key they sent: `env-1` is the first one of AUTHORIZATION. Names are given again, to another key; a `key_id`
    never is (that of a key of the store; of one of AUTHORIZATION, its hash)."""

    own: Credential | None = None
    key: str | None = None
    key_id: str | None = None

    @property
    def label(self) -> str | None:
        """What the log and the usage call them: by the name of their key, or "own"; None for anybody."""
        return "own" if self.own is not None else self.key

    @property
    def scope(self) -> str:
        """What those have in common who may see the same things: one account's owner, all with one key, or (where no
        key is asked for) everybody."""
        if self.own is not None:
            return f"own {id_of(self.own)}"
        return f"key {self.key_id}" if self.key_id is not None else "open"


def caller_of(authorization: str | None, keys: Sequence[str], *, needs_key: bool = False) -> Caller:
    """Who an `Authorization` header (None: there was none) speaks for.

    A token stands for its own account. A key from `keys`, or anything where there are no keys, stands for the pool, and
    is login-free where that is empty; `needs_key` tells that there are others, which were tried before. Raises
    CredentialError (401) for a wrong key and for what only seems a token.

    What is not recognisably ChatGPT's is never taken for a token, however long: it would be sent upstream, and may be a
    mistyped key of ours or the secret of another service.
    """
    bearer = bearer_of(authorization)
    if bearer and keys:
        given = bearer.encode()
        # Every key is compared, and none by `==`: the time tells nothing of which one was near.
        places = [place for place, key in enumerate(keys) if hmac.compare_digest(given, key.encode())]
        if places:
            return Caller(key=f"env-{places[0] + 1}", key_id=hashlib.sha256(given).hexdigest()[:32])
    if bearer:
        try:
            return Caller(parse_credential(bearer))
        except ForeignTokenError:
            pass  # a key like any other, of some service that we are not
        except ValueError as error:
            if bearer.startswith(_OURS):
                raise CredentialError(f"The token can't be used: {error}") from None
    if keys or needs_key:
        raise CredentialError(_WRONG_KEY if bearer else _NO_KEY)
    return Caller()


def own_account(credential: Credential, now: float) -> Account:
    """The account of a caller's own credential. Raises CredentialError for a token whose time is over."""
    account = account_of(credential, now)
    if account.access_token is not None and not account.is_fresh(now):
        raise CredentialError("The access token has expired: sign in again and take a new one", code="token_expired")
    return account


def identity_of(account: Account | None, installation: uuid.UUID) -> Identity:
    """Who goes upstream: the account, always as the same device, or nobody in particular."""
    if account is None or account.access_token is None:
        return Identity(str(installation))
    device = _device_of(account.user or account.id, installation)
    return Identity(device, account.access_token, account.workspace_id, proxy=account.proxy_url)


# A turn asks for its account's, and making one takes 15 calls of functions. No secret is in it; what is forgotten comes
# out the same the next time.
@lru_cache(maxsize=4096)
def _device_of(who: str, installation: uuid.UUID) -> str:
    return str(uuid.uuid5(installation, who))


def bearer_of(authorization: str | None) -> str:
    """The key or token of an `Authorization` header, with or without the word before it; "" for none."""
    if not authorization:
        return ""
    text = authorization.strip()
    # The scheme may be left out: some programs send a bare key.
    return text[len(_BEARER) :].strip() if text[: len(_BEARER)].lower() == _BEARER else text
