"""Files in the OpenAPI document."""

from shim.apis.files.wire import FileDeleted, FileList, FileObject
from shim.http.openapi import JSON, OpenApiOperation

_ID = "file-0199a0b0c0d00123456789abcdef0123"
_FILE = FileObject(_ID, 120, 1_790_000_000, "notes.txt", "user_data", 1_792_592_000)
_ERRORS = (400, 401, 404, 503)
_PARAMETER = {"file_id": "The id of a file."}

OPERATIONS = (
    OpenApiOperation(
        "post",
        "/v1/files",
        "createFile",
        "Upload a file (multipart/form-data with `file`, `purpose` and, where wanted, `expires_after`).",
        gives={JSON: FileObject},
        example={JSON: _FILE},
        errors=(400, 401, 403, 413, 429, 502, 503, 504),
    ),
    OpenApiOperation(
        "get",
        "/v1/files",
        "listFiles",
        "List the files of a key, by `after`, `limit`, `order` and `purpose`.",
        gives={JSON: FileList},
        example={JSON: FileList([_FILE], has_more=False, first_id=_ID, last_id=_ID)},
        errors=(400, 401, 503),
    ),
    OpenApiOperation(
        "get",
        "/v1/files/{file_id}",
        "retrieveFile",
        "Look at a file.",
        parameters=_PARAMETER,
        gives={JSON: FileObject},
        example={JSON: _FILE},
        errors=_ERRORS,
    ),
    OpenApiOperation(
        "get",
        "/v1/files/{file_id}/content",
        "downloadFile",
        "Fetch a file's bytes from upstream.",
        parameters=_PARAMETER,
        gives={"image/*": bytes, "application/octet-stream": bytes},
        errors=(*_ERRORS, 403, 429, 502, 504),
    ),
    OpenApiOperation(
        "delete",
        "/v1/files/{file_id}",
        "deleteFile",
        "Forget a file.",
        parameters=_PARAMETER,
        gives={JSON: FileDeleted},
        example={JSON: FileDeleted(_ID)},
        errors=_ERRORS,
    ),
)
