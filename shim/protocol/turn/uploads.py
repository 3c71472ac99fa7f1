"""A file goes upstream and into a message (protocol.md 6.1 to 6.4).

    create ──> PUT the bytes ──> uploaded ──> (documents) ask until they are indexed

Rule: a generator of commands, like the handshake. The bytes go where upstream says, without our bearer, and only by
https or to the configured origin itself.
"""

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import UNSET

from shim.chatgpt.conversation import Attachment, ImagePointer, SentContent
from shim.chatgpt.files import (
    IMAGE_TYPES,
    FileCreation,
    confirmed_file_decoder,
    created_file_decoder,
    file_state_decoder,
    use_case_of,
)
from shim.errors import GatewayError, RequestError, UpstreamError
from shim.protocol.commands import Body, Handshake, HttpReply, HttpRequest, Wait, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream

T = TypeVar("T")

_POLLS = 30  # as upstream's own page does; then the document is used as it is (6.3)
_POLL_SECONDS = 1.0
_FILE_ID = re.compile(r"[\w.-]{1,200}", re.ASCII)
_URL = re.compile(r"[!-~]{1,8192}")  # visible ASCII: no blank, no line break
_TOO_LARGE = frozenset({413, 422})  # upstream has no better word for it (6.1)
_STORE_VERSION = "2020-04-08"  # of the blob store's API; what browsers send (6.2)


class LocalFile(msgspec.Struct, frozen=True):
    """A file at hand, ready to go upstream. `digest` is the SHA-256 of its content in hex; width and height are those
    of a picture, in pixels. Streamed content must have a length, because upstream asks for it before the bytes."""

    name: str
    mime_type: str
    content: Body
    digest: str
    width: int | None = None
    height: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.content, bytes) and self.content.length is None:
            raise ValueError("a file's length has to be known before it is sent")

    @property
    def size(self) -> int:
        """The content's length in bytes, known even where it is streamed."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.length or 0


class UploadedFile(msgspec.Struct, frozen=True):
    """A file upstream has, with what a message says of it."""

    id: str
    name: str
    mime_type: str
    size: int
    width: int | None = None
    height: int | None = None

    @property
    def attachment(self) -> Attachment:
        """Its entry in the message's metadata."""
        return Attachment(
            self.id, self.size, self.name, self.mime_type, width=self.width or UNSET, height=self.height or UNSET
        )

    @property
    def pointer(self) -> ImagePointer | None:
        """Its place among the message's parts, where it is a picture. New ids have another scheme (6.4)."""
        if self.mime_type not in IMAGE_TYPES:
            return None
        scheme = "sediment" if self.id.startswith("file_") else "file-service"
        return ImagePointer(f"{scheme}://{self.id}", self.size, self.width or 0, self.height or 0)


def uploaded(file: LocalFile, id: str) -> UploadedFile:
    """The file, once upstream has it as `id`."""
    return UploadedFile(id, file.name, file.mime_type, file.size, file.width, file.height)


def upload_file(upstream: Upstream, file: LocalFile) -> Handshake[str]:
    """Everything until a message can name the file; returns its id.

    Raises RequestError (400, no `param` yet) where upstream does not take it, LimitError for a used up quota, and
    every other GatewayError.
    """
    if not upstream.identity.access_token:
        raise RequestError("Files and pictures need an account: send an access token.", code="files_need_account")
    use_case = use_case_of(file.mime_type)
    reply = yield from ask(upstream.post("files", _encode(FileCreation(file.name, file.size, use_case))))
    if reply.status in _TOO_LARGE:
        raise _refused_as_too_large()
    if reply.status != 200:
        raise _refusal(reply)
    created = _read(created_file_decoder, reply)
    # The id becomes part of paths and pointers, so it is checked before it is used anywhere.
    if created.status != "success" or not _FILE_ID.fullmatch(created.file_id):
        raise _broken("did not create the file")
    yield from _put(upstream, created.upload_url, file)
    reply = yield from ask(upstream.post(f"files/{created.file_id}/uploaded", b"{}"))
    if reply.status != 200:
        raise _refusal(reply)
    if _read(confirmed_file_decoder, reply).status != "success":
        raise _broken("did not take the file")
    # Only files that are searched have an index to wait for: pictures and files for the interpreter are ready (6.3).
    if use_case == "my_files":
        yield from _await_index(upstream, created.file_id)
    return created.file_id


def content_of(pieces: Sequence[str | UploadedFile]) -> tuple[SentContent, dict[str, object]]:
    """A message's content and metadata, from its texts and files in their order.

    Texts side by side are joined by a line break, as separate blocks of one message. Pictures stand where they stood;
    other files are named in the metadata only (4.2).
    """
    files = [piece for piece in pieces if isinstance(piece, UploadedFile)]
    parts: list[str | ImagePointer] = []
    texts: list[str] = []  # side by side; joined once, for there may be 100,000 of them
    for piece in pieces:
        part = piece if isinstance(piece, str) else piece.pointer
        if isinstance(part, str):
            texts.append(part)
        elif part is not None:
            if texts:
                parts.append("\n".join(texts))
                texts = []
            parts.append(part)
    if texts:
        parts.append("\n".join(texts))
    if not files:
        return SentContent(parts or [""]), {}
    return SentContent(parts or [""], "multimodal_text"), {"attachments": [file.attachment for file in files]}


# --- the steps --------------------------------------------------------------------------------------------------------


def _put(upstream: Upstream, url: str, file: LocalFile) -> Handshake[None]:
    """The raw bytes, to wherever upstream stores them: nothing of the account goes along (6.2)."""
    # The content is the user's: it leaves only encrypted, or to the origin that was configured (a stand-in's is http).
    if not url.startswith(("https://", f"{upstream.base_url}/")) or not _URL.fullmatch(url):
        raise _broken("named an address for the file that is not https")
    headers = {
        "accept": "application/json, text/plain, */*",
        "content-type": file.mime_type,
        "origin": upstream.base_url,
        "user-agent": upstream.profile.user_agent,
        "x-ms-blob-type": "BlockBlob",
        "x-ms-version": _STORE_VERSION,
    }
    reply = yield from ask(HttpRequest("PUT", url, headers, file.content))
    if reply.status == 413:
        raise _refused_as_too_large()
    # 201 is what the store says; any other success is taken as well (6.2).
    if not 200 <= reply.status < 300:
        raise UpstreamError(f"Upstream's file store answered {reply.status}", code="upload_failed")


def _await_index(upstream: Upstream, file_id: str) -> Handshake[None]:
    """Upstream reads a document before a message may use it. One that takes too long is used as it is (6.3)."""
    for attempt in range(_POLLS):
        if attempt:
            yield Wait(_POLL_SECONDS)
        reply = yield from ask(upstream.get(f"files/{file_id}"))
        if reply.status >= 500:
            continue  # the file is there; only the look at it failed
        if reply.status != 200:
            raise _refusal(reply)
        status = _read(file_state_decoder, reply).retrieval_index_status
        if status == "success":
            return
        if status == "failed":
            raise RequestError("Upstream can't read this file.", code="file_processing_failed")


def _refusal(reply: HttpReply) -> GatewayError:
    return refusal_of(reply.status, reply.headers, reply.body)


def _refused_as_too_large() -> GatewayError:
    return RequestError("Upstream does not take this file, it is too large.", code="file_too_large")


def _read(decoder: msgspec.json.Decoder[T], reply: HttpReply) -> T:
    try:
        return decoder.decode(reply.body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested beyond the decoder's depth
        raise _broken("answered about the file what the protocol does not say") from error


def _broken(what: str) -> UpstreamError:
    return UpstreamError(f"Upstream {what}", code="upload_failed")


_encode = msgspec.json.Encoder().encode
