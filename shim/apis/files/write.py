"""Files as their clients read them, in the one form or the other."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from shim.apis.files.read import CURSOR
from shim.apis.files.wire import (
    AnthropicFile,
    AnthropicFileDeleted,
    AnthropicFileList,
    FileDeleted,
    FileList,
    FileObject,
)
from shim.files.kept import KeptFile


def file(kept: KeptFile, *, anthropic: bool) -> bytes:
    """One file."""
    return _encode(_anthropic(kept) if anthropic else _openai(kept))


def page(files: Sequence[KeptFile], *, more: bool, anthropic: bool) -> bytes:
    """Files, and whether there are more."""
    first, last = (files[0].id, files[-1].id) if files else (None, None)
    if anthropic:
        next_page = f"{CURSOR}{last}" if more else None
        return _encode(AnthropicFileList([_anthropic(one) for one in files], more, first, last, next_page))
    return _encode(FileList([_openai(one) for one in files], more, first, last))


def deleted(id: str, *, anthropic: bool) -> bytes:
    """That a file is forgotten."""
    return _encode(AnthropicFileDeleted(id) if anthropic else FileDeleted(id))


def _openai(kept: KeptFile) -> FileObject:
    return FileObject(kept.id, kept.size, kept.created, kept.name, kept.purpose, kept.until)


def _anthropic(kept: KeptFile) -> AnthropicFile:
    created = datetime.fromtimestamp(kept.created, UTC).isoformat().replace("+00:00", "Z")
    return AnthropicFile(kept.id, kept.name, kept.mime_type, kept.size, created)


_encode = msgspec.json.Encoder().encode
