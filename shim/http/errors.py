"""The edge: every failure leaves here as OpenAI's envelope with the right status.

Rule: this is the one place that catches `Exception`; what was not foreseen is logged with its traceback and told to the
client without detail.
"""

import logging
import time
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException

from shim.errors import GatewayError, RequestError
from shim.http.responses import answer_headers

log = logging.getLogger("chat2api")

# What Litestar refuses: the sentence, and the code.
_REFUSALS = {
    404: ("Invalid URL ({method} {path})", "unknown_url"),
    405: ("Method not allowed ({method} {path})", "method_not_allowed"),
    413: ("The request body is larger than this gateway accepts", "request_too_large"),
}


def on_gateway_error(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    """A failure with a name."""
    return _response(request, error)


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: unknown paths and methods, bodies too large."""
    text, code = _REFUSALS.get(error.status_code, ("This request can't be served ({method} {path})", "bad_request"))
    told = text.format(method=request.method, path=request.url.path[:200])
    return _response(request, RequestError(told, status=error.status_code, code=code))


def on_broken_body(request: Request[Any, Any, Any], _error: InternalServerException) -> Response[bytes]:
    """What Litestar calls a failure of the server's: a body that breaks off, or whose chunks are none."""
    return _response(request, RequestError("The request body is not whole", code="incomplete_body"))


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What nobody foresaw."""
    log.error("unexpected failure on %s %s", request.method, request.url.path, exc_info=error)
    return _response(
        request, GatewayError("The gateway failed on this request; its log says more", code="internal_error")
    )


def _response(request: Request[Any, Any, Any], error: GatewayError) -> Response[bytes]:
    headers = answer_headers(request, error.headers(time.time()))
    return Response(error.envelope(), status_code=error.http_status, media_type="application/json", headers=headers)


EXCEPTION_HANDLERS: Any = {
    GatewayError: on_gateway_error,
    InternalServerException: on_broken_body,
    HTTPException: on_http_exception,
    Exception: on_exception,
}
