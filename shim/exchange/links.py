"""Links to files that upstream holds, as clients can open them: signed, and fetched through this gateway.

Rule: whoever has the link has the file, as with upstream's own links, until it expires. A link holds no credential: it
names the account, and only this gateway (or one that shares its store) can make one.
"""

import base64
import hashlib
import hmac
from contextlib import suppress
from pathlib import Path

import msgspec

from shim.accounts.installation import link_secret
from shim.errors import RequestError
from shim.notes import Notes
from shim.protocol.events import FileRef
from shim.settings import Settings

PATH = "/files"
LIFETIME = 7 * 86400.0  # seconds
_SIGNATURE = 16  # bytes
_MAX_TOKEN = 2048  # characters
_TEN_YEARS = 10 * 366 * 86400.0  # seconds: longer than any link, so that none outlives what signed it


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


async def shared_secret(settings: Settings, notes: Notes) -> str:
    """What links are signed with by all who share the store: with Redis it is noted there, by whoever is first. Raises
    NotesError."""
    own = link_secret(Path(settings.data_dir))
    if not settings.redis_url:
        return own
    shelf = notes.shelf("links")
    await shelf.add("secret", own.encode(), _TEN_YEARS)
    kept = await shelf.get("secret")
    return kept.decode() if kept is not None else own
