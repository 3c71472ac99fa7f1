"""The edge: a failure outside of any API leaves here in the envelope it is given, with the right status.

Rule: this is the one place that catches `Exception`; what was not foreseen is logged with its traceback and told to the
client without detail.
"""

import logging
from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException

from shim.errors import GatewayError, RequestError
from shim.http.responses import answer_headers

log = logging.getLogger("chat2api")

Refuse = Callable[[GatewayError], tuple[dict[str, str], bytes]]
"""(error) -> headers and body, as `Api.refuse`"""
RefuseFor = Callable[[Any], Refuse]
"""(ASGI scope of a request) -> how its client wants to be refused"""
Unserved = Callable[[str, str], GatewayError | None]
"""(path, method) -> what is told of it; None where there is nothing to tell"""
AnyRequest = Request[Any, Any, Any]

# What Litestar refuses: the sentence, and the code.
_REFUSALS = {
    404: ("Invalid URL ({method} {path})", "unknown_url"),
    405: ("Method not allowed ({method} {path})", "method_not_allowed"),
    413: ("The request body is larger than this gateway accepts", "request_too_large"),
}


def _no_websocket(request: AnyRequest) -> GatewayError:
    """Clients that would rather have a WebSocket (Codex, `supports_websockets`) go on without one after a 426."""
    text = f"There are no WebSockets here: send POST {request.scope['path'][:200]}, streamed"
    return RequestError(text, status=426, code="websocket_unsupported")


def _nothing(_path: str, _method: str) -> None:
    return None


def unforeseen(status: int = 500) -> GatewayError:
    """What a client is told of a failure nobody foresaw."""
    text = "The gateway failed on this request; its log says more"
    return GatewayError(text, code="internal_error", status=status)


def error_response(request: AnyRequest, error: GatewayError, refuse: Refuse) -> Response[bytes]:
    """The answer that tells of a failure."""
    headers, body = refuse(error)
    media_type = headers.pop("content-type")
    headers = answer_headers(request, headers)
    return Response(body, status_code=error.http_status, media_type=media_type, headers=headers)


def exception_handlers(refuse_for: RefuseFor, unserved: Unserved = _nothing) -> Any:
    """Litestar's table of handlers, which answer in the envelope that suits the request. `unserved` knows paths that
    others serve and this gateway doesn't."""

    def respond(request: AnyRequest, error: GatewayError) -> Response[bytes]:
        return error_response(request, error, refuse_for(request.scope))

    def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
        if error.status_code in {404, 405} and (known := unserved(request.scope["path"], request.method)) is not None:
            return respond(request, known)
        if error.status_code == 405 and request.headers.get("upgrade", "").lower() == "websocket":
            return respond(request, _no_websocket(request))
        text, code = _REFUSALS.get(error.status_code, ("This request can't be served ({method} {path})", "bad_request"))
        told = text.format(method=request.method, path=request.scope["path"][:200])
        return respond(request, RequestError(told, status=error.status_code, code=code))

    def on_broken_body(request: AnyRequest, _error: InternalServerException) -> Response[bytes]:
        # What Litestar calls a failure of the server's: a body that breaks off, or whose chunks can't be read.
        return respond(request, RequestError("The request body is not whole", code="incomplete_body"))

    def on_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
        log.error("unexpected failure on %s %s", request.method, request.scope["path"][:200], exc_info=error)
        return respond(request, unforeseen())

    return {
        GatewayError: respond,
        InternalServerException: on_broken_body,
        HTTPException: on_http_exception,
        Exception: on_exception,
    }
