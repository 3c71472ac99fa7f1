"""Getting a file out of upstream: where its bytes are (protocol.md 6.5).

Rule: the bearer goes only to the API of upstream's own origin; a link to anywhere else is signed, and fetched without
it, over https (or at the origin itself).
"""

from collections.abc import Iterator
from urllib.parse import quote, urlencode, urljoin, urlsplit

import msgspec

from shim.errors import GatewayError, RequestError, UpstreamError
from shim.protocol.commands import Handshake, HttpReply, HttpRequest, ask
from shim.protocol.events import FileRef
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream

# Ids that `sediment://` pointers name. They are found at their conversation, older ones at `files` (protocol.md 6.5):
# each kind is asked for first where its own are.
_NEW_STYLE = "file_0000"


class DownloadAnswer(msgspec.Struct, frozen=True):
    """What every one of the download calls answers. `status` is not `success` where the file is gone or not ready."""

    download_url: str | None = None
    status: str | None = None
    error_code: str | None = None
    file_name: str | None = None


def locate(upstream: Upstream, file: FileRef) -> Handshake[HttpRequest]:
    """The call that gets the file's bytes. Raises RequestError (404) where upstream no longer has it."""
    failure: GatewayError = _gone()
    for path in _paths(file):
        reply = yield from ask(upstream.get(path))
        if reply.status == 200:
            return bytes_of(upstream, reply)
        # A 404 of one path says nothing about the others. Any other failure is what is raised if none has the file.
        if reply.status != 404:
            failure = refusal_of(reply.status, reply.headers, reply.body)
    raise failure


def _paths(file: FileRef) -> Iterator[str]:
    """Where to ask, best first."""
    conversation = quote(file.conversation_id or "", safe="")
    if file.sandbox_path is not None:
        query = urlencode({"message_id": file.message_id or "", "sandbox_path": file.sandbox_path})
        yield f"conversation/{conversation}/interpreter/download?{query}"
        return
    id = quote(file.file_id or "", safe="")
    attachment = f"conversation/{conversation}/attachment/{id}/download"
    # `files/{id}` has answered 422 for these, and 404 (6.5).
    if conversation and id.startswith(_NEW_STYLE):
        yield attachment
    yield f"files/{id}/download"
    query = urlencode({"conversation_id": file.conversation_id or "", "inline": "false"})
    yield f"files/download/{id}?{query}"
    if conversation and not id.startswith(_NEW_STYLE):
        yield attachment


def bytes_of(upstream: Upstream, reply: HttpReply) -> HttpRequest:
    """The call that gets the bytes of which `reply` names the address. Raises RequestError (404) where it names none,
    and UpstreamError."""
    try:
        answer = _decoder.decode(reply.body)
    except (ValueError, RecursionError) as error:
        raise UpstreamError("Upstream's answer about a file can't be read", code="upstream_file") from error
    # 200 with `status: "error"` is how upstream says that a file is gone; "retry" says not yet (6.5).
    if not answer.download_url or answer.status not in {None, "success"}:
        raise _gone()
    try:
        url = urljoin(f"{upstream.base_url}/", answer.download_url)
        at_home = _origin(url) == _origin(upstream.base_url)
    except ValueError as error:
        raise UpstreamError("Upstream named a file at an address that can't be read", code="upstream_file") from error
    if at_home and urlsplit(url).path.startswith(f"{upstream.prefix}/"):
        return upstream.get_url(url)  # the only address that is given the bearer
    if not at_home and urlsplit(url).scheme != "https":
        raise UpstreamError("Upstream named a file at an address that is not https", code="upstream_file")
    return HttpRequest("GET", url, {"accept": "*/*", "user-agent": upstream.profile.user_agent})


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _gone() -> RequestError:
    return RequestError("Upstream no longer has this file", status=404, code="file_not_found")


_decoder = msgspec.json.Decoder(DownloadAnswer)
