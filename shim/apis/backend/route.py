"""`/backend-api/*` and `/backend-anon/*`: the web backend's own API, as far as `shim.apis.backend.table.TABLE` goes.

Rule: errors leave here in upstream's envelope, so that whoever speaks to upstream can speak to us. Which of the two
prefixes a client uses says nothing: who calls is decided by its `Authorization`, and what upstream sees by the account.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Request, Response, asgi
from litestar.handlers import ASGIRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from shim.accounts.credentials import Caller
from shim.apis.backend.passing import Relaying
from shim.apis.backend.relay import Client, Relay, SaidNoError, told_to
from shim.apis.backend.table import (
    HARMLESS,
    NOT_FOUND,
    BackendRequest,
    Kind,
    Row,
    broken_off,
    detail_of,
    down,
    row_for,
    sentinel_answer,
)
from shim.errors import GatewayError
from shim.exchange import Gateway
from shim.exchange.next_account import Attempted
from shim.http.presence import ClientGoneError, while_present
from shim.http.responses import JSON, LOGGED, BytesResponse, ByteStream, answer_headers, each_of, read_body, request_id
from shim.http.routing import AnyRequest
from shim.logs import log_fields

log = logging.getLogger("chat2api.relay")

# Browsers use the second one where nobody is logged in (protocol.md 1). Clients send either, whoever they are.
PREFIXES = ("/backend-api", "/backend-anon")
_WORKSPACE_ID = re.compile(r"[\w-]{1,64}", re.ASCII)  # it goes upstream in a header, so nothing else may be in it

Provide = Callable[[], Awaitable[Gateway]]


def backend_routes(provide: Provide) -> list[ASGIRouteHandler]:
    """Everything below the two prefixes, whatever the method."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request: AnyRequest = Request(scope, receive, send)
        answer = await _answer(request, provide)
        await answer(scope, receive, send)

    handlers: Any = {GatewayError: on_gateway_error}
    return [asgi(prefix, is_mount=True, copy_scope=True, exception_handlers=handlers)(serve) for prefix in PREFIXES]


def on_gateway_error(request: AnyRequest, error: GatewayError) -> Response[bytes]:
    """A failure with a name."""
    headers = answer_headers(request, error.headers(time.time()) | HARMLESS)
    return Response(detail_of(error), status_code=error.http_status, media_type=JSON["content-type"], headers=headers)


class Passage(ByteStream):
    """An upstream answer on its way, with upstream's status."""

    def __init__(self, request: AnyRequest, relaying: Relaying, finish: Callable[[], None], *, longest: float) -> None:
        headers = {"content-type": "application/octet-stream"} | relaying.headers
        kind = headers["content-type"]
        if kind.startswith("text/") and "charset" not in kind:
            headers["content-type"] = f"{kind}; charset=utf-8"
        if relaying.is_stream:
            headers["x-accel-buffering"] = "no"  # nginx would collect a stream until its buffer is full
        say = broken_off if relaying.is_stream else None
        super().__init__(request, each_of(relaying.pieces()), finish, headers=headers, longest=longest, break_off=say)
        self.status = relaying.status


async def _answer(request: AnyRequest, provide: Provide) -> ASGIApp:
    path = request.scope["path"].strip("/")
    row = row_for(request.method, path)
    if row is None:
        return _in_one_piece(request, 404, NOT_FOUND)
    gateway = await provide()
    caller = _caller(request, gateway)
    # What is relayed can't be counted as tokens, so that a key with limits has no way around them here.
    gateway.keys.check_unlimited(caller.key)
    query = request.scope["query_string"].decode("latin-1")
    headers = {name.lower(): value for name, value in request.headers.items()}
    length = headers.get("content-length")
    body = await read_body(request, gateway.settings.max_request_bytes, length, too_large="too_large")
    # Only now, with the body read: an unread one would stand before the connection's next request.
    if row.kind is Kind.LOCAL:
        return _in_one_piece(request, 200, sentinel_answer(path, gateway.clock.new_id(), gateway.clock.now()))
    called = f"{request.url.scheme}://{request.headers.get('host', '')}"
    client = Client(caller, request.headers.get("oai-device-id", ""), gateway.settings.address(called))
    asked = BackendRequest(row, path, query, headers, body)
    call_log = _CallLog(request, row, caller)
    # Its line is written here, with the account; the line of every other path would say the same once more.
    request.scope["state"][LOGGED] = True
    try:
        relaying = await while_present(request, Relay(gateway).open(asked, client, call_log.attempted))
    except SaidNoError as said:
        call_log.end(said.error, said.reply.status)
        return _in_one_piece(request, said.reply.status, said.reply.body, down(said.reply.headers))
    except GatewayError as error:
        # A client that left sees nothing of it, but the log should say that it left.
        shown = error if isinstance(error, ClientGoneError) else told_to(client, error)
        call_log.end(shown, shown.http_status)
        raise shown from error
    longest = gateway.settings.total_timeout
    return Passage(request, relaying, lambda: call_log.close(relaying), longest=longest)


def _caller(request: AnyRequest, gateway: Gateway) -> Caller:
    """Who calls. A client of the web backend names its workspace in a header (protocol.md 1)."""
    caller = gateway.caller(request.headers.get("authorization"))
    # Only for a credential of the client's own, and where that does not name a workspace itself: the accounts of the
    # pool have theirs.
    workspace_id = request.headers.get("chatgpt-account-id", "")
    if caller.own is None or caller.own.workspace_id is not None or not _WORKSPACE_ID.fullmatch(workspace_id):
        return caller
    return Caller(msgspec.structs.replace(caller.own, workspace_id=workspace_id))


def _in_one_piece(
    request: AnyRequest, status: int, body: bytes, headers: dict[str, str] | None = None
) -> BytesResponse:
    return BytesResponse(body, answer_headers(request, JSON | (headers or HARMLESS)), status=status)


class _CallLog:
    """Closes a relayed call and writes its one log line, in the fields that those of the other APIs have. The line
    names the row of the table, not the path: paths name conversations and files."""

    def __init__(self, request: AnyRequest, row: Row, caller: Caller) -> None:
        self._identifier = request_id(request)
        self._row, self._caller = row, caller
        self._began = time.perf_counter()
        self.attempted = Attempted()

    def close(self, relaying: Relaying) -> None:
        """The answer has ended, or the client has disconnected."""
        relaying.close()
        self.end(relaying.failure, relaying.status)

    def end(self, error: GatewayError | None, code: int) -> None:
        """Write the line. `code` is the HTTP status that the client got; `error` is what failed, or who said no."""
        fields = {
            "api": "backend",
            "method": self._row.method,
            "path": self._row.path,
            "account": self.attempted.account,
            "key": "own" if self._caller.own is not None else self._caller.key,
            "status": "passed_on" if error is None else error.code or error.error_type,
            "code": code,
            "tries": self.attempted.tries or None,
            "ms": (time.perf_counter() - self._began) * 1000,
        }
        log_fields(log, logging.INFO, self._identifier, fields)
