"""Who speaks this API, told from the head of a request: whatever is refused anywhere is refused in its envelope.

Rule: paths below `/v1/messages` are this API's, and any other path where `anthropic-version` comes along, which its
clients always send and no other does. Every answer to them carries `request-id` (`shim.http.intake`).
"""

from typing import Any

from litestar import Request

from shim.apis.messages.errors import refuse
from shim.errors import GatewayError
from shim.http.errors import Refuse
from shim.http.responses import request_id
from shim.http.spellings import as_meant

PATH = "/v1/messages"
_BELOW = f"{PATH}/"
_VERSION = b"anthropic-version"


def is_anthropics(scope: Any, root_path: str) -> bool:
    """Whether the client of a request speaks this API."""
    path = as_meant(scope["path"], root_path).removeprefix(root_path)
    if path == PATH or path.startswith(_BELOW):
        return True
    for name, _ in scope["headers"]:  # noqa: SIM110  a generator costs each request as many calls as it has headers
        if name == _VERSION:
            return True
    return False


def refusal_for(scope: Any) -> Refuse:
    """This API's refusal of one request, which names it."""
    id = request_id(Request(scope))

    def told(error: GatewayError) -> tuple[dict[str, str], bytes]:
        return refuse(error, id)

    return told
