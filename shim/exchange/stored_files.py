"""Files that clients upload once and name in requests later: taken upstream, found again, fetched, forgotten.

Rule: a scope's files go to one account as long as that one is there, so that a request can name several of them.
"""

from collections.abc import Mapping

from shim.accounts.credentials import Caller
from shim.accounts.leases import Leases
from shim.chatgpt.files import IMAGE_TYPES
from shim.errors import GatewayError, RequestError
from shim.exchange.calls import Calls
from shim.exchange.clock import Clock
from shim.files.kept import KeptFile, KeptFiles
from shim.protocol.events import FileRef
from shim.protocol.prompt import Attached, Image, Prompt
from shim.protocol.turn.uploads import LocalFile, upload_file
from shim.transport.base import Response


class StoredFiles:
    """Made once per worker."""

    def __init__(self, kept: KeptFiles, leases: Leases, calls: Calls, clock: Clock) -> None:
        self.kept = kept
        self._leases, self._calls, self._clock = leases, calls, clock

    async def create(self, caller: Caller, file: LocalFile, purpose: str, seconds: int) -> KeptFile:
        """Have upstream hold a file, and know it for so many seconds. Raises GatewayError."""
        call = await self._leases.call_on(caller, pin=caller.scope)
        try:
            id = await self._calls.run(call.identity, lambda upstream: upload_file(upstream, file))
        except GatewayError as error:
            call.failed(error, self._clock.now())
            raise
        now = self._clock.now()
        kept = KeptFile(
            self.kept.id_at(now),
            call.account_id,
            id,
            file.name,
            file.mime_type,
            file.size,
            purpose,
            int(now),
            int(now) + seconds,
            file.width,
            file.height,
        )
        await self.kept.write(caller.scope, kept, now)
        return kept

    async def content(self, caller: Caller, id: str) -> tuple[KeptFile, Response]:
        """A file, at the head of its bytes. Raises GatewayError."""
        kept = await self.kept.find(caller.scope, id)
        call = await self._leases.call_on(caller, kept.account)
        try:
            return kept, await self._calls.file(call.identity, FileRef(file_id=kept.upstream_id))
        except GatewayError as error:
            call.failed(error, self._clock.now())
            raise

    async def named(self, caller: Caller, prompt: Prompt) -> Mapping[Attached, KeptFile]:
        """The files that parts of a prompt name by id. Raises RequestError naming the part, and UnavailableError."""
        found: dict[Attached, KeptFile] = {}
        for part in prompt.attached:
            if part.form != "file_id":
                continue
            kept = await self.kept.find(caller.scope, part.source, part.param)
            if isinstance(part, Image) and kept.mime_type not in IMAGE_TYPES:
                raise RequestError(
                    f"The file {part.source[:64]} is no picture (PNG, JPEG, WebP or GIF).",
                    param=part.param,
                    code="unsupported_file_type",
                )
            first = next(iter(found.values()), kept)
            if kept.account != first.account:
                raise RequestError(
                    f"The files {first.id} and {kept.id} are with different accounts: upload one of them again.",
                    param=part.param,
                    code="files_apart",
                )
            found[part] = kept
        return found
