"""`GET /v1/models` and `GET /v1/models/{id}`: what the account can really use, under public names."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec import UNSET

from shim.accounts.model_lists import FetchedModels
from shim.apis.models.wire import Model, ModelList
from shim.http.provided import TheGateway
from shim.http.responses import json_answer
from shim.protocol.models import AUTO, model_not_found, public_name, slug_for


@get("/v1/models")
async def list_models(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIResponse:
    """All of them, `auto` first."""
    listed = await gateway.leases.models(gateway.caller(request.headers.get("authorization")))
    catalog = listed.catalog
    names = dict.fromkeys((AUTO, *map(public_name, listed.slugs), *(preset.name for preset in catalog.presets)))
    return json_answer(request, _encode(ModelList([_described(name, listed) for name in names if _has(listed, name)])))


@get("/v1/models/{model_id:str}")
async def get_model(request: Request[Any, Any, Any], gateway: TheGateway, model_id: FromPath[str]) -> ASGIResponse:
    """One of them, by any name it answers to."""
    listed = await gateway.leases.models(gateway.caller(request.headers.get("authorization")))
    if not _has(listed, model_id):
        raise model_not_found(model_id)
    return json_answer(request, _encode(_described(model_id, listed)))


def _has(listed: FetchedModels, model: str) -> bool:
    # `auto` leaves the choice to upstream, so it is on no list.
    return model == AUTO or _slug_of(listed, model) in listed.slugs


def _slug_of(listed: FetchedModels, model: str) -> str | None:
    preset = listed.catalog.preset(model)
    return preset.slug if preset else slug_for(model, listed.slugs)


def _described(name: str, listed: FetchedModels) -> Model:
    """A model by one of its names, with what upstream's list says of it."""
    preset = listed.catalog.preset(name)
    known = listed.catalog.model(_slug_of(listed, name) or "")
    if known is None:
        return Model(name, listed.fetched)
    return Model(
        name,
        listed.fetched,
        display_name=known.title or UNSET,
        context_window=known.context or UNSET,
        efforts=UNSET if known.efforts is None else known.efforts,
        tools=known.tools or UNSET,
        preset_of=public_name(known.slug) if preset else UNSET,
    )


_encode = msgspec.json.Encoder().encode
