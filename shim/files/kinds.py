"""What a file is: its type by its bytes, the size of a picture, and a name that fits its type.

Rule: bytes decide. What the client or a server declares only chooses among the types that the bytes allow: which kind
of text it is, or which of the formats that begin alike. A picture is always recognised, never taken on trust.
"""

import mimetypes
import re
import struct
import unicodedata
from hashlib import sha256
from io import BytesIO
from pathlib import PurePosixPath

import msgspec

from shim.chatgpt.files import IMAGE_TYPES
from shim.protocol.commands import Body
from shim.protocol.turn.uploads import LocalFile

_TEXT = "text/plain"
_BINARY = "application/octet-stream"
_ZIP = "application/zip"
_OFFICE = "application/vnd.openxmlformats-officedocument."
# What puremagic gives three bytes of a signature; with less, any text is something.
_SURE = 0.3
# A picture's size stands before this, even behind a JPEG's colour profile and thumbnail.
_HEAD_BYTES = 2 * 1024 * 1024
# Characters. File systems take 255 bytes, which 120 letters are not always, but mostly, within.
_MAX_NAME = 120
# With the dot. What is longer is the end of a sentence and no suffix.
_MAX_SUFFIX = 12
# What Windows does not take in a name; the slashes are cut off before.
_RESERVED = re.compile(r'[<>:"|?*]')

# Formats whose bytes are all text, so that they are looked for before text is.
_TEXTUAL_SIGNATURES = {b"%PDF-": "application/pdf", b"{\\rtf": "application/rtf"}

# What lies in a zip file that is more than one.
_ZIP_MEMBERS = {
    b"word/document": f"{_OFFICE}wordprocessingml.document",
    b"xl/workbook": f"{_OFFICE}spreadsheetml.sheet",
    b"ppt/presentation": f"{_OFFICE}presentationml.presentation",
}

# Text by its suffix, in upstream's words for it (protocol.md 6.1); the rest is the standard library's.
_SUFFIXES = {
    ".c": "text/x-c",
    ".h": "text/x-c",
    ".cc": "text/x-c++",
    ".cpp": "text/x-c++",
    ".hpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".docx": f"{_OFFICE}wordprocessingml.document",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".md": "text/markdown",
    ".php": "text/x-php",
    ".pptx": f"{_OFFICE}presentationml.presentation",
    ".py": "text/x-script.python",
    ".rb": "text/x-ruby",
    ".rtf": "application/rtf",
    ".sh": "text/x-sh",
    ".tex": "text/x-tex",
    ".ts": "text/x-typescript",
    ".webp": "image/webp",
    ".xlsx": f"{_OFFICE}spreadsheetml.sheet",
}
_SYNONYMS = {
    "application/javascript": "text/javascript",
    "application/x-javascript": "text/javascript",
    "application/x-python-code": "text/x-script.python",
    "application/x-sh": "text/x-sh",
    "application/x-tex": "text/x-tex",
    "application/x-zip-compressed": _ZIP,
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "text/x-python": "text/x-script.python",
    "text/x-markdown": "text/markdown",
}
_TEXT_APPLICATIONS = frozenset(
    {"application/json", "application/xml", "application/x-ndjson", "application/yaml", "application/x-yaml"}
)
# The one suffix of a type that has several.
_SUFFIX_OF = {
    "image/jpeg": ".jpg",
    "text/html": ".html",
    "text/x-c": ".c",
    "text/x-c++": ".cpp",
    **{_SUFFIXES[suffix]: suffix for suffix in (".md", ".py", ".js", ".docx", ".pptx", ".xlsx", ".webp", ".rtf")},
}


class Declared(msgspec.Struct, frozen=True):
    """The name and type that the sender of a file gives it."""

    name: str | None = None
    mime_type: str | None = None


def recognise(content: bytes, declared: Declared) -> LocalFile | None:
    """The file these bytes are, or None for a picture whose size can't be read. Never raises for what is in them."""
    return recognise_sample(content, declared, content, sha256(content).hexdigest())


def recognise_sample(sample: bytes, declared: Declared, content: Body, digest: str) -> LocalFile | None:
    """The same of a file of which only a `sample` is looked at: its beginning, or all of it."""
    mime_type = type_of(sample, declared)
    width = height = None
    if mime_type in IMAGE_TYPES:
        import imagesize  # type: ignore[import-untyped]  # noqa: PLC0415  as below

        try:
            # From the header alone: nothing is decoded.
            width, height = map(int, imagesize.get(BytesIO(sample[:_HEAD_BYTES])))
        except (ValueError, OSError, LookupError, struct.error):
            return None
        if width <= 0 or height <= 0:  # -1 is what the library says of a header it does not understand
            return None
    name = safe_name(declared.name, mime_type)
    return LocalFile(name, mime_type, content, digest, width, height)


def type_of(content: bytes, declared: Declared) -> str:
    """The file's type, lower case and without parameters."""
    for signature, mime_type in _TEXTUAL_SIGNATURES.items():
        if content.startswith(signature):
            return mime_type
    said = (_plain(declared.mime_type), _by_suffix(declared.name))
    # Servers say "text" for what they do not know.
    hints = [hint for hint in said if hint not in {None, _TEXT}]
    is_text = b"\0" not in content
    if is_text:
        try:
            content.decode()
        except UnicodeDecodeError:
            is_text = False
    if is_text:
        return next(filter(_is_textual, hints), _TEXT)
    possible = _possible(content)
    if possible:
        return next((hint for hint in hints if hint in possible), possible[0])
    return next((hint for hint in hints if hint not in IMAGE_TYPES and not _is_textual(hint)), _BINARY)


def safe_name(name: str | None, mime_type: str) -> str:
    """A file name without path, control characters or tricks of direction, whose suffix fits the type."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    plain = "".join(letter for letter in last if not unicodedata.category(letter).startswith("C"))
    cleaned = _RESERVED.sub("_", plain).strip(" .")
    suffix = PurePosixPath(cleaned).suffix
    if len(suffix) > _MAX_SUFFIX:
        suffix = ""
    stem = cleaned.removesuffix(suffix)
    of_suffix = _by_suffix(f"x{suffix}")
    # Plain text and unknown bytes may have any suffix but a picture's.
    fits = bool(suffix) and of_suffix not in IMAGE_TYPES if mime_type in {_TEXT, _BINARY} else of_suffix == mime_type
    if not fits:
        # A suffix that nobody knows may be part of the name: `report.v2` stays whole.
        if of_suffix is None:
            stem += suffix
        suffix = _SUFFIX_OF.get(mime_type) or _types.guess_extension(mime_type) or ".bin"
    return (stem.strip(" .") or "file")[: _MAX_NAME - len(suffix)] + suffix


def _by_suffix(name: str | None) -> str | None:
    suffix = PurePosixPath(name or "").suffix.lower()
    return _SUFFIXES.get(suffix) or _plain(_types.guess_type(f"x{suffix}")[0])


def _plain(mime_type: str | None) -> str | None:
    """A type in upstream's spelling; None for a type that says nothing."""
    word = (mime_type or "").partition(";")[0].strip().lower()
    word = _SYNONYMS.get(word, word)
    return None if word in {"", _BINARY, "binary/octet-stream"} or not _TYPE.fullmatch(word) else word


def _is_textual(mime_type: str) -> bool:
    return mime_type.startswith("text/") or mime_type in _TEXT_APPLICATIONS or mime_type.endswith(("+xml", "+json"))


def _possible(content: bytes) -> list[str]:
    """The types these bytes may have, the likeliest first."""
    import puremagic  # noqa: PLC0415  with its tables it is 1.5 MB, and many gateways never get a file

    try:
        # Without a file name, because puremagic would open a file of that name on this machine.
        matches = puremagic.magic_string(content)
    except (puremagic.PureError, ValueError):
        return []
    found = [match.mime_type for match in matches if match.confidence >= _SURE]
    possible = [word for word in map(_plain, found) if word]
    if _ZIP in possible:
        # Names of members are never compressed, so they can be looked for. Without one, no office format is believed.
        inner = next((mime_type for member, mime_type in _ZIP_MEMBERS.items() if member in content), None)
        return [inner] if inner else [_ZIP, *(word for word in possible if not word.startswith(_OFFICE))]
    return possible


_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}/[a-z0-9][a-z0-9.+-]{0,99}")
# The library's own table, not this machine's, which differs from one to the next.
_types = mimetypes.MimeTypes()
