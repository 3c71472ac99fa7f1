"""How the routes of an application are put together, and what their handlers are handed."""

from typing import Any, Self

from litestar import Request, Router
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
