"""What a handler that Litestar only finds keeps of Litestar's own, and what it refuses to pass over."""

import pytest
from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import ImproperlyConfiguredException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.testing import TestClient
from litestar.types import ASGIApp

from shim.errors import GatewayError, RequestError
from shim.http.errors import exception_handlers
from shim.http.responses import BytesResponse
from shim.http.routing import AnyRequest, DirectPost, Routes


def refuse(error: GatewayError) -> tuple[dict[str, str], bytes]:
    return {"content-type": "text/plain"}, str(error).encode()


@DirectPost("/echo")
async def echo(request: AnyRequest) -> ASGIApp:
    body = await request.body()
    if body == b"refused":
        raise RequestError("That is refused", status=422)
    return BytesResponse(body, {"content-type": "text/plain"})


@pytest.fixture
def client() -> TestClient[Litestar]:
    app = Litestar(
        [Routes("/below", route_handlers=[echo])],
        exception_handlers=exception_handlers(lambda _scope: refuse),
        logging_config=None,  # Litestar's takes the handlers away that gateways of other tests log by
    )
    return TestClient(app)


def test_a_direct_handler_answers_its_method(client: TestClient[Litestar]) -> None:
    answer = client.post("/below/echo", content=b"hello")
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"hello", "5")


def test_other_methods_are_answered_by_litestar(client: TestClient[Litestar]) -> None:
    options = client.options("/below/echo")
    assert (options.status_code, options.headers["allow"]) == (204, "OPTIONS, POST")
    other = client.get("/below/echo")
    assert (other.status_code, other.headers["allow"]) == (405, "OPTIONS, POST")


def test_what_it_raises_is_told_in_the_form_of_the_application(client: TestClient[Litestar]) -> None:
    for _ in range(2):  # what catches it is put together once
        answer = client.post("/below/echo", content=b"refused")
        assert (answer.status_code, answer.content) == (422, b"That is refused")


def test_a_guard_around_it_stops_the_start() -> None:
    def guard(_connection: ASGIConnection[BaseRouteHandler, None, None, None], _handler: BaseRouteHandler) -> None:
        raise NotAuthorizedException

    with pytest.raises(ImproperlyConfiguredException, match="Guards are not asked"):
        Litestar([Routes("/below", route_handlers=[echo], guards=[guard])], logging_config=None)
