"""The stand-in as a Litestar application: routes, the caller behind a request, and one map from refusal to response.

Rule: handlers are thin; what is said and refused is decided in `upstream` and below.
"""

import logging
from contextlib import aclosing
from functools import partial

from litestar import Litestar, MediaType, Response, Router, get, post
from litestar.config.compression import CompressionConfig
from litestar.datastructures import Cookie, State
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send

from shim.standin import listings, scripts
from shim.standin.asking import ANON, API, AnyRequest, TheCaller, TheUpstream, at_sentinel, identify
from shim.standin.control import control_routes
from shim.standin.failures import FAILURES, Failure, RefusedError, refused
from shim.standin.incoming import (
    ArkoseRequest,
    FinalizeRequest,
    PrepareRequest,
    StopRequest,
    read_body,
    read_refresh,
    read_requirements,
)
from shim.standin.options import StandinOptions
from shim.standin.routes import files, gizmos, history, socket, speech
from shim.standin.steps import Json
from shim.standin.upstream import Told, Upstream

logger = logging.getLogger(__name__)

SESSION_COOKIES: Json = {"secure": True, "httponly": True, "samesite": "lax", "max_age": 7_776_000}
# The middleware would hold events back; these compress themselves, flushed after each (`chunks.compressed`).
STREAMS = [r"/conversation$", r"/conversation/resume$"]
COMPRESSION = CompressionConfig(backend="gzip", minimum_size=1, exclude=STREAMS)


class Answer(ASGIStreamingResponse):
    """A streamed answer whose generator is closed at once when the client is gone, wherever it stands."""

    def __init__(self, told: Told) -> None:
        headers = {"cache-control": "no-store"} | ({"content-encoding": "gzip"} if told.gzip else {}) | told.headers
        super().__init__(iterator=told.parts, media_type="text/event-stream", status_code=200, headers=headers)

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Stream until the end or until the client leaves."""
        async with aclosing(self.iterator):  # type: ignore[type-var]  # always one of our generators
            await super().send_body(send, receive)


@get("/", media_type=MediaType.HTML)
async def home() -> str:
    """The page a client may read before anything else (protocol.md 1)."""
    return listings.HOME_PAGE


@post("/sentinel/chat-requirements", status_code=200)
async def requirements(request: AnyRequest, upstream: TheUpstream, checked: TheCaller) -> Json:
    """One-step requirements (protocol.md 2.1)."""
    return upstream.sentinel.requirements(checked, read_requirements(await request.body()).p)


@post("/sentinel/chat-requirements/prepare", status_code=200)
async def prepare(request: AnyRequest, upstream: TheUpstream, checked: TheCaller) -> Json:
    """First of two steps (protocol.md 2.2)."""
    return upstream.sentinel.prepare(checked, read_requirements(await request.body()).p)


@post("/sentinel/chat-requirements/finalize", status_code=200)
async def finalize(request: AnyRequest, upstream: TheUpstream, checked: TheCaller) -> Json:
    """Second of two steps (protocol.md 2.2)."""
    asked = read_body(await request.body(), FinalizeRequest)
    return upstream.sentinel.finalize(checked, asked.prepare_token, asked.proofofwork)


@post("/sentinel/ping", status_code=200)
async def ping() -> Json:
    """Nothing to do (protocol.md 2.2)."""
    return {"status": "ok"}


@post(["/conversation", "/f/conversation"], status_code=200)
async def conversation(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Answer:
    """One turn (protocol.md 4 and 5)."""
    return Answer(upstream.answer(caller, request.url.path, request.headers, await request.body()))


@post("/f/conversation/prepare", status_code=200)
async def conduit(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """Announce a turn (protocol.md 4.4)."""
    caller.account.resolve_slug(read_body(await request.body(), PrepareRequest).model)
    return {"status": "ok", "conduit_token": upstream.conduits.issue()}


@post("/f/conversation/resume", status_code=200)
async def resume(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Answer:
    """Read an answer that was handed off (protocol.md 5.6)."""
    return Answer(upstream.resume(caller, request.headers, await request.body()))


@post("/stop_conversation", status_code=200)
async def stop(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """End what a turn does, in its stream or elsewhere (protocol.md 4.5)."""
    asked = read_body(await request.body(), StopRequest)
    upstream.stop(caller, asked.conversation_id)
    return {"status": "ok", "last_message_id": None}


@post("/conversation/init", status_code=200)
async def conversation_init(caller: TheCaller) -> Json:
    """Limits and default model before a conversation (protocol.md 7.6)."""
    return scripts.conversation_detail() | {"default_model_slug": caller.account.slugs[0]}


@get("/models")
async def models(caller: TheCaller) -> Json:
    """The slugs of this caller (protocol.md 7.1)."""
    return listings.models(caller.account)


@get("/me")
async def me(caller: TheCaller) -> Json:
    """The user (protocol.md 7.3)."""
    return listings.me(caller.account)


@get("/accounts/check/v4-2023-04-27")
async def accounts_check(caller: TheCaller) -> Json:
    """The user's accounts (protocol.md 7.2)."""
    return listings.accounts_check(caller.account)


@get("/api/auth/session")
async def session(request: AnyRequest, upstream: TheUpstream) -> Response[Json]:
    """Session cookie to access token; the next cookie comes with it (protocol.md 8)."""
    body, cookies = upstream.logins.session(request.cookies)
    return Response(body, cookies=[Cookie(key, value=value, **SESSION_COOKIES) for key, value in cookies.items()])


@post("/oauth/token", status_code=200)
async def oauth_token(request: AnyRequest, upstream: TheUpstream) -> Json:
    """Refresh token to access token (protocol.md 8)."""
    if upstream.options.oauth_gone:
        raise refused("not_found")
    asked = read_refresh(await request.body(), request.headers.get("content-type", ""))
    return upstream.logins.refresh(asked.refresh_token, asked.client_id)


@post("/arkose/token", status_code=200)
async def arkose_token(request: AnyRequest, upstream: TheUpstream) -> Json:
    """The operator's own token service, played here so that the demo can show it (protocol.md 3)."""
    asked = read_body(await request.body(), ArkoseRequest)
    return {"token": upstream.sentinel.arkose.issue(asked.blob), "solved": True}


ON_BOTH = (
    requirements, prepare, finalize, ping, conversation, conduit, resume, stop, conversation_init, models,
)  # fmt: skip
LOGGED_IN_ONLY = (
    me,
    accounts_check,
    *files.LOGGED_IN,
    *history.LOGGED_IN,
    *gizmos.LOGGED_IN,
    *speech.LOGGED_IN,
    socket.address,
)
WITHOUT_PREFIX = (home, socket.serve, session, oauth_token, arkose_token, *files.WITHOUT_PREFIX, *gizmos.WITHOUT_PREFIX)


def create_standin(options: StandinOptions | None = None) -> Litestar:
    """The application; `app.state.upstream` is the Upstream behind it, for tests in the same process."""
    upstream = Upstream(options or StandinOptions())

    def provide_upstream() -> Upstream:
        return upstream

    return Litestar(
        route_handlers=[
            *WITHOUT_PREFIX,
            Router(API, route_handlers=[*ON_BOTH, *LOGGED_IN_ONLY]),
            Router(ANON, route_handlers=list(ON_BOTH)),
            *(control_routes() if upstream.options.control else ()),
        ],
        dependencies={
            "upstream": Provide(provide_upstream, sync_to_thread=False),
            "caller": Provide(identify, sync_to_thread=False),
            "checked": Provide(at_sentinel, sync_to_thread=False),
        },
        exception_handlers={
            RefusedError: partial(_refuse, upstream),
            HTTPException: partial(_http_error, upstream),
            Exception: _broken,
        },
        compression_config=COMPRESSION if upstream.options.gzip else None,
        before_request=partial(_count, upstream),
        state=State({"upstream": upstream}),
        openapi_config=None,
        logging_config=None,
    )


async def _count(upstream: Upstream, request: AnyRequest) -> None:
    """Note a request; and read it whole, because Granian resets a connection that is answered before it was read."""
    upstream.stats.requests[f"{request.method} {request.url.path}"] += 1
    await request.body()


def _refuse(upstream: Upstream, _: AnyRequest, error: RefusedError) -> Response[bytes]:
    return _respond(upstream, error.failure)


def _http_error(upstream: Upstream, _: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses, in upstream's envelope."""
    known = {404: "not_found", 405: "method_not_allowed", 413: "too_long"}.get(error.status_code)
    return _respond(upstream, FAILURES[known] if known else Failure(error.status_code, error.detail))


def _broken(_: AnyRequest, error: Exception) -> Response[bytes]:
    """The edge: a mistake of the stand-in itself."""
    logger.error("stand-in failed", exc_info=error)
    return Response(FAILURES["internal"].content(), status_code=500, media_type="application/json")


def _respond(upstream: Upstream, failure: Failure) -> Response[bytes]:
    upstream.stats.refusals[str(failure.status)] += 1
    headers = {} if failure.retry_after is None else {"retry-after": str(failure.retry_after)}
    return Response(failure.content(), status_code=failure.status, media_type=failure.media_type, headers=headers)
