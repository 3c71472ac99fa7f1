"""Files over HTTP: announce, PUT, confirm, look, download (protocol.md 6)."""

import msgspec
from litestar import Response, get, post, put
from litestar.params import FromPath, FromQuery

from shim.standin.asking import AnyRequest, TheCaller, TheUpstream, origin_of
from shim.standin.failures import RefusedError, refused
from shim.standin.files import StoredFile
from shim.standin.incoming import FileRequest, ProcessRequest, read_body
from shim.standin.steps import Json

MAX_BODY = 64 * 1024 * 1024
NDJSON = "application/x-ndjson"


@post("/files", status_code=200)
async def announce(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """Where the bytes of a new file go (protocol.md 6.1)."""
    asked = read_body(await request.body(), FileRequest)
    return upstream.files.announce(caller.account, asked, origin_of(request))


@put("/standin/blobs/{file_id:str}", status_code=201, request_max_body_size=MAX_BODY)
async def send(
    request: AnyRequest, upstream: TheUpstream, file_id: FromPath[str], sig: FromQuery[str] = ""
) -> Response[bytes]:
    """The bytes (protocol.md 6.2)."""
    mime_type = request.headers.get("content-type", "")
    authorized = "authorization" in request.headers
    upstream.files.store(file_id, sig, await request.body(), mime_type=mime_type, authorized=authorized)
    return Response(b"", status_code=201)


@post("/files/{file_id:str}/uploaded", status_code=200)
async def confirm(request: AnyRequest, upstream: TheUpstream, caller: TheCaller, file_id: FromPath[str]) -> Json:
    """The bytes have been sent (protocol.md 6.3)."""
    return upstream.files.confirm(caller.account, file_id, origin_of(request))


@post("/files/process_upload_stream", status_code=200)
async def process(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Response[bytes]:
    """The newer way to confirm: one JSON object per line (protocol.md 6.3)."""
    asked = read_body(await request.body(), ProcessRequest)
    events = upstream.files.processed(caller.account, asked.file_id, origin_of(request))
    return Response(b"".join(msgspec.json.encode(event) + b"\n" for event in events), media_type=NDJSON)


@get("/files/{file_id:str}")
async def look(upstream: TheUpstream, caller: TheCaller, file_id: FromPath[str]) -> Json:
    """How far the indexing is (protocol.md 6.3)."""
    return upstream.files.look(caller.account, file_id)


@get("/files/{file_id:str}/download")
async def download(request: AnyRequest, upstream: TheUpstream, caller: TheCaller, file_id: FromPath[str]) -> Json:
    """Where the bytes are (protocol.md 6.5); accounts of the newer spelling do not know this one."""
    if caller.account.newer_downloads:
        raise refused("not_found")
    return upstream.files.download(caller.account, file_id, origin_of(request))


@get("/files/download/{file_id:str}")
async def download_newer(request: AnyRequest, upstream: TheUpstream, caller: TheCaller, file_id: FromPath[str]) -> Json:
    """The same in the newer spelling, which tells of a missing file with 200."""
    try:
        return upstream.files.download(caller.account, file_id, origin_of(request))
    except RefusedError as error:
        if error.failure.status != 404:
            raise
        return {"status": "error", "error_code": "file_not_found", "error_message": None}


@get("/conversation/{conversation_id:str}/attachment/{file_id:str}/download")
async def attachment(
    request: AnyRequest,
    upstream: TheUpstream,
    caller: TheCaller,
    conversation_id: FromPath[str],
    file_id: FromPath[str],
) -> Json:
    """Where the bytes of a sediment:// pointer are (protocol.md 6.5)."""
    upstream.conversations.find(conversation_id, caller.identity)
    found = upstream.files.download(caller.account, file_id, origin_of(request))
    return {"download_url": found["download_url"]}


@get("/estuary/content")
async def estuary(
    request: AnyRequest, upstream: TheUpstream, caller: TheCaller, sig: FromQuery[str] = ""
) -> Response[bytes]:
    """The bytes, for the owner's bearer token (protocol.md 6.5)."""
    return _bytes(upstream.files.estuary(caller.account, request.query_params.get("id", ""), sig))


@get("/standin/blobs/{file_id:str}")
async def blob(
    request: AnyRequest, upstream: TheUpstream, file_id: FromPath[str], sig: FromQuery[str] = ""
) -> Response[bytes]:
    """The bytes, for whoever holds the link."""
    return _bytes(upstream.files.blob(file_id, sig, authorized="authorization" in request.headers))


def _bytes(file: StoredFile) -> Response[bytes]:
    return Response(file.content, media_type=file.mime_type)


LOGGED_IN = (announce, confirm, process, look, download, download_newer, attachment, estuary)
WITHOUT_PREFIX = (send, blob)
