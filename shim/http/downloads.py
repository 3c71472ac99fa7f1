"""`GET /files/{link}`: a file that an answer linked to, fetched from upstream by the account that has it.

Rule: the link is the key (`shim.exchange.links`). What comes is streamed on with nothing kept, and never as something a
browser would run: only pictures are shown, everything else is a download.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote

from litestar import Request, get
from litestar.params import FromPath
from litestar.types import ASGIApp

from shim.http.openapi import OpenApiOperation
from shim.http.presence import while_present
from shim.http.provided import TheGateway
from shim.http.responses import ByteStream, each_of
from shim.transport.base import Response

_PICTURES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
# Digits: what is longer is no file's length, and a number that servers and clients may not be able to hold.
_LONGEST_LENGTH = 15
_UNSAFE = re.compile(r"[^\w.-]+")
_NO_ASCII = re.compile(r"[^\x00-\x7f]")

OPERATION = OpenApiOperation(
    "get",
    "/files/{link}",
    "getFile",
    "Fetch a file that an answer linked to. The link is the key.",
    parameters={"link": "The last part of a link in an answer."},
    gives={"image/*": bytes, "application/octet-stream": bytes},
    errors=(400, 401, 403, 404, 429, 502, 503, 504),
    open=True,
)


@get("/files/{link:str}")
async def get_file(request: Request[Any, Any, Any], gateway: TheGateway, link: FromPath[str]) -> ASGIApp:
    """The bytes of one file."""
    file, response = await while_present(request, gateway.file(link))
    name = (file.sandbox_path or file.file_id or "").rpartition("/")[2]
    headers, longest = download_headers(name, response), gateway.settings.total_timeout
    return ByteStream(request, each_of(bytes_of(response)), response.close, headers=headers, longest=longest)


async def bytes_of(response: Response) -> AsyncGenerator[bytes]:
    """The body of upstream's answer, as it comes."""
    while chunk := await response.chunk():
        yield chunk


def download_headers(name: str, response: Response) -> dict[str, str]:
    """The head of a download under a name, which is made safe here."""
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    shown = media_type in _PICTURES
    # From its end, where a name has what says of what kind it is.
    name = _UNSAFE.sub("_", name)[-100:] or "file"
    plain = _NO_ASCII.sub("_", name)
    # A head has no letters but ASCII's; the whole name is told beside it (RFC 6266 4.3).
    whole = "" if plain == name else f"; filename*=UTF-8''{quote(name)}"
    headers = {
        "content-type": media_type if shown else "application/octet-stream",
        "content-disposition": f'{"inline" if shown else "attachment"}; filename="{plain}"{whole}',
        "content-security-policy": "default-src 'none'; sandbox",
        "x-content-type-options": "nosniff",
        "cache-control": "private, max-age=3600",
    }
    return headers | length_of(response.headers)


def length_of(headers: Mapping[str, str]) -> dict[str, str]:
    """Upstream's `content-length` where the client's body has it, too, and a server can send it on; else nothing. One
    that disagrees with how the body is framed or coded would be a false one, which breaks our own answer."""
    text = headers.get("content-length", "")
    if {"content-encoding", "transfer-encoding"} & headers.keys():
        return {}
    return {"content-length": text} if text.isascii() and text.isdecimal() and len(text) <= _LONGEST_LENGTH else {}
