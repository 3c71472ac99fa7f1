"""HAR files, as a browser's developer tools save them, as calls that were heard.

Rule: a HAR has no chunk boundaries, so a body is one chunk at the time it had taken. Only calls of the API are taken.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shim.cassettes.format import CassetteError
from shim.cassettes.recording import Heard

_API = re.compile(r"\w+://[^/]+/(?:backend-(?:api|anon)|public-api|api/auth|oauth)/")


class _Pair(msgspec.Struct):
    name: str
    value: str


class _PostData(msgspec.Struct):
    text: str = ""


class _Request(msgspec.Struct, rename="camel"):
    method: str
    url: str
    headers: list[_Pair] = []
    post_data: _PostData | None = None


class _Content(msgspec.Struct, rename="camel"):
    text: str | None = None
    encoding: str = ""
    mime_type: str = ""


class _Response(msgspec.Struct):
    status: int
    headers: list[_Pair] = []
    content: _Content = msgspec.field(default_factory=_Content)


class _Timings(msgspec.Struct):
    receive: float = 0.0


class _Entry(msgspec.Struct):
    request: _Request
    response: _Response
    timings: _Timings = msgspec.field(default_factory=_Timings)


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _Har(msgspec.Struct):
    log: _Log


def read_har(path: Path) -> Iterator[Heard]:
    """The API calls of a HAR file that were answered. Raises CassetteError where it is none."""
    try:
        entries = _decoder.decode(path.read_bytes()).log.entries
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CassetteError(f"{path.name} is not a HAR file: {error}") from error
    for entry in entries:
        if _API.match(entry.request.url) and entry.response.status:
            yield _heard(entry)


def _heard(entry: _Entry) -> Heard:
    request, response = entry.request, entry.response
    content = response.content
    headers = _pairs(response.headers)
    if content.mime_type and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", content.mime_type))
    return Heard(
        method=request.method,
        url=request.url,
        headers=_pairs(request.headers),
        body=(request.post_data.text if request.post_data else "").encode(),
        status=response.status,
        answer_headers=headers,
        chunks=[(max(0.0, entry.timings.receive) / 1000, _bytes(content))],
        kept="none" if content.text is None else "all",
    )


def _bytes(content: _Content) -> bytes:
    text = content.text or ""
    return base64.b64decode(text) if content.encoding == "base64" else text.encode()


def _pairs(headers: list[_Pair]) -> list[tuple[str, str]]:
    """HTTP/2 pseudo-headers are none."""
    return [(one.name.lower(), one.value) for one in headers if not one.name.startswith(":")]


_decoder = msgspec.json.Decoder(_Har)
