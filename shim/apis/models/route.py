"""`GET /v1/models` and `GET /v1/models/{id}`: what the account can really use, under public names.

Rule: the list is the same in every form; `anthropic-version` asks for Anthropic's, `client_version` for that of Codex.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, get
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import UNSET

from shim.accounts.model_lists import FetchedModels
from shim.apis.models import anthropic, codex
from shim.apis.models.wire import Model, ModelList
from shim.http.provided import TheGateway
from shim.http.responses import json_answer
from shim.protocol.models import AUTO, model_not_found, public_name, slug_for, without_provider

ACCOUNT = "x-chat2api-account"
"""Whether an account answers for the caller: without one there are no files, pictures and kept chats"""


@get("/v1/models")
async def list_models(request: Request[Any, Any, Any], gateway: TheGateway) -> ASGIApp:
    """All of them, `auto` first, then the names that stand for one of them (MODEL_ALIASES); in the form of whoever
    asks."""
    caller = gateway.caller(_credential(request))
    listed = await gateway.leases.models(caller)
    catalog = listed.catalog
    aliased = {one.name: one.model for one in gateway.aliases if not one.name.endswith("*")}
    names = dict.fromkeys(
        (AUTO, *map(public_name, listed.slugs), *(preset.name for preset in catalog.presets), *aliased)
    )
    # A key that may use some models only is shown no others.
    usable = [name for name in names if gateway.keys.may_ask(caller.key, name, aliased.get(name, name))]
    models = [_described(name, listed, aliased.get(name)) for name in usable if _has(listed, aliased.get(name, name))]
    query = {name: str(value) for name, value in request.query_params.items()}
    if _VERSION in request.headers:
        return json_answer(request, _encode(anthropic.page(models, query)))
    headers = {ACCOUNT: "true" if caller.own is not None or len(gateway.leases.pool) else "false"}
    if "client_version" in query:
        body = _encode(codex.listed(models))
        etag = hashlib.sha256(body).hexdigest()[:32]
        return json_answer(request, body, headers={"etag": f'"{etag}"'})
    return json_answer(request, _encode(ModelList(models)), headers=headers)


@get("/v1/models/{model_path:path}")
async def get_model(request: Request[Any, Any, Any], gateway: TheGateway, model_path: FromPath[Path]) -> ASGIApp:
    """One of them, by any name it answers to; that of a provider (`openai/gpt-4o`) has a slash."""
    model_id = without_provider(model_path.as_posix().removeprefix("/"))
    caller = gateway.caller(_credential(request))
    listed = await gateway.leases.models(caller)
    alias = next((one for one in gateway.aliases if one.means(model_id)), None)
    meant = alias.model if alias else model_id
    if not _has(listed, meant) or not gateway.keys.may_ask(caller.key, model_id, meant):
        raise model_not_found(model_id)
    model = _described(model_id, listed, alias.model if alias else None)
    return json_answer(request, _encode(anthropic.described(model) if _VERSION in request.headers else model))


def _credential(request: Request[Any, Any, Any]) -> str | None:
    """As either of the two APIs sends it."""
    key = request.headers.get("x-api-key") if _VERSION in request.headers else None
    return key or request.headers.get("authorization")


def _has(listed: FetchedModels, model: str) -> bool:
    # `auto` leaves the choice to upstream, so it is on no list.
    return model == AUTO or _slug_of(listed, model) in listed.slugs


def _slug_of(listed: FetchedModels, model: str) -> str | None:
    preset = listed.catalog.preset(model)
    return preset.slug if preset else slug_for(model, listed.slugs)


def _described(name: str, listed: FetchedModels, stands_for: str | None = None) -> Model:
    """A model by one of its names (that of an alias `stands_for` another), with what upstream's list says of it."""
    meant = stands_for or name
    preset = listed.catalog.preset(meant)
    known = listed.catalog.model(_slug_of(listed, meant) or "")
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


_VERSION = "anthropic-version"
_encode = msgspec.json.Encoder().encode
