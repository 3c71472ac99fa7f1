"""`/v1/files`: a file, a page of them, and one that is deleted, in OpenAI's form and in Anthropic's."""

from typing import Literal

import msgspec

Purpose = Literal["assistants", "vision", "user_data"]


class FileObject(msgspec.Struct, frozen=True):
    """A file. Times are in seconds since 1970."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    expires_at: int
    object: Literal["file"] = "file"
    status: Literal["processed"] = "processed"


class FileList(msgspec.Struct, frozen=True):
    """A page of files."""

    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class FileDeleted(msgspec.Struct, frozen=True):
    """It is forgotten here."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class AnthropicFile(msgspec.Struct, frozen=True, tag="file"):
    """A file, in Anthropic's form."""

    id: str
    filename: str
    mime_type: str
    size_bytes: int
    created_at: str
    downloadable: bool = True


class AnthropicFileList(msgspec.Struct, frozen=True):
    """A page of files, in Anthropic's form: what its newest clients read (`next_page`) and those before (the rest)."""

    data: list[AnthropicFile]
    has_more: bool
    first_id: str | None
    last_id: str | None
    next_page: str | None


class AnthropicFileDeleted(msgspec.Struct, frozen=True, tag="file_deleted"):
    """It is forgotten here."""

    id: str
