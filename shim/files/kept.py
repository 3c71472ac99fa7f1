"""What is known of files that clients have uploaded: whose each is, and where it is upstream.

Rule: a file is seen by whoever has the key it came with and by nobody else, and it is used by the account that has it.
The bytes are upstream's; here are notes only, which any gateway on the same store reads.
"""

import hmac
import re
from collections.abc import Callable, Iterable

import msgspec

from shim.errors import RequestError, UnavailableError
from shim.notes import Notes, NotesError
from shim.protocol.turn.uploads import UploadedFile

LONGEST = 30 * 86400
"""Seconds that a file is known here, at most and by default"""
# Of all callers together: a note has some hundred bytes, and the oldest goes where there are more.
_MOST_FILES = 100_000
# As many as a store gives at once (`notes`), since a filter by purpose may leave few of them.
_PAGE = 1000
_ID, _LONGEST_ID = "file-", 64
_OURS = re.compile(_ID + "[0-9a-f]{12}[0-9A-Za-z]{1,20}")


class KeptFile(msgspec.Struct, frozen=True):
    """One file. `account` has it as `upstream_id`; `created` and `until` are in seconds since 1970."""

    id: str
    account: str | None
    upstream_id: str
    name: str
    mime_type: str
    size: int
    purpose: str
    created: int
    until: int
    width: int | None = None
    height: int | None = None

    @property
    def uploaded(self) -> UploadedFile:
        """The file as a message names it."""
        return UploadedFile(self.upstream_id, self.name, self.mime_type, self.size, self.width, self.height)


class KeptFiles:
    """All of them, in `notes`. `secret` is what the gateways that share the notes have in common. `scope` is whose
    files are meant (`Caller.scope`). Raises UnavailableError where the store is away."""

    def __init__(self, notes: Notes, secret: str, *, new_id: Callable[[], str]) -> None:
        self._shelf, self._new_id = notes.shelf("files", most=_MOST_FILES), new_id
        self._key = f"chat2api files\n{secret}".encode()

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether an id may be one of ours, of a file that is there or was."""
        return _OURS.fullmatch(text) is not None

    def id_at(self, now: float) -> str:
        """An id for a file made `now`: ids are in the order of their files."""
        return f"{_ID}{int(now * 1000):012x}{self._new_id().replace('-', '')[:20]}"

    async def write(self, scope: str, file: KeptFile, now: float) -> None:
        """Note a file."""
        try:
            await self._shelf.put(self._place(scope, file.id), _encode(file), max(1.0, file.until - now))
        except NotesError as error:
            raise _away() from error

    async def find(self, scope: str, id: str, param: str | None = None) -> KeptFile:
        """The file of this id. Raises RequestError (404) where there is none for this scope, naming `param`."""
        if found := await self.those(scope, [id]):
            return found[0]
        raise RequestError(f"No such File object: {id[:64]}", status=404, param=param or "id", code="file_not_found")

    async def those(self, scope: str, ids: Iterable[str]) -> list[KeptFile]:
        """The files of these ids, as far as there are any for this scope."""
        places = [self._place(scope, id) for id in ids if id.startswith(_ID) and len(id) < _LONGEST_ID]
        try:
            notes = [await self._shelf.get(place) for place in places]
        except NotesError as error:
            raise _away() from error
        return [_decode(note) for note in notes if note is not None]

    async def forget(self, scope: str, id: str) -> None:
        """Forget a file. Raises RequestError (404) where there is none."""
        await self.find(scope, id)
        try:
            await self._shelf.delete(self._place(scope, id))
        except NotesError as error:
            raise _away() from error

    async def page(
        self, scope: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None = None
    ) -> tuple[list[KeptFile], bool]:
        """At most `limit` files behind the one with the id `after`, and whether more follow."""
        prefix = self._place(scope, "")
        place = None if after is None else prefix + after
        found: list[KeptFile] = []
        while True:
            try:
                notes = await self._shelf.page(prefix, after=place, limit=_PAGE, backwards=newest_first)
            except NotesError as error:
                raise _away() from error
            files = (_decode(note.value) for note in notes)
            found += [file for file in files if purpose in {None, file.purpose}]
            if len(found) > limit or len(notes) < _PAGE:
                return found[:limit], len(found) > limit
            place = notes[-1].key

    def _place(self, scope: str, id: str) -> str:
        # The name of a scope would tell whoever reads the store which keys are the same.
        return f"{hmac.digest(self._key, scope.encode(), 'sha256').hex()[:24]}:{id}"


def _away() -> UnavailableError:
    return UnavailableError("The store of files can't be reached; try again in a moment", retry_after=5.0)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(KeptFile).decode
