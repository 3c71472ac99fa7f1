"""Who speaks this API, told from the head of a request: whatever is refused anywhere is refused in its envelope.

Rule: paths below `/v1/messages` are this API's, and any other path where `anthropic-version` comes along, which its
clients always send and no other does. Every answer to them carries `request-id`.
"""

from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Receive, Scope, Send

from shim.apis.messages.errors import refuse
from shim.errors import GatewayError
from shim.http.errors import Refuse
from shim.http.responses import request_id
from shim.http.spellings import as_meant

PATH = "/v1/messages"
_VERSION = b"anthropic-version"


def is_anthropics(scope: Any, root_path: str) -> bool:
    """Whether the client of a request speaks this API."""
    path = as_meant(scope["path"], root_path).removeprefix(root_path)
    return path == PATH or path.startswith(f"{PATH}/") or any(name == _VERSION for name, _ in scope["headers"])


def refusal_for(scope: Any) -> Refuse:
    """This API's refusal of one request, which names it."""
    id = request_id(Request(scope))

    def told(error: GatewayError) -> tuple[dict[str, str], bytes]:
        return refuse(error, id)

    return told


def with_request_id(root_path: str, app: ASGIApp) -> ASGIApp:
    """`app`, whose answers to clients of this API tell the request's id under the name that these look for."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if not is_anthropics(scope, root_path):
            await app(scope, receive, send)
            return

        async def send_with_id(message: Any) -> None:
            if message["type"] == "http.response.start":
                ids = [(b"request-id", value) for name, value in message["headers"] if name.lower() == b"x-request-id"]
                message = message | {"headers": [*message["headers"], *ids]}
            await send(message)

        await app(scope, receive, send_with_id)

    return answer
