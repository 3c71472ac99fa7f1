"""Files: announced, sent, confirmed, indexed and fetched again (protocol.md 6.1 to 6.5).

Rule: a file is its account's own, and a link is good for whoever holds it: blob links refuse a bearer token, links to
estuary need the owner's. Bounded per account; the oldest file is forgotten first.
"""

import hashlib
import secrets
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from shim.standin.accounts import Account, Accounts, Clock
from shim.standin.failures import Failure, RefusedError, refused
from shim.standin.incoming import FileRequest, IncomingMessage
from shim.standin.memory import remember
from shim.standin.stats import Stats
from shim.standin.steps import Json, Made

MAX_FILES = 2000
MAX_BYTES = 128 * 1024 * 1024  # of one account
INDEXED_USES = frozenset({"my_files"})

State = Literal["announced", "stored", "ready"]
Link = Literal["upload", "download"]
FORBIDDEN_LINK = Failure(
    403,
    '<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code>'
    "<Message>Server failed to authenticate the request.</Message></Error>",
    "application/xml",
)


class StoredFile(msgspec.Struct):
    """One file: whose, how far it has come, and its bytes once they are here; polls: looks until it is indexed."""

    id: str
    identity: str
    name: str
    use_case: str
    mime_type: str
    size: int
    created: float
    state: State = "announced"
    content: bytes = b""
    polls: int = 0
    index: str = "success"

    @property
    def index_status(self) -> str | None:
        """The retrieval_index_status of protocol.md 6.3; None where nothing is indexed."""
        if self.use_case not in INDEXED_USES:
            return None
        return "pending" if self.state != "ready" or self.polls > 0 else self.index


class Files:
    """The files of all accounts, and the links to them."""

    def __init__(self, accounts: Accounts, stats: Stats, clock: Clock) -> None:
        self._accounts = accounts
        self._stats = stats
        self._clock = clock
        self._known: dict[str, StoredFile] = {}
        self._key = secrets.token_bytes(16)

    def announce(self, account: Account, asked: FileRequest, origin: str) -> Json:
        """POST files: where the bytes are to go; refuses what is too large (413) or one too many (429)."""
        if failure := account.take_failure("upload"):
            raise failure
        if asked.file_size > account.file_limit:
            raise refused("file_too_large")
        if account.uploads == 0:
            raise refused("upload_quota")
        account.uploads -= account.uploads > 0
        file = self._new(account, asked)
        self._stats.files["announced"] += 1
        link = self._blob_link(origin, "upload", file.id)
        return {"status": "success", "upload_url": link, "file_id": file.id, "library_file_id": None}

    def store(self, file_id: str, signature: str, content: bytes, *, mime_type: str, authorized: bool) -> None:
        """PUT on the upload link; refuses a bearer token (400), a wrong link (403) and too many bytes (413)."""
        if authorized:
            self._stats.files["sent_with_authorization"] += 1
            raise refused("authorized_blob")
        file = self._behind(file_id, "upload", signature)
        account = self._accounts[file.identity]
        if failure := account.take_failure("blob"):
            raise failure
        if len(content) > account.file_limit:
            raise refused("file_too_large")
        file.content, file.state = content, "stored"
        file.mime_type = mime_type or file.mime_type
        self._stats.files["stored"] += 1
        self._stats.files["stored_bytes"] += len(content)
        self._forget_beyond(file.identity)

    def confirm(self, account: Account, file_id: str, origin: str) -> Json:
        """POST files/{id}/uploaded; 422 while the bytes are not here or not as many as announced."""
        if failure := account.take_failure("confirm"):
            raise failure
        file = self.find(account, file_id)
        if file.state == "announced" or len(file.content) != file.size:
            raise refused("file_not_ready")
        file.state, file.polls, file.index = "ready", account.index_polls, account.index
        self._stats.files["confirmed"] += 1
        link = self.link(account, file, origin)
        return {"status": "success", "download_url": link, "metadata": None, "file_name": file.name}

    def processed(self, account: Account, file_id: str, origin: str) -> list[Json]:
        """The lines of POST files/process_upload_stream, as recorded in 2026-04 (protocol.md 6.3)."""
        self.confirm(account, file_id, origin)
        told = (
            ("file.processing.started", f"Start processing file: {file_id}", 0.0),
            ("file.processing.file_ready", f"File {file_id} is ready to download", 100.0),
            ("file.processing.completed", f"Succeeded processing file {file_id}", 100.0),
        )
        known: Json = {"file_id": file_id, "extra": None}
        return [known | {"event": event, "message": text, "progress": progress} for event, text, progress in told]

    def look(self, account: Account, file_id: str) -> Json:
        """GET files/{id}: how far it is; each look brings it on."""
        file = self.find(account, file_id)
        status = file.index_status
        file.polls -= file.polls > 0
        tokens = max(1, len(file.content) // 4) if status == "success" else None
        return {
            "id": file.id,
            "name": file.name,
            "creation_time": file.created,
            "state": file.state,
            "ready_time": file.created if file.state == "ready" else None,
            "size": file.size,
            "metadata": {"retrieval": {"status": status, "file_size_tokens": tokens}} if status else None,
            "use_case": file.use_case,
            "retrieval_index_status": status,
            "file_size_tokens": tokens,
            "variants": None,
        }

    def download(self, account: Account, file_id: str, origin: str) -> Json:
        """The answer of both download endpoints (protocol.md 6.5); `retry` while it is not ready."""
        if failure := account.take_failure("download"):
            raise failure
        file = self.find(account, file_id)
        ready = file.state == "ready"
        return {
            "status": "success" if ready else "retry",
            "download_url": self.link(account, file, origin) if ready else None,
            "metadata": None,
            "file_name": file.name,
            "creation_time": file.created,
            "mime_type": file.mime_type,
            "file_size_bytes": len(file.content),
        }

    def find(self, account: Account, file_id: str) -> StoredFile:
        """The account's own file; 404 for any other."""
        found = self._known.get(file_id)
        if found is None or found.identity != account.name:
            raise refused("file_not_found")
        return found

    def link(self, account: Account, file: StoredFile, origin: str) -> str:
        """Where the bytes can be fetched: a signed blob link, or estuary for accounts that are told to use it."""
        if account.downloads == "estuary":
            return f"{origin}/backend-api/estuary/content?id={file.id}&sig={self._sign('download', file.id)}"
        return self._blob_link(origin, "download", file.id)

    def blob(self, file_id: str, signature: str, *, authorized: bool) -> StoredFile:
        """GET of a blob link; a bearer token has no place there (400)."""
        if authorized:
            self._stats.files["fetched_with_authorization"] += 1
            raise refused("authorized_blob")
        return self._fetched(self._behind(file_id, "download", signature))

    def estuary(self, account: Account, file_id: str, signature: str) -> StoredFile:
        """GET of an estuary link by the owner."""
        self.find(account, file_id)
        return self._fetched(self._behind(file_id, "download", signature))

    def deposit(self, identity: str, made: Made) -> None:
        """Keep a file the assistant has made; it is ready at once."""
        size, content = len(made.content), made.content
        file = StoredFile(made.id, identity, made.name, "made", made.mime_type, size, self._clock(), "ready", content)
        remember(self._known, file.id, file, MAX_FILES)
        self._forget_beyond(identity)

    def forget(self, file_id: str) -> None:
        """The chat it was made in is gone."""
        self._known.pop(file_id, None)

    def check(self, account: Account, messages: Iterable[IncomingMessage]) -> None:
        """Refuse a turn that names a file the account does not own (404) or has not confirmed (422)."""
        for file_id in (id_ for message in messages for id_ in named_files(message)):
            if self.find(account, file_id).state != "ready":
                raise refused("file_not_ready")
            self._stats.files["attached"] += 1

    def _new(self, account: Account, asked: FileRequest) -> StoredFile:
        digits = secrets.token_hex(12)
        file_id = f"file_00000000{digits}" if account.sediment else f"file-{digits}"
        mime_type = asked.mime_type or "application/octet-stream"
        file = StoredFile(
            file_id, account.name, asked.file_name, asked.use_case, mime_type, asked.file_size, self._clock()
        )
        remember(self._known, file_id, file, MAX_FILES)
        return file

    def _behind(self, file_id: str, kind: Link, signature: str) -> StoredFile:
        """The file a link leads to; 403 as XML for a wrong one."""
        if file_id not in self._known or not secrets.compare_digest(signature, self._sign(kind, file_id)):
            self._stats.files["wrong_links"] += 1
            raise RefusedError(FORBIDDEN_LINK)
        return self._known[file_id]

    def _fetched(self, file: StoredFile) -> StoredFile:
        self._stats.files["fetched"] += 1
        return file

    def _blob_link(self, origin: str, kind: Link, file_id: str) -> str:
        return f"{origin}/standin/blobs/{file_id}?sig={self._sign(kind, file_id)}"

    def _sign(self, kind: Link, file_id: str) -> str:
        return hashlib.blake2b(f"{kind}:{file_id}".encode(), key=self._key, digest_size=16).hexdigest()

    def _forget_beyond(self, identity: str) -> None:
        """Forget the oldest files of an account that keeps more than MAX_BYTES."""
        mine = [file for file in self._known.values() if file.identity == identity]
        excess = sum(len(file.content) for file in mine) - MAX_BYTES
        for file in mine:
            if excess <= 0:
                return
            excess -= len(file.content)
            del self._known[file.id]


def named_files(message: IncomingMessage) -> list[str]:
    """The ids of a message's attachments and asset pointers, each once (protocol.md 6.4)."""
    parts = [part for part in message.content.parts if isinstance(part, dict)]
    pointers = [str(part["asset_pointer"]).partition("://")[2] for part in parts]
    attachments: list[dict[str, Any]] = message.metadata.get("attachments") or []
    return list(dict.fromkeys([*(str(attachment["id"]) for attachment in attachments), *pointers]))
