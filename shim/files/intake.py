"""The files of one request: taken in once, placed upstream for the account that serves it.

    request ──gather──> files at hand ──upload (again for each account tried)──> placed: where they stand -> upstream's

Rule: `gather` is all that can be the client's fault, and touches no account. A request without files costs nothing.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from shim.apis.chat.wire import ChatRequest
from shim.chatgpt.files import IMAGE_TYPES
from shim.errors import RequestError
from shim.files.fetch import Fetched, Fetcher, Resolve
from shim.files.kinds import Declared, recognise
from shim.files.targets import AllowList
from shim.files.together import together
from shim.files.upload_cache import UploadCache, UploadKey
from shim.protocol.counting.images import image_tokens
from shim.protocol.turn.file_parts import FileInput, decode_inline, file_inputs
from shim.protocol.turn.uploads import LocalFile, UploadedFile, upload_file, uploaded
from shim.protocol.upstream import Upstream
from shim.settings import Settings
from shim.transport.base import ConnectionKey
from shim.transport.driver import Driver

# (message, part): which part of which message a file stands in for.
Placed = Mapping[tuple[int, int], UploadedFile]

_FETCHES_AT_ONCE = 4  # of one request
_UPLOADS_AT_ONCE = 4
_WHOLE_REQUEST = 4  # all files of a request together may be this many times the largest allowed
_SMALL = 64 * 1024  # bytes that are looked at on the event loop


class GatheredFile(msgspec.Struct, frozen=True):
    """A file at hand, and the part it was in."""

    given: FileInput
    file: LocalFile

    @property
    def tokens(self) -> int:
        """What a picture counts as input; other files count nothing here, for only upstream reads them."""
        width, height = self.file.width, self.file.height
        return image_tokens(width, height, self.given.detail) if width and height else 0


class Gathered(msgspec.Struct, frozen=True):
    """All files of a request, in its order."""

    files: tuple[GatheredFile, ...] = ()

    @property
    def tokens(self) -> int:
        """What its pictures count as input."""
        return sum(one.tokens for one in self.files)


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

    async def gather(self, request: ChatRequest) -> Gathered:
        """Read and fetch every file of the request. Raises RequestError (400) that names the part at fault."""
        inputs = file_inputs(request)
        if not inputs:
            return Gathered()
        sources: dict[tuple[str, str], FileInput] = {}
        for given in inputs:
            sources.setdefault((given.form, given.text), given)  # the same twice is one file, the first part's
        budget = _Budget(self._limit * _WHOLE_REQUEST)
        jobs = [partial(self._take, given, budget) for given in sources.values()]
        taken = dict(zip(sources, await together(jobs, at_once=_FETCHES_AT_ONCE), strict=True))
        return Gathered(tuple([await _recognised(given, taken[given.form, given.text]) for given in inputs]))

    async def upload(self, gathered: Gathered, upstream: Upstream, connection: ConnectionKey, key: str) -> Placed:
        """Have upstream hold every file, for the account that `key` names. Raises GatewayError; one about a file
        itself names its part."""
        if not gathered.files:
            return {}
        jobs = [partial(self._placed, one, upstream, connection, key) for one in gathered.files]
        files = await together(jobs, at_once=_UPLOADS_AT_ONCE)
        places = [(one.given.message, one.given.part) for one in gathered.files]
        return dict(zip(places, files, strict=True))

    async def _take(self, given: FileInput, budget: "_Budget") -> Fetched:
        if given.form == "url":
            fetched = await self._fetched(given)
        else:
            inline = decode_inline(given, self._limit)
            fetched = Fetched(inline.content, inline.mime_type, "")
        budget.spend(len(fetched.content), given)
        return fetched

    async def _fetched(self, given: FileInput) -> Fetched:
        try:
            return await self._fetcher.fetch(given.text)
        except RequestError as error:
            raise _about(given, error) from error

    async def _placed(self, one: GatheredFile, upstream: Upstream, connection: ConnectionKey, key: str) -> UploadedFile:
        run = partial(self._upload, upstream, one.file, connection)
        try:
            id = await self._cache.get(UploadKey(key, one.file.digest, one.file.mime_type), run)
        except RequestError as error:
            raise _about(one.given, error) from error
        return uploaded(one.file, id)

    async def _upload(self, upstream: Upstream, file: LocalFile, connection: ConnectionKey) -> str:
        return await self._driver.run(upload_file(upstream, file), connection)


class _Budget:
    """Bytes that all files of a request may have together."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, size: int, given: FileInput) -> None:
        """Raises RequestError where a file is one too much."""
        self._left -= size
        if self._left < 0:
            raise RequestError(
                f"The files of this request are larger than the {self._most} bytes allowed for all of them.",
                param=given.param,
                code="file_too_large",
            )


async def _recognised(given: FileInput, fetched: Fetched) -> GatheredFile:
    """The file behind a part. Raises RequestError where it is no file that can be sent, or not the picture it should
    be."""
    if not fetched.content:
        raise RequestError("The file is empty.", param=given.param, code="unsupported_file_type")
    declared = Declared(given.name or fetched.name or None, fetched.mime_type)
    if len(fetched.content) <= _SMALL:
        file = recognise(fetched.content, declared)
    else:
        file = await asyncio.to_thread(recognise, fetched.content, declared)
    if file is None or (given.picture and file.mime_type not in IMAGE_TYPES):
        raise RequestError(
            "Pictures must be PNG, JPEG, WebP or GIF, and whole.", param=given.param, code="unsupported_file_type"
        )
    return GatheredFile(given, file)


def _about(given: FileInput, error: RequestError) -> RequestError:
    """The same error, naming the part: errors are shared by all who wait for the same file."""
    return RequestError(error.message, code=error.code, param=given.param, status=error.http_status, about=error.about)
