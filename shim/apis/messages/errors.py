"""Anthropic's error envelope: `{"type": "error", "error": {"type", "message"}}`, its types by the status."""

import msgspec

from shim.apis.data_lines import line_safe
from shim.apis.messages.events import event
from shim.apis.messages.wire import FIELDS, MessagesError, MessagesErrorBody
from shim.errors import Field, GatewayError
from shim.http.openapi import ErrorForm

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_OVERLOADED = ("server_is_overloaded", "overloaded_error")  # upstream's word for it, and this API's
_OTHER_REQUEST, _OTHER = "invalid_request_error", "api_error"

ERROR_FORM = ErrorForm(
    "Messages", MessagesError, MessagesError(MessagesErrorBody("api_error", "What happened, and what to do."))
)


def error_of(error: GatewayError, id: str | None = None) -> MessagesError:
    """The envelope for an error of the request `id`, with the field's name where the message does not have it."""
    param = FIELDS[error.param] if isinstance(error.param, Field) else error.param
    # This envelope has no field for it, so that the sentence has to name it.
    told = f"{param}: {error.message}" if param and param not in error.message else error.message
    other = _OTHER_REQUEST if error.http_status < 500 else _OTHER
    kind = _OVERLOADED[1] if error.code == _OVERLOADED[0] else _TYPES.get(error.http_status, other)
    return MessagesError(MessagesErrorBody(kind, told), id)


def event_of(error: GatewayError, id: str | None = None) -> bytes:
    """The last event of a stream that failed."""
    return line_safe(event(error_of(error, id)))


def refuse(error: GatewayError, id: str | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body of an answer that is an error."""
    return {"content-type": "application/json"} | error.headers(), msgspec.json.encode(error_of(error, id))
