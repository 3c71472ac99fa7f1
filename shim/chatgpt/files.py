"""Files upstream: what is sent and read while one is uploaded (protocol.md 6.1, 6.3), and what it is to be used for."""

from typing import Literal

import msgspec

UseCase = Literal["multimodal", "my_files", "ace_upload"]

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})

# What upstream reads as a document; anything else that is no picture goes to the code interpreter's sandbox.
_DOCUMENT_TYPES = frozenset(
    {
        "application/json",
        "application/msword",
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/x-latext",  # upstream's spelling
        "text/html",
        "text/javascript",
        "text/markdown",
        "text/plain",
        "text/x-c",
        "text/x-c++",
        "text/x-csharp",
        "text/x-java",
        "text/x-php",
        "text/x-ruby",
        "text/x-script.python",
        "text/x-sh",
        "text/x-tex",
        "text/x-typescript",
    }
)


class FileCreation(msgspec.Struct, frozen=True):
    """Announces a file. `file_size` is in bytes."""

    file_name: str
    file_size: int
    # What upstream does with the file: shows it to the model, reads it into an index, or puts it into the sandbox
    # (6.1).
    use_case: UseCase
    timezone_offset_min: int = 0
    reset_rate_limits: bool = False


class CreatedFile(msgspec.Struct, frozen=True):
    """Where its bytes go, and its id from now on."""

    # Signed and elsewhere, so nothing of the account goes along with the bytes (6.2).
    upload_url: str
    file_id: str
    status: str = "success"


class ConfirmedFile(msgspec.Struct, frozen=True):
    """Whether upstream has the bytes."""

    status: str = "success"


class FileState(msgspec.Struct, frozen=True):
    """How far a document's indexing is: `pending`, `success` or `failed`."""

    # Only of documents: pictures and files for the interpreter have no index to wait for (6.3).
    retrieval_index_status: str | None = None


def use_case_of(mime_type: str) -> UseCase:
    """What a file of this type is uploaded for (protocol.md 6.1)."""
    if mime_type in IMAGE_TYPES:
        return "multimodal"
    return "my_files" if mime_type in _DOCUMENT_TYPES else "ace_upload"


created_file_decoder = msgspec.json.Decoder(CreatedFile)
confirmed_file_decoder = msgspec.json.Decoder(ConfirmedFile)
file_state_decoder = msgspec.json.Decoder(FileState)
