"""The files a chat request brings or points at: where they stand, and what the inline ones hold (protocol.md 4.2, 6).

Rule: whatever is wrong with a part is a 400 that names it by `param`, before an account or a socket is touched.
"""

import re
from typing import Literal

import msgspec

from shim.apis.chat.wire import AudioPart, ChatRequest, ContentPart, FilePart, ImagePart
from shim.errors import RequestError

MAX_FILES = 20  # a request; upstream's own page takes no more in a message either
_MAX_ESCAPES = 250_000  # percent escapes in a data URL; bytes by the million belong into base64

_DATA_URL = re.compile(r"data:(?P<type>[^,;]{0,127})(?P<parameters>[^,]{0,256}),", re.IGNORECASE)
_WEB_URL = re.compile(r"[a-z][a-z0-9+.-]{0,31}://", re.IGNORECASE)
_ESCAPES = re.compile(rb"(?:%[0-9a-fA-F]{2})+")
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


class FileInput(msgspec.Struct, frozen=True):
    """One file of a request. `message` and `part` are its indices, `param` the path of the field that holds it.

    `form` says what `text` is: a URL to fetch, a data URL, or bare base64. A `picture` has to be one by its bytes;
    `detail` decides the tokens it counts.
    """

    message: int
    part: int
    param: str
    form: Literal["url", "data_url", "base64"]
    text: str
    picture: bool
    name: str | None = None
    detail: str = "auto"


class Inline(msgspec.Struct, frozen=True):
    """What an inline file holds. `mime_type` is what its data URL says of it."""

    content: bytes
    mime_type: str | None = None


def file_inputs(request: ChatRequest) -> list[FileInput]:
    """Every file of the request, in its order. Raises RequestError (400) for one that can't be served."""
    found = [
        given
        for message, said in enumerate(request.messages)
        if isinstance(said.content, list)
        for part, content in enumerate(said.content)
        if (given := _file_input(content, message, part)) is not None
    ]
    if len(found) > MAX_FILES:
        raise RequestError(
            f"A request may have at most {MAX_FILES} files and pictures, this one has {len(found)}.",
            param=found[MAX_FILES].param,
            code="too_many_files",
        )
    return found


def decode_inline(given: FileInput, limit: int) -> Inline:
    """The bytes of a data URL or of bare base64. Raises RequestError (400) where it is malformed, or longer than
    `limit` bytes."""
    inline = _decode_data_url(given) if given.form == "data_url" else Inline(_from_base64(given.text, given))
    if not inline.content:
        raise invalid_data(given, "it is empty")
    if len(inline.content) > limit:
        raise too_large(limit, given.param)
    return inline


def invalid_data(given: FileInput, why: str) -> RequestError:
    """The error for inline data that can't be read."""
    kind = "data URL" if given.form == "data_url" else "base64 data"
    return RequestError(f"The {kind} can't be read: {why}.", param=given.param, code="invalid_data_url")


def too_large(limit: int, param: str | None = None) -> RequestError:
    """The error for a file of more than `limit` bytes."""
    return RequestError(f"The file is larger than the {limit} bytes allowed.", param=param, code="file_too_large")


# --- finding them -----------------------------------------------------------------------------------------------------


def _file_input(content: ContentPart, message: int, part: int) -> FileInput | None:
    place = f"messages[{message}].content[{part}]"
    match content:
        case ImagePart(image_url=image, url=url, detail=detail):
            param = f"{place}.image_url" if isinstance(image, str) else f"{place}.image_url.url"
            return FileInput(message, part, param, _form_of(url), url.strip(), picture=True, detail=detail)
        case FilePart():
            return _of_file_part(content, message, part, f"{place}.file")
        case AudioPart():
            raise _unsupported("Content parts of type 'input_audio' are not supported.", f"{place}.input_audio")
        case _:
            return None


def _of_file_part(content: FilePart, message: int, part: int, place: str) -> FileInput:
    file = content.file
    if text := file.file_data or "":
        form: Literal["url", "data_url", "base64"] = "base64" if not _is_url(text) else _form_of(text)
        return FileInput(message, part, f"{place}.file_data", form, text.strip(), picture=False, name=file.filename)
    if text := file.file_url or "":
        return FileInput(
            message, part, f"{place}.file_url", _form_of(text), text.strip(), picture=False, name=file.filename
        )
    if file.file_id:
        raise _unsupported(
            "Files uploaded before are not kept here: send the file itself as 'file_data'.", f"{place}.file_id"
        )
    raise RequestError("A file needs 'file_data' or 'file_url'.", param=place, code="missing_required_parameter")


def _form_of(url: str) -> Literal["url", "data_url"]:
    return "data_url" if url.lstrip()[:5].lower() == "data:" else "url"


def _is_url(text: str) -> bool:
    return _form_of(text) == "data_url" or _WEB_URL.match(text.lstrip()) is not None


def _unsupported(sentence: str, param: str) -> RequestError:
    return RequestError(sentence, param=param, code="unsupported_content")


# --- reading them -----------------------------------------------------------------------------------------------------


def _decode_data_url(given: FileInput) -> Inline:
    """RFC 2397, and kinder: whitespace in the data, a missing padding and the URL-safe alphabet are read too."""
    head = _DATA_URL.match(given.text)
    if head is None:
        raise invalid_data(given, "it does not begin with 'data:<type>;base64,'")
    data = given.text[head.end() :]
    words = [word.strip().lower() for word in head["parameters"].split(";")]
    mime_type = head["type"].strip().lower() or None
    if "base64" not in words:
        return Inline(_unescaped(data, given), mime_type)
    if "%" in data:
        data = _unescaped(data, given).decode("latin-1")
    return Inline(_from_base64(data, given), mime_type)


def _unescaped(data: str, given: FileInput) -> bytes:
    if data.count("%") > _MAX_ESCAPES:
        raise invalid_data(given, "too many percent escapes, use base64")
    return _ESCAPES.sub(lambda run: bytes.fromhex(run[0].replace(b"%", b"").decode()), data.encode())


def _from_base64(data: str, given: FileInput) -> bytes:
    letters = "".join(data.split()).translate(_STANDARD_ALPHABET).rstrip("=")
    padded = letters + "=" * (-len(letters) % 4)
    try:
        return msgspec.convert(padded, bytes)
    except msgspec.ValidationError as error:
        raise invalid_data(given, "it is not base64") from error
