"""The edge: a failure outside of any API leaves here in the envelope it is given, with the right status.

Rule: this is the one place that catches `Exception`; what was not foreseen is logged with its traceback and told to the
client without detail.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from litestar import Response
from litestar.exceptions import HTTPException, InternalServerException

from shim.errors import GatewayError, RequestError
from shim.http.responses import answer_headers, incomplete
from shim.http.routing import AnyRequest

log = logging.getLogger("chat2api")

Refuse = Callable[[GatewayError], tuple[dict[str, str], bytes]]
"""(error) -> headers and body, as `Api.refuse`"""
RefuseFor = Callable[[Any], Refuse]
"""(ASGI scope of a request) -> how its client wants to be refused"""


class Unserved(Protocol):
    """What is told of a path that is not served by a method, or (`is_path_served` false) by any; None where there is
    nothing to tell."""

    def __call__(self, path: str, method: str, *, is_path_served: bool = False) -> GatewayError | None: ...


# What Litestar refuses: the sentence, and the code.
_REFUSALS = {
    404: ("Invalid URL ({method} {path})", "unknown_url"),
    405: ("Method not allowed ({method} {path})", "method_not_allowed"),
    413: ("The request body is larger than this gateway accepts", "request_too_large"),
}


def unforeseen(status: int = 500) -> GatewayError:
    """What a client is told of a failure nobody foresaw."""
    text = "The gateway failed on this request; its log says more"
    return GatewayError(text, code="internal_error", status=status)


def error_response(request: AnyRequest, error: GatewayError, refuse: Refuse, allow: str = "") -> Response[bytes]:
    """The answer that tells of a failure; `allow` are the methods that would have been served."""
    headers, body = refuse(error)
    media_type = headers.pop("content-type")
    headers = answer_headers(request, headers) | ({"allow": allow} if allow else {})
    return Response(body, status_code=error.http_status, media_type=media_type, headers=headers)


def exception_handlers(refuse_for: RefuseFor, unserved: Unserved | None = None) -> Any:
    """Litestar's table of handlers, which answer in the envelope that suits the request. `unserved` knows paths that
    others serve and this gateway doesn't."""

    def respond(request: AnyRequest, error: GatewayError, allow: str = "") -> Response[bytes]:
        return error_response(request, error, refuse_for(request.scope), allow)

    def on_http_exception(request: AnyRequest, error: HTTPException) -> Response[bytes]:
        status, path = error.status_code, request.scope["path"]
        if unserved is not None and status in {404, 405}:
            known = unserved(path, request.method, is_path_served=status == 405)
            if known is not None:
                return respond(request, known)
        # Clients that would rather have a WebSocket (Codex, `supports_websockets`) go on without one after a 426.
        if status == 405 and request.headers.get("upgrade", "").lower() == "websocket":
            text = f"There are no WebSockets here: send POST {path[:200]}, streamed"
            return respond(request, RequestError(text, status=426, code="websocket_unsupported"))
        text, code = _REFUSALS.get(status, ("This request can't be served ({method} {path})", "bad_request"))
        refusal = RequestError(text.format(method=request.method, path=path[:200]), status=status, code=code)
        # What a 405 has to list (RFC 9110 15.5.6): the methods that Litestar names, and HEAD, which is served as GET.
        methods = {one.strip() for one in (error.headers or {}).get("allow", "").split(",")} - {""}
        return respond(request, refusal, ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))))

    def on_broken_body(request: AnyRequest, _error: InternalServerException) -> Response[bytes]:
        # Litestar's own reading of a body calls it a failure of the server's.
        return respond(request, incomplete())

    def on_exception(request: AnyRequest, error: Exception) -> Response[bytes]:
        log.error("unexpected failure on %s %s", request.method, request.scope["path"][:200], exc_info=error)
        return respond(request, unforeseen())

    return {
        GatewayError: respond,
        InternalServerException: on_broken_body,
        HTTPException: on_http_exception,
        Exception: on_exception,
    }
