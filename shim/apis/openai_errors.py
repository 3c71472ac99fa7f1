"""OpenAI's error envelope, which all of its APIs share: `{"error": {"message", "type", "param", "code"}}`."""

import msgspec

from shim.apis.data_lines import data_line
from shim.errors import GatewayError
from shim.http.openapi import ErrorForm


class ErrorBody(msgspec.Struct, frozen=True):
    """The inside of `{"error": ...}`, as the OpenAI API sends it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """`{"error": {...}}`: the whole body of an error answer, and of an in-band error line."""

    error: ErrorBody


def envelope(error: GatewayError) -> bytes:
    """The JSON body for an error."""
    return _encode(ErrorEnvelope(ErrorBody(error.message, error.error_type, error.param, error.code)))


def refuse(error: GatewayError) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer that is an error."""
    return {"content-type": "application/json"} | error.headers(), envelope(error)


def error_line(error: GatewayError) -> bytes:
    """The last line of a stream that failed."""
    return data_line(envelope(error))


ERROR_FORM = ErrorForm(
    "",
    ErrorEnvelope,
    ErrorEnvelope(ErrorBody("What happened, and what to do.", "upstream_error", code="upstream_error")),
)
_encode = msgspec.json.Encoder().encode
