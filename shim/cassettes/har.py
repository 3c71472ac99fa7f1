"""HAR files, as a browser's developer tools save them, as captured calls.

Rule: a HAR has no chunk boundaries, so a body is one chunk at the time it had taken. Only calls of the API are taken.
"""

import base64
import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from shim.cassettes.format import CassetteError
from shim.cassettes.recording import CapturedCall
from shim.surrogates import mend_halves

# Pages, scripts and telemetry of the same origin are no calls of the API.
_API = re.compile(r"\w+://[^/]+/(?:backend-(?:api|anon)|public-api|api/auth|oauth)/")


class _HarHeader(msgspec.Struct):
    name: str
    value: str | None = None


class _HarPostData(msgspec.Struct):
    text: str | None = None


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
    content: _HarContent | None = None


class _HarTimings(msgspec.Struct):
    receive: float | None = None


class _HarEntry(msgspec.Struct):
    request: _HarRequest
    response: _HarResponse
    timings: _HarTimings | None = None


class _HarUrl(msgspec.Struct):
    url: str


class _HarCalled(msgspec.Struct):
    """As much of an entry as tells whether it matters: what was called, and whether there was an answer."""

    request: _HarUrl
    response: dict[str, msgspec.Raw] | None = None


class _HarLog(msgspec.Struct):
    entries: list[msgspec.Raw]


class _Har(msgspec.Struct):
    log: _HarLog


def read_har(path: Path) -> Iterator[CapturedCall]:
    """The API calls of a HAR file that were answered. Raises CassetteError if it is no HAR file, or if one of those
    calls can't be read; what is wrong with others (of other sites, cancelled, blocked) does not matter."""
    try:
        # HAR 1.2 asks its readers to ignore a byte order mark.
        entries = _decoder.decode(mend_halves(path.read_bytes().removeprefix(codecs.BOM_UTF8))).log.entries
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CassetteError(f"{path.name} is not a HAR file: {error}") from error
    for number, raw in enumerate(entries):
        try:
            called = _called.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if not _API.match(called.request.url) or not called.response:
            continue
        try:
            entry = _entry.decode(raw)
            # Status 0 is a call that was blocked or broken off.
            heard = _heard(entry) if entry.response.status else None
        except ValueError as error:  # msgspec's errors are among them, and base64's
            raise CassetteError(f"{path.name}, entry {number}: {error}") from error
        if heard is not None:
            yield heard


def _heard(entry: _HarEntry) -> CapturedCall:
    request, response = entry.request, entry.response
    content = response.content or _HarContent()
    headers = _pairs(response.headers)
    if content.mime_type and not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", content.mime_type))
    text = content.text or ""
    body = base64.b64decode(text, validate=True) if content.encoding == "base64" else text.encode()
    receive = entry.timings.receive if entry.timings is not None else None
    return CapturedCall(
        method=request.method,
        url=request.url,
        headers=_pairs(request.headers),
        body=((request.post_data.text if request.post_data else None) or "").encode(),
        status=response.status,
        answer_headers=headers,
        # Times of a HAR are in milliseconds, and -1 where nothing was measured.
        chunks=[(max(0.0, receive or 0.0) / 1000, body)],
        # Browsers leave out the text of streams and of bodies that they have let go of.
        kept="none" if content.text is None else "all",
    )


def _pairs(headers: list[_HarHeader]) -> list[tuple[str, str]]:
    """The headers, without the pseudo-headers of HTTP/2."""
    return [(one.name.lower(), one.value or "") for one in headers if not one.name.startswith(":")]


_decoder = msgspec.json.Decoder(_Har)
_called = msgspec.json.Decoder(_HarCalled)
_entry = msgspec.json.Decoder(_HarEntry)
