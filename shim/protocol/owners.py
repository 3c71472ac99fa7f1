"""Names of what an account owns: upstream's own id and, behind a full stop, the account's (no secret).

    3c1c6f5a-….0123456789abcdef                      one gateway
    3c1c6f5a-….0123456789abcdef.fedcba9876543210     two in a chain: each adds its own, and takes it off again

Rule: the last part of a name is ours, and the rest is upstream's business, whoever upstream is. So any gateway that
has the account knows from the name alone where a conversation or a file lives, and nothing has to be remembered.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

_ACCOUNT = re.compile(r"[0-9a-f]{16}")  # shim.accounts.account.account_id
# Fields of a request whose value is a name. `id` is one only where it is a file's (protocol.md 6.4).
_FIELDS = frozenset({"conversation_id", "file_id", "asset_pointer", "gizmo_id"})
_FILE = re.compile(r"file[-_]")
_HELD = 4096  # bytes; the longest thing that is rewritten, and more than any name


def named(id: str, account: str | None) -> str:
    """The name for upstream's `id`. Without an owner the id is returned unchanged, unless it already looks owned
    (upstream is a gateway): then an empty owner is appended, so that taking the name apart gives this id again."""
    if account is None and taken_apart(id) == (id, None):
        return id
    return f"{id}.{account or ''}"


def taken_apart(name: str) -> tuple[str, str | None]:
    """(upstream's id, the account that owns it or None)."""
    id, _, account = name.rpartition(".")
    return (id, account or None) if id and (not account or _ACCOUNT.fullmatch(account)) else (name, None)


def bare(content: Any, note: Callable[[str], None]) -> Any:
    """JSON content with every name in it replaced by upstream's id; `note` gets each owner. Text is left alone."""
    if isinstance(content, list):
        return [bare(item, note) for item in content]
    if not isinstance(content, dict):
        return content
    without: dict[str, Any] = {}
    for field, value in content.items():
        is_name = isinstance(value, str) and (field in _FIELDS or (field == "id" and _FILE.match(value)))
        without[field], owner = taken_apart(value) if is_name else (bare(value, note), None)
        if owner is not None:
            note(owner)
    return without


class Namer:
    """Bytes of an answer in, the same with names for ids out. It holds back at most `_HELD` bytes, and never a whole
    line, so that an event goes on as soon as it is whole.

    `account` owns what the answer names (None: names stay as they are). `lists` says that every UUID under
    `id` is a conversation's. Addresses of upstream's own files, below `origin`, become addresses below `public`.
    """

    def __init__(self, account: str | None, *, origin: str, public: str, lists: bool = False) -> None:
        self._suffix = f".{account}".encode() if account else b""
        self._origin, self._public = origin.encode(), public.encode()
        patterns = [*(_IDS if account else ()), *((_LISTED,) if account and lists else ())]
        patterns.append(rb'"download_url"[ ]?:[ ]?"' + re.escape(self._origin) + _OWN_FILES)
        self._pattern = re.compile(b"(?:" + b"|".join(patterns) + rb')(?=")')
        self._held = b""

    def receive(self, chunk: bytes) -> bytes:
        """What can be passed on. `b""` is the end of input."""
        content = self._held + chunk
        # No name goes over a line's end: what lies before it is settled, even where less than _HELD bytes have come.
        settled = max(content.rfind(b"\n") + 1, len(content) - _HELD) if chunk else len(content)
        passed: list[bytes] = []
        at = 0
        for match in self._pattern.finditer(content):
            if match.start() >= settled:
                break
            found = match[0]
            if found.startswith(b'"download_url"'):
                found = found.replace(self._origin, self._public, 1)
                found = _FILE_IN_ADDRESS.sub(lambda file: file[0] + quote(self._suffix).encode(), found)
            else:
                found += self._suffix
            passed += (content[at : match.start()], found)
            at = match.end()
        settled = max(settled, at)
        self._held = content[settled:]
        return b"".join((*passed, content[at:settled]))


# Of the fields in an answer. Pointers also come without their field, in a patch (protocol.md 5.2).
_IDS = (
    rb'"(?:conversation_id|conduit_token)"[ ]?:[ ]?"[\w.-]{1,2000}',
    rb'"(?:file_id|id)"[ ]?:[ ]?"file[-_][\w.-]{1,300}',
    rb'"(?:gizmo_id|id)"[ ]?:[ ]?"g-p-[\w.-]{1,300}',  # a project; any other GPT is not one account's alone
    rb'"(?:file-service|sediment)://file[-_][\w.-]{1,300}',
)
# A conversation's own UUID, with the parts that gateways nearer to upstream have put behind it.
_LISTED = rb'"id"[ ]?:[ ]?"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[0-9a-f]{16})*'
_OWN_FILES = rb'/backend-api/estuary/[^"\n]{1,3000}'
_FILE_IN_ADDRESS = re.compile(rb"(?<=[?&]id=)file[-_][\w.-]+")
