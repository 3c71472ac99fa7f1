"""Files that a prompt carries in itself: data URLs and bare base64 (protocol.md 4.2, 6).

Rule: whatever is wrong with one is a 400 that names it by `param`, before an account or a socket is touched.
"""

import re

import msgspec

from shim.errors import RequestError
from shim.protocol.prompt import Attached, SourceForm

_MAX_ESCAPES = 250_000  # percent escapes in a data URL; bytes by the million belong into base64

_DATA_URL = re.compile(r"data:(?P<type>[^,;]{0,127})(?P<parameters>[^,]{0,256}),", re.IGNORECASE)
_WEB_URL = re.compile(r"[a-z][a-z0-9+.-]{0,31}://", re.IGNORECASE)
_ESCAPES = re.compile(rb"(?:%[0-9a-fA-F]{2})+")  # whole runs, so that few calls of Python are made for many escapes
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


class Inline(msgspec.Struct, frozen=True):
    """An inline file's bytes. `mime_type` is its data URL's, None for bare base64."""

    content: bytes
    mime_type: str | None = None


def form_of_url(text: str) -> SourceForm:
    """Which of the two kinds of URL it is."""
    return "data_url" if text.lstrip()[:5].lower() == "data:" else "url"


def form_of_data(text: str) -> SourceForm:
    """What clients put into a field for data: mostly base64, but URLs of either kind as well."""
    return form_of_url(text) if form_of_url(text) == "data_url" or _WEB_URL.match(text.lstrip()) else "base64"


def decode_inline(part: Attached, limit: int) -> Inline:
    """The bytes of a data URL or of bare base64. Raises RequestError (400) where it is malformed, or longer than
    `limit` bytes."""
    mime_type = None
    if part.form == "data_url":
        # RFC 2397, and kinder: whitespace in the data, a missing padding and the URL-safe alphabet are read too.
        head = _DATA_URL.match(part.source)
        if head is None:
            raise invalid_data(part, "it does not begin with 'data:<type>;base64,'")
        mime_type = head["type"].strip().lower() or None
        data = part.source[head.end() :]
        words = [word.strip().lower() for word in head["parameters"].split(";")]
        if "base64" in words:
            if "%" in data:  # in a URL "+", "/" and "=" may be escaped, and some clients do that
                data = _unescaped(data, part).decode("latin-1")
            content = _from_base64(data, part)
        else:
            content = _unescaped(data, part)
    else:
        content = _from_base64(part.source, part)
    if not content:
        raise invalid_data(part, "it is empty")
    if len(content) > limit:
        raise too_large(limit, part.param)
    return Inline(content, mime_type)


def invalid_data(part: Attached, why: str) -> RequestError:
    """The error for inline data that can't be read."""
    kind = "data URL" if part.form == "data_url" else "base64 data"
    return RequestError(f"The {kind} can't be read: {why}.", param=part.param, code="invalid_data_url")


def too_large(limit: int, param: str | None = None) -> RequestError:
    """The error for a file of more than `limit` bytes."""
    return RequestError(f"The file is larger than the {limit} bytes allowed.", param=param, code="file_too_large")


def _unescaped(data: str, part: Attached) -> bytes:
    if data.count("%") > _MAX_ESCAPES:
        raise invalid_data(part, "too many percent escapes, use base64")
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].replace(b"%", b"").decode()), data.encode())


def _from_base64(data: str, part: Attached) -> bytes:
    letters = "".join(data.split()).translate(_STANDARD_ALPHABET).rstrip("=")
    padded = letters + "=" * (-len(letters) % 4)
    # Strict about the alphabet, where base64.b64decode would drop what is not of it and read on.
    try:
        return msgspec.convert(padded, bytes)
    except msgspec.ValidationError as error:
        raise invalid_data(part, "it is not base64") from error
