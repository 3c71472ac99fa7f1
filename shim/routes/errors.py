"""The edge: every failure leaves here as OpenAI's envelope with the right status.

Rule: this is the one place that catches `Exception`; what was not foreseen is logged with its traceback and told to the
client without detail.
"""

import logging
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException

from shim.errors import GatewayError, RequestError
from shim.routes.answers import json_response

log = logging.getLogger("chat2api")

_TEXTS = {
    404: "Invalid URL ({method} {path})",
    405: "Method not allowed ({method} {path})",
    413: "The request body is larger than this gateway accepts",
}


def on_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """A failure with a name."""
    return json_response(request, error.envelope(), status=error.http_status, headers=error.headers())


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: unknown paths and methods, bodies too large."""
    text = _TEXTS.get(error.status_code, error.detail).format(method=request.method, path=request.url.path[:200])
    mapped = RequestError(text, status=error.status_code)
    return json_response(request, mapped.envelope(), status=error.status_code, headers=mapped.headers())


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What nobody foresaw."""
    log.error("unexpected failure on %s %s", request.method, request.url.path, exc_info=error)
    unknown = GatewayError("The gateway failed while processing this request; its log says more", code="internal_error")
    return json_response(request, unknown.envelope(), status=500, headers=unknown.headers())


EXCEPTION_HANDLERS: Any = {GatewayError: on_gateway_error, HTTPException: on_http_exception, Exception: on_exception}
