"""A file as OpenAI's APIs name one in a request: its data, its URL, or the id it was uploaded under."""

from typing import Protocol

from shim.errors import RequestError
from shim.protocol.prompt import File
from shim.protocol.turn.inline_files import form_of_data, form_of_url


class NamedFile(Protocol):
    """The fields that chat and Responses have for it."""

    @property
    def file_data(self) -> str | None: ...
    @property
    def file_url(self) -> str | None: ...
    @property
    def file_id(self) -> str | None: ...
    @property
    def filename(self) -> str | None: ...


def file_of(named: NamedFile, field: str) -> File:
    """The file that the client's `field` holds. Raises RequestError where it names none."""
    if data := named.file_data:
        return File(data.strip(), form_of_data(data), f"{field}.file_data", named.filename)
    if url := named.file_url:
        return File(url.strip(), form_of_url(url), f"{field}.file_url", named.filename)
    if named.file_id:
        return File(named.file_id, "file_id", f"{field}.file_id", named.filename)
    raise RequestError(
        "A file needs 'file_data', 'file_url' or 'file_id'.", param=field, code="missing_required_parameter"
    )
