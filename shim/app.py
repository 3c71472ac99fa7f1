"""The Litestar application: routes, the exception map, and a lifespan that makes and closes what they share."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.di import Provide

from shim import logs
from shim.accounts.pool import AccountPool
from shim.accounts.probing import AccountProber
from shim.apis import openai_errors
from shim.apis.admin.door import Door
from shim.apis.admin.metrics import metrics_router
from shim.apis.admin.route import admin_router
from shim.apis.admin.usage import usage_router
from shim.apis.audio import openapi as audio_openapi
from shim.apis.audio.route import create_speech, create_transcription, create_translation
from shim.apis.backend.route import backend_routes
from shim.apis.chat import openapi as chat_openapi
from shim.apis.chat.route import create_chat_completion
from shim.apis.completions import openapi as completions_openapi
from shim.apis.completions.route import create_completion
from shim.apis.files import openapi as files_openapi
from shim.apis.files.route import create_file, delete_file, get_file_content, get_file_object, list_files
from shim.apis.images import openapi as images_openapi
from shim.apis.images.route import create_image, edit_image, vary_image
from shim.apis.messages import openapi as messages_openapi
from shim.apis.messages.callers import is_anthropics, refusal_for
from shim.apis.messages.route import count_message_tokens, create_message
from shim.apis.models import openapi as models_openapi
from shim.apis.models.route import get_model, list_models
from shim.apis.responses import conversation_openapi
from shim.apis.responses import openapi as responses_openapi
from shim.apis.responses.conversation_route import (
    add_conversation_items,
    create_conversation,
    delete_conversation,
    delete_conversation_item,
    get_conversation,
    get_conversation_item,
    list_conversation_items,
    update_conversation,
)
from shim.apis.responses.route import (
    cancel_response,
    compact_response,
    count_input_tokens,
    create_response,
    delete_response,
    get_response,
    list_input_items,
)
from shim.apis.unserved import unserved
from shim.exchange import Clock, Gateway
from shim.exchange.assembly import open_gateway
from shim.exchange.driving import replay_of
from shim.http import downloads, health, openapi
from shim.http.api_page import api_page_route
from shim.http.downloads import get_file
from shim.http.errors import Refuse, exception_handlers
from shim.http.health import healthz, readyz
from shim.http.intake import Intake
from shim.http.openapi import openapi_route
from shim.http.prefix import hidden
from shim.http.provided import GATEWAY, gateway_of
from shim.http.routing import Routes
from shim.http.static import page_router
from shim.server.heartbeats import beating
from shim.server.stopping import ends_answers
from shim.settings import Settings, load_settings
from shim.transport import Transport

_ROUTES = (
    create_chat_completion,
    create_completion,
    create_message,
    count_message_tokens,
    create_image,
    edit_image,
    vary_image,
    create_speech,
    create_transcription,
    create_translation,
    create_response,
    count_input_tokens,
    compact_response,
    get_response,
    delete_response,
    cancel_response,
    list_input_items,
    create_conversation,
    get_conversation,
    update_conversation,
    delete_conversation,
    list_conversation_items,
    add_conversation_items,
    get_conversation_item,
    delete_conversation_item,
    list_models,
    get_model,
    create_file,
    list_files,
    get_file_object,
    get_file_content,
    delete_file,
    get_file,
    healthz,
    readyz,
)

# What /openapi.json describes: a row, or a table of them, for each public route.
OPERATIONS = (
    *chat_openapi.OPERATIONS,
    *completions_openapi.OPERATIONS,
    *images_openapi.OPERATIONS,
    *audio_openapi.OPERATIONS,
    *messages_openapi.OPERATIONS,
    *responses_openapi.OPERATIONS,
    *conversation_openapi.OPERATIONS,
    *models_openapi.OPERATIONS,
    *files_openapi.OPERATIONS,
    downloads.OPERATION,
    health.OPERATION,
    health.READY_OPERATION,
    openapi.OPERATION,
)


# What pages of CORS_ORIGINS may read of an answer, beside what every page may.
_EXPOSED = (
    *("x-request-id", "request-id", "retry-after", "x-should-retry", "x-chat2api-ignored"),
    *("x-chat2api-account", "x-chat2api-chat"),
    *(f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")),
)


def create_app(
    settings: Settings,
    *,
    transport: Transport | None = None,
    clock: Clock | None = None,
    gateway: Gateway | None = None,
    around: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> Litestar:
    """The application. `transport` takes the place of the network, `clock` that of time and ids; or all of it serves a
    `gateway` that is open already, and stays so. `around` is entered once everything is open."""

    async def provide_gateway() -> Gateway:
        return gateway_of(app)

    async def provide_pool() -> AccountPool:
        return gateway_of(app).leases.pool

    async def provide_prober() -> AccountProber:
        return AccountProber(gateway_of(app).leases, gateway_of(app).clock.now)

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with nullcontext(gateway) if gateway else open_gateway(settings, transport, clock) as opened:
            app.state[GATEWAY] = opened
            async with around():
                yield
        logs.flush()

    looks_for_id = partial(is_anthropics, root_path=settings.root_path)

    def refuse_for(scope: Any) -> Refuse:
        return refusal_for(scope) if looks_for_id(scope) else openai_errors.refuse

    relayed = backend_routes(provide_gateway) if settings.enable_gateway else ()
    pages = [page_router()] if settings.enable_gateway else []
    described = openapi_route(
        OPERATIONS, openai_errors.ERROR_FORM, settings.root_path, keyed=bool(settings.authorization)
    )
    readable = api_page_route(
        OPERATIONS, settings.root_path, keyed=bool(settings.authorization), chat=settings.enable_gateway
    )
    door = Door(settings)
    routes = [
        *_ROUTES,
        described,
        readable,
        admin_router(settings, door),
        metrics_router(door),
        usage_router(door),
        *pages,
        *relayed,
    ]
    app = Litestar(
        route_handlers=[Routes(settings.root_path or "/", route_handlers=routes)],
        dependencies={
            "gateway": Provide(provide_gateway, use_cache=True),
            "pool": Provide(provide_pool, use_cache=True),
            "prober": Provide(provide_prober, use_cache=True),
        },
        exception_handlers=exception_handlers(refuse_for, partial(unserved, settings.root_path)),
        lifespan=[lifespan],
        # Off by default: an open gateway on loopback would let any web page read chats.
        cors_config=CORSConfig(
            allow_origins=list(settings.cors_origins), allow_headers=["*"], expose_headers=[*_EXPOSED]
        )
        if settings.cors_origins
        else None,
        openapi_config=None,
        request_max_body_size=settings.max_request_bytes,
        logging_config=None,
    )
    # In another program (`gateway`) whoever calls has a ticket, and names the host that its own client meant.
    taken_in = Intake(settings, app.asgi_handler, refuse_for, looks_for_id, any_host=gateway is not None)
    app.asgi_handler = hidden(settings.root_path, taken_in)
    return app


def from_environment() -> Litestar:
    """What each Granian worker runs: settings are in the environment by then."""
    settings = load_settings()
    logs.configure_logs(settings.log_level, settings.log_format)

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        async with ends_answers(settings.shutdown_timeout), beating():
            yield

    return create_app(settings, transport=replay_of(settings), around=around)
