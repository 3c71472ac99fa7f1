"""The application for callers in this very process, who speak for clients of theirs: the mitmproxy addon.

Rule: its port is open to all of this machine, so it answers only requests that carry a ticket. A ticket serves once,
and brings what the loopback connection hides: who the client is, and how it came.
"""

import secrets

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

TICKET = "x-chat2api-ticket"
_MAX_WAITING = 10_000  # tickets whose request never came


class Visitor(msgspec.Struct, frozen=True):
    """Whom a request is made for: the client's address and port, and the scheme it used."""

    peer: tuple[str, int]
    scheme: str


class Inside:
    """`app`, for whoever has a ticket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._waiting: dict[str, Visitor] = {}

    def ticket(self, visitor: Visitor) -> str:
        """What to send as `TICKET`, once."""
        # A dictionary keeps its order, so that the first is the oldest.
        if len(self._waiting) >= _MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
        ticket = secrets.token_urlsafe()
        self._waiting[ticket] = visitor
        return ticket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == ScopeType.HTTP:
            headers = dict(scope["headers"])
            visitor = self._waiting.pop(headers.pop(TICKET.encode(), b"").decode("latin-1"), None)
            if visitor is None:
                await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            # It has served, and is nothing that a handler or upstream should see.
            left = [(name, value) for name, value in scope["headers"] if name != TICKET.encode()]
            scope |= {"client": visitor.peer, "scheme": visitor.scheme, "headers": left}
        await self._app(scope, receive, send)
