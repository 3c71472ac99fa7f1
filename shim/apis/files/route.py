"""`/v1/files`: create, list, look, fetch, delete.

form ──piece by piece──> disk ──piece by piece──> upstream ──> a note: whose it is, and where
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from litestar import delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp

from shim.accounts.credentials import Caller
from shim.apis.decoding import missing
from shim.apis.files import read, write
from shim.errors import RequestError
from shim.exchange import Gateway
from shim.files.kinds import Declared
from shim.files.spool import Spool
from shim.http.downloads import bytes_of, download_headers
from shim.http.multipart import FormStream
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import ByteStream, arriving, each_of, json_answer
from shim.http.routing import AnyRequest
from shim.protocol.turn.uploads import LocalFile

_ANTHROPIC_PURPOSE = "user_data"  # the one that is meant by an API that knows none


@post("/v1/files", status_code=200)
async def create_file(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Take a file upstream."""
    caller, settings = _caller(request, gateway), gateway.settings
    # The file is on disk as long as it is on its way: one of 100 MB in memory, times some clients, would end the
    # worker.
    async with _counted(gateway, caller), Spool(settings.data_dir, settings.max_upload_bytes) as spool:
        asked, file = await _received(request, spool)
        work = gateway.stored_files.create(caller, file, asked.purpose, asked.seconds)
        kept = await while_present(request, work)
    return json_answer(request, write.file(kept, anthropic=_is_anthropics(request)))


@get("/v1/files")
async def list_files(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Those of the caller's key, the newest first."""
    caller, query = _caller(request, gateway), {name: str(value) for name, value in request.query_params.items()}
    kept, anthropic = gateway.stored_files.kept, _is_anthropics(request)
    if anthropic and (ids := read.read_ids((name, str(value)) for name, value in request.query_params.multi_items())):
        return json_answer(request, write.page(await kept.those(caller.scope, ids), more=False, anthropic=True))
    asked = read.read_anthropic_page(query) if anthropic else read.read_page(query)
    files, more = await kept.page(
        caller.scope,
        after=asked.after,
        limit=asked.limit,
        newest_first=asked.newest_first,
        purpose=asked.purpose,
    )
    # Anthropic's page before an id is read from there backwards, and shown in the usual order.
    if asked.turned:
        files.reverse()
    return json_answer(request, write.page(files, more=more, anthropic=anthropic))


@get("/v1/files/{file_id:str}")
async def get_file_object(request: AnyRequest, gateway: TheGateway, file_id: FromPath[str]) -> ASGIApp:
    """What is known of one."""
    kept = await gateway.stored_files.kept.find(_caller(request, gateway).scope, file_id)
    return json_answer(request, write.file(kept, anthropic=_is_anthropics(request)))


@get("/v1/files/{file_id:str}/content")
async def get_file_content(request: AnyRequest, gateway: TheGateway, file_id: FromPath[str]) -> ASGIApp:
    """Its bytes, from upstream."""
    caller = _caller(request, gateway)
    async with _counted(gateway, caller):
        kept, response = await while_present(request, gateway.stored_files.content(caller, file_id))
    headers, longest = download_headers(kept.name, response), gateway.settings.total_timeout
    return ByteStream(request, each_of(bytes_of(response)), response.close, headers=headers, longest=longest)


@delete("/v1/files/{file_id:str}", status_code=200)
async def delete_file(request: AnyRequest, gateway: TheGateway, file_id: FromPath[str]) -> ASGIApp:
    """Forget it."""
    await gateway.stored_files.kept.forget(_caller(request, gateway).scope, file_id)
    return json_answer(request, write.deleted(file_id, anthropic=_is_anthropics(request)))


async def _received(request: AnyRequest, spool: Spool) -> tuple[read.Upload, LocalFile]:
    """The form, with its file in the spool. Raises RequestError (400, 413)."""
    fields: dict[str, str] = {}
    declared: Declared | None = None
    async with (
        aclosing(arriving(request)) as chunks,
        aclosing(FormStream(chunks, request.headers.get("content-type", "")).parts()) as parts,
    ):
        async for part in parts:
            # Of several files the first counts; a second would be written behind it.
            if part.name == "file" and declared is None:
                declared = Declared(part.filename, part.content_type)
                await spool.fill(part.pieces())
            elif part.name != "file":
                fields[part.name] = await part.text()
    asked = read.read_upload(fields, purpose=_ANTHROPIC_PURPOSE if _is_anthropics(request) else None)
    if declared is None:
        raise missing("file")
    if not spool.size:
        raise RequestError("The file is empty.", param="file", code="empty_file")
    file = await spool.file(declared)
    # A picture stands in a message with its width and height (protocol.md 6.4), which this one does not tell.
    if file is None:
        raise RequestError(
            "Pictures must be PNG, JPEG, WebP or GIF, and whole.", param="file", code="unsupported_file_type"
        )
    return asked, file


@asynccontextmanager
async def _counted(gateway: Gateway, caller: Caller) -> AsyncIterator[None]:
    """A call of a key that may have limits: what goes upstream counts as a request. Raises LimitError."""
    entered = await gateway.keys.enter(caller.key)
    try:
        yield
    finally:
        if entered is not None:
            gateway.keys.leave(entered, 0)


def _caller(request: AnyRequest, gateway: Gateway) -> Caller:
    """By the key, as either API sends it. Raises CredentialError."""
    key = request.headers.get("x-api-key") if _is_anthropics(request) else None
    return gateway.caller(key or request.headers.get("authorization"))


def _is_anthropics(request: AnyRequest) -> bool:
    return "anthropic-version" in request.headers
