"""HAR files, as a browser's developer tools save them, as captured calls.

Rule: a HAR has no chunk boundaries, so a body is one chunk at the time it had taken. Only calls of the API are taken.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shim.cassettes.format import CassetteError
from shim.cassettes.recording import CapturedCall

# Pages, scripts and telemetry of the same origin are no calls of the API.
_API = re.compile(r"\w+://[^/]+/(?:backend-(?:api|anon)|public-api|api/auth|oauth)/")


class _HarHeader(msgspec.Struct):
    name: str
    value: str


class _HarPostData(msgspec.Struct):
    text: str = ""


class _HarRequest(msgspec.Struct, rename="camel"):
    method: str
    url: str
    headers: list[_HarHeader] = []
    post_data: _HarPostData | None = None


class _HarContent(msgspec.Struct, rename="camel"):
    text: str | None = None
    encoding: str = ""
    mime_type: str = ""


class _HarResponse(msgspec.Struct):
    status: int
    headers: list[_HarHeader] = []
    content: _HarContent = msgspec.field(default_factory=_HarContent)


class _HarTimings(msgspec.Struct):
    receive: float = 0.0


class _HarEntry(msgspec.Struct):
    request: _HarRequest
    response: _HarResponse
    timings: _HarTimings = msgspec.field(default_factory=_HarTimings)


class _HarLog(msgspec.Struct):
    entries: list[_HarEntry]


class _Har(msgspec.Struct):
    log: _HarLog


def read_har(path: Path) -> Iterator[CapturedCall]:
    """The API calls of a HAR file that were answered. Raises CassetteError if it is no HAR file."""
    try:
        entries = _decoder.decode(path.read_bytes()).log.entries
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CassetteError(f"{path.name} is not a HAR file: {error}") from error
    for entry in entries:
        request, response = entry.request, entry.response
        # Status 0 is a call that was blocked or broken off.
        if not (_API.match(request.url) and response.status):
            continue
        content = response.content
        headers = _pairs(response.headers)
        if content.mime_type and not any(name == "content-type" for name, _ in headers):
            headers.append(("content-type", content.mime_type))
        text = content.text or ""
        body = base64.b64decode(text) if content.encoding == "base64" else text.encode()
        yield CapturedCall(
            method=request.method,
            url=request.url,
            headers=_pairs(request.headers),
            body=(request.post_data.text if request.post_data else "").encode(),
            status=response.status,
            answer_headers=headers,
            # Times of a HAR are in milliseconds, and -1 where nothing was measured.
            chunks=[(max(0.0, entry.timings.receive) / 1000, body)],
            # Browsers leave out the text of streams and of bodies that they have let go of.
            kept="none" if content.text is None else "all",
        )


def _pairs(headers: list[_HarHeader]) -> list[tuple[str, str]]:
    """The headers, without the pseudo-headers of HTTP/2."""
    return [(one.name.lower(), one.value) for one in headers if not one.name.startswith(":")]


_decoder = msgspec.json.Decoder(_Har)
