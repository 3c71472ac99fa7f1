"""OpenAI's error envelope, which all of its APIs share: `{"error": {"message", "type", "param", "code"}}`."""

from collections.abc import Mapping

import msgspec

from shim.apis.data_lines import data_line
from shim.errors import Field, GatewayError
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


Fields = Mapping[Field, str]
"""What an API calls the fields that the core knows; those it has no name for go by the core's own."""
_OWN_NAMES: Fields = {field: field.value for field in Field}


def envelope(error: GatewayError, fields: Fields = _OWN_NAMES) -> bytes:
    """The JSON body for an error."""
    param = fields[error.param] if isinstance(error.param, Field) else error.param
    return _encode(ErrorEnvelope(ErrorBody(error.message, error.error_type, param, error.code)))


def refuse(error: GatewayError, fields: Fields = _OWN_NAMES) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer that is an error."""
    return {"content-type": "application/json"} | error.headers(), envelope(error, fields)


def error_line(error: GatewayError, fields: Fields = _OWN_NAMES) -> bytes:
    """The last line of a stream that failed."""
    return data_line(envelope(error, fields))


ERROR_FORM = ErrorForm(
    "",
    ErrorEnvelope,
    ErrorEnvelope(ErrorBody("What happened, and what to do.", "upstream_error", code="upstream_error")),
)
_encode = msgspec.json.Encoder().encode
