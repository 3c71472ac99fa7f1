"""Responses: bytes that are ready, with the headers every answer carries."""

import uuid
from typing import Any

from litestar import Request, Response
from litestar.datastructures import State

_ID = "chat2api_request_id"


def request_id(request: Request[Any, Any, Any]) -> str:
    """The id of this request, the same whenever it is asked."""
    state: dict[str, Any] = request.scope["state"]
    if _ID not in state:
        state[_ID] = f"req_{uuid.uuid4().hex}"
    identifier: str = state[_ID]
    return identifier


def answer_headers(request: Request[Any, Any, Any], extra: dict[str, str] | None = None) -> dict[str, str]:
    """`x-request-id`, and `extra`."""
    return {"x-request-id": request_id(request), **(extra or {})}


def json_response(
    request: Request[Any, Any, Any], body: bytes, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """A body that is JSON already."""
    return Response(body, status_code=status, media_type="application/json", headers=answer_headers(request, headers))


ApiRequest = Request[Any, Any, State]
