"""The files of one request: taken in once, placed upstream for the account that serves it.

    request ──gather──> files at hand ──upload (again for each account tried)──> placed: where they stand -> upstream's

Rule: `gather` is all that can be the client's fault, and touches no account. A request without files costs nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from shim.chatgpt.files import IMAGE_TYPES
from shim.errors import RequestError
from shim.files.fetch import Before, Fetched, Fetcher, Resolve
from shim.files.kept import KeptFile
from shim.files.kinds import Declared, recognise
from shim.files.targets import AllowList
from shim.files.together import together
from shim.files.upload_cache import UploadCache, UploadKey
from shim.protocol.counting.images import image_tokens
from shim.protocol.prompt import Attached, Image, Prompt
from shim.protocol.turn.conversation import Placed
from shim.protocol.turn.inline_files import decode_inline
from shim.protocol.turn.uploads import LocalFile, UploadedFile, upload_file, uploaded
from shim.protocol.upstream import Upstream
from shim.settings import Settings
from shim.transport.base import ConnectionKey
from shim.transport.driver import Driver

# Of one request, so that none takes all the fetches of a worker.
_FETCHES_AT_ONCE = 4
# Likewise: upstream limits uploads of an account, and a request is no faster for asking for all of them at once.
_UPLOADS_AT_ONCE = 4
# All files of a request together may be this many times the largest allowed: all of them are held in memory.
_WHOLE_REQUEST = 4
_NONE_KEPT: Mapping[Attached, KeptFile] = {}
# Bytes that are looked at on the event loop; going to a thread and back costs more than looking at so few.
_SMALL = 64 * 1024


class Gathered(msgspec.Struct, frozen=True):
    """All files of a prompt at hand, by the part that brings each. Those uploaded before (`kept`) are upstream."""

    files: Mapping[Attached, LocalFile] = {}
    kept: Mapping[Attached, KeptFile] = {}

    @property
    def tokens(self) -> int:
        """What its pictures count as input; other files count nothing here, for only upstream reads them."""
        if not self.files and not self.kept:
            return 0
        return sum(
            image_tokens(width, height, part.detail if isinstance(part, Image) else "auto")
            for part, width, height in (
                *((part, file.width, file.height) for part, file in self.files.items()),
                *((part, kept.width, kept.height) for part, kept in self.kept.items()),
            )
            if width and height
        )

    @property
    def owner(self) -> str | None:
        """The account that has those uploaded before: no other can name them."""
        return next((file.account for file in self.kept.values()), None) if self.kept else None


class Files:
    """One for each worker. `clock` is in seconds; `resolve` takes the place of the system's resolver."""

    def __init__(
        self, settings: Settings, driver: Driver, *, clock: Callable[[], float], resolve: Resolve | None = None
    ) -> None:
        self._driver = driver
        self._limit = settings.max_file_bytes
        self._cache = UploadCache(clock)
        self._fetcher = Fetcher(
            AllowList(settings.allow_private_urls),
            limit=settings.max_file_bytes,
            timeout=settings.file_timeout,
            user_agent=settings.user_agent,
            ca_file=settings.ca_file or None,
            resolve=resolve,
        )

    async def gather(
        self,
        prompt: Prompt,
        before: Before | None = None,
        kept: Mapping[Attached, KeptFile] = _NONE_KEPT,
        *,
        scope: str = "",
    ) -> Gathered:
        """Read and fetch every file of the prompt but those that are `kept`, for the caller that `scope` names;
        `before` is asked before anything is fetched. Raises RequestError (400) that names the part at fault, and
        whatever `before` raises."""
        parts = [part for part in prompt.attached if part not in kept]
        if not parts:
            return Gathered(kept=kept) if kept else Gathered()
        sources: dict[tuple[str, str], Attached] = {}
        for part in parts:
            sources.setdefault((part.form, part.source), part)  # the same twice is one file, the first part's
        budget = _Budget(self._limit * _WHOLE_REQUEST)
        jobs = [partial(self._take, part, budget, before, scope) for part in sources.values()]
        taken = dict(zip(sources, await together(jobs, at_once=_FETCHES_AT_ONCE), strict=True))
        files: dict[Attached, LocalFile] = {}
        for part in parts:
            fetched = taken[part.form, part.source]
            if not fetched.content:
                raise RequestError("The file is empty.", param=part.param, code="unsupported_file_type")
            declared = Declared(part.name or fetched.name or None, fetched.mime_type)
            if len(fetched.content) <= _SMALL:
                file = recognise(fetched.content, declared)
            else:
                file = await asyncio.to_thread(recognise, fetched.content, declared)
            if file is None or (isinstance(part, Image) and file.mime_type not in IMAGE_TYPES):
                raise RequestError(
                    "Pictures must be PNG, JPEG, WebP or GIF, and whole.",
                    param=part.param,
                    code="unsupported_file_type",
                )
            files[part] = file
        return Gathered(files, kept)

    async def upload(
        self, prompt: Prompt, gathered: Gathered, upstream: Upstream, connection: ConnectionKey, key: str
    ) -> Placed:
        """Have upstream hold every file of the prompt, for the account that `key` names. Raises GatewayError; one about
        a file itself names its part."""
        parts = prompt.attached
        if not parts:
            return {}

        async def place(part: Attached) -> UploadedFile:
            if (kept := gathered.kept.get(part)) is not None:
                return kept.uploaded
            file = gathered.files[part]
            try:
                id = await self._cache.get(
                    UploadKey(key, file.digest, file.mime_type),
                    lambda: self._driver.run(upload_file(upstream, file), connection),
                )
            except RequestError as error:
                raise _about(part, error) from error
            return uploaded(file, id)

        jobs = [partial(place, part) for part in parts]
        return dict(zip(parts, await together(jobs, at_once=_UPLOADS_AT_ONCE), strict=True))

    async def _take(self, part: Attached, budget: "_Budget", before: Before | None, scope: str) -> Fetched:
        if part.form == "url":
            try:
                fetched = await self._fetcher.fetch(part.source, before, scope=scope)
            except RequestError as error:
                raise _about(part, error) from error
        else:
            inline = decode_inline(part, self._limit)
            fetched = Fetched(inline.content, inline.mime_type, "")
        budget.spend(len(fetched.content), part)
        return fetched


class _Budget:
    """Bytes that all files of a request may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, size: int, part: Attached) -> None:
        """Raises RequestError where a file is one too much."""
        self._left -= size
        if self._left < 0:
            raise RequestError(
                f"The files of this request are larger than the {self._most} bytes allowed for all of them.",
                param=part.param,
                code="file_too_large",
            )


def _about(part: Attached, error: RequestError) -> RequestError:
    """The same error, naming the part: errors are shared by all who wait for the same file."""
    return RequestError(error.message, code=error.code, param=part.param, status=error.http_status, about=error.about)
