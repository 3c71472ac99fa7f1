"""How the routes of an application are put together, and what their handlers are handed."""

from typing import Any, Self

from litestar import Request, Router
from litestar.enums import HttpMethod
from litestar.exceptions import ImproperlyConfiguredException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, ExceptionHandlersMap, Middleware, Receive, Scope, Send
from litestar.types.internal_types import RouteHandlerMapItem

AnyRequest = Request[Any, Any, Any]
"""A request of whatever user, credential and state: handlers here go by its headers alone."""


class Routes(Router):
    """Routes of one application. Litestar copies what is registered, handler by handler and to the bottom, at each
    level anew, so that it may be registered elsewhere too. These are made for one application (so is what they are put
    into: the copy of a router would not be theirs), as copying takes a third of the time that one takes to be made."""

    @property
    def route_handler_method_map(self) -> dict[str, RouteHandlerMapItem]:
        """Without Litestar's answers to OPTIONS. Each names the methods of the route it was made with, and would stay
        when a path's next handler makes that route anew; without one a route makes its own."""
        by_path = super().route_handler_method_map
        for handlers in by_path.values():
            handlers.pop("OPTIONS", None)
        return by_path

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self


class DirectPost(HTTPRouteHandler):
    """A route for POST whose handler takes the request alone, and returns an ASGI application. Litestar finds it,
    answers OPTIONS and other methods, and catches what it raises; but the handler stands where a middleware would that
    answers itself. What Litestar does around a handler (arguments by name, the form of a response) is 60 calls of
    functions for each request, and nothing that answers need."""

    def __init__(self, path: str) -> None:
        super().__init__(path, http_method=HttpMethod.POST, status_code=200)
        self._caught_by: ExceptionHandlersMap | None = None

    def resolve_middleware(self) -> list[Middleware]:
        """See HTTPRouteHandler: the last of the list comes first."""
        # They are asked by what is passed over here. One that is never asked would let everybody in.
        if self.resolve_guards():
            raise ImproperlyConfiguredException("Guards are not asked before a DirectPost")
        return [self._answering, *super().resolve_middleware()]

    def resolve_exception_handlers(self) -> ExceptionHandlersMap:
        """See BaseRouteHandler, which puts them together anew for each request, from all layers."""
        if self._caught_by is None:
            self._caught_by = super().resolve_exception_handlers()
        return self._caught_by

    def _answering(self, app: ASGIApp) -> ASGIApp:
        handler = self.fn

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await handler(Request(scope, receive, send))
            await response(scope, receive, send)

        return answer
