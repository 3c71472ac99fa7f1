"""`GET /v1/models` and `GET /v1/models/{id}`: what the account can really use, under public names."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from shim.apis.models.wire import Model, ModelList
from shim.http.provided import TheGateway
from shim.http.responses import json_answer
from shim.protocol.models import AUTO, model_not_found, public_name, slug_for


@get("/v1/models")
async def list_models(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """All of them, `auto` first."""
    listed = await gateway.leases.models(gateway.caller(request.headers.get("authorization")))
    names = dict.fromkeys((AUTO, *(public_name(slug) for slug in listed.slugs)))
    return json_answer(request, _encode(ModelList([Model(name, listed.fetched) for name in names])))


@get("/v1/models/{model_id:str}")
async def get_model(request: Request[Any, Any, Any], gateway: TheGateway, model_id: FromPath[str]) -> ASGIResponse:
    """One of them, by any name it answers to."""
    listed = await gateway.leases.models(gateway.caller(request.headers.get("authorization")))
    # `auto` leaves the choice to upstream, so it is on no list.
    if model_id != AUTO and not (listed.slugs and slug_for(model_id, listed.slugs) is not None):
        raise model_not_found(model_id)
    return json_answer(request, _encode(Model(model_id, listed.fetched)))


_encode = msgspec.json.Encoder().encode
