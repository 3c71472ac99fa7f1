"""Reading aloud and writing down over HTTP (protocol.md 7.8, 7.9)."""

from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromQuery

from shim.standin import history
from shim.standin.asking import AnyRequest, TheCaller, TheUpstream, origin_of
from shim.standin.failures import refused
from shim.standin.sound import FORMATS, recording
from shim.standin.steps import Made
from shim.standin.wording import TRANSCRIPT

VOICES = frozenset(
    (
        "cove", "juniper", "breeze", "ember", "maple", "vale", "fathom", "orbit", "glimmer", "shade", "arbor", "spruce",
        "sol",
    )
)  # fmt: skip
MAX_BODY = 64 * 1024 * 1024


@get("/synthesize")
async def synthesize(
    request: AnyRequest,
    upstream: TheUpstream,
    caller: TheCaller,
    conversation_id: FromQuery[str],
    message_id: FromQuery[str],
) -> Response[object]:
    """A saved message of the assistant as sound, or a link to it."""
    if failure := caller.account.take_failure("speech"):
        raise failure
    kind = request.query_params.get("format", "aac")
    if request.query_params.get("voice", "cove") not in VOICES or kind not in FORMATS:
        raise refused("bad_request")
    told = history.said_in(upstream.conversations.saved(conversation_id, caller.identity), message_id)
    spoken = recording(told, kind)
    if caller.account.speech == "bytes":
        return Response(spoken.content, media_type=spoken.mime_type)
    file = Made(f"file-{message_id}-{kind}", f"{message_id}.{kind}", spoken.mime_type, spoken.content)
    upstream.files.deposit(caller.identity, file)
    link = upstream.files.link(caller.account, upstream.files.find(caller.account, file.id), origin_of(request))
    return Response({"download_url": link}, media_type="application/json")


@post("/transcribe", status_code=200, request_max_body_size=MAX_BODY)
async def transcribe(request: AnyRequest, caller: TheCaller) -> Response[object]:
    """A recording as text; the words say what was received."""
    if failure := caller.account.take_failure("transcript"):
        raise failure
    form = await request.form()
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise refused("missing_file")
    size = len(await file.read())
    if not size:
        raise refused("bad_request")
    text = TRANSCRIPT.format(name=file.filename, size=size, language=form.get("language") or "unknown")
    if caller.account.transcript == "text":
        return Response(text, media_type="text/plain")
    return Response({"text": text}, media_type="application/json")


LOGGED_IN = (synthesize, transcribe)
