"""Links to files that upstream holds, as clients can open them: signed, and fetched through this gateway.

Rule: whoever has the link has the file, as with upstream's own links, until it expires. A link holds no credential: it
names the account, and only this gateway (or one that shares its store) can make one.
"""

import base64
import hashlib
import hmac
from contextlib import suppress

import msgspec

from shim.errors import RequestError
from shim.protocol.events import FileRef

PATH = "/files"
LIFETIME = 7 * 86400.0  # seconds
_SIGNATURE = 16  # bytes
_MAX_TOKEN = 2048  # characters


class Ticket(msgspec.Struct, frozen=True, array_like=True):
    """What a link says. `account` is None for nobody in particular; `until` is in seconds since 1970."""

    until: int
    account: str | None
    file: FileRef


class Links:
    """Makes and reads links. `secret` is random, and what the gateways that share the work have in common."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(f"chat2api file links\n{secret}".encode()).digest()

    def path_of(self, file: FileRef, account: str | None, now: float) -> str:
        """The path (below the prefix) under which `file` can be had."""
        content = _encode(Ticket(int(now + LIFETIME), account, file))
        return f"{PATH}/{_in_base64(content + self._sign(content))}"

    def read(self, token: str, now: float) -> Ticket:
        """What a link says. Raises RequestError (404) where it is not one of ours, or is over."""
        with suppress(ValueError, msgspec.DecodeError):  # a made-up link is told what an expired one is told
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)) if len(token) <= _MAX_TOKEN else b""
            content, signature = raw[:-_SIGNATURE], raw[-_SIGNATURE:]
            # Python passes over what is no base64, so that many texts would be the same link.
            if _in_base64(raw) == token and hmac.compare_digest(signature, self._sign(content)):
                ticket = _decoder.decode(content)
                if ticket.until >= now:
                    return ticket
        raise RequestError("This file link is invalid or has expired", status=404, code="file_not_found")

    def _sign(self, content: bytes) -> bytes:
        return hmac.digest(self._key, content, "sha256")[:_SIGNATURE]


def _in_base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Ticket)
