"""The keys below `/tokens/api/keys`: list, add, rotate and remove.

Rule: the two answers that make a key show it, this once; no other has anything of one but its last four characters.
"""

from typing import Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath
from litestar.types import ASGIApp
from msgspec import Meta

from shim.errors import RequestError
from shim.http.provided import TheGateway
from shim.http.responses import json_answer
from shim.http.routing import AnyRequest
from shim.keys import LAST_SECOND, KeyLimits, KeyUse, UnfitKeyError


class KeyView(msgspec.Struct, frozen=True):
    """A key as the page shows it. Times are seconds since 1970."""

    name: str
    hint: str
    created: float
    expires: float | None
    limits: KeyLimits
    used: KeyUse


class KeyList(msgspec.Struct, frozen=True):
    """All keys of the store, by name. Those of AUTHORIZATION are not among them."""

    keys: list[KeyView]


class NewKey(msgspec.Struct, frozen=True):
    """A key that was just made: `key` is shown this once."""

    name: str
    key: str


class KeyRequest(KeyLimits, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """The body that makes a key: its name, when it ends (seconds since 1970), and its limits beside them."""

    name: str
    expires: Annotated[float, Meta(ge=0, le=LAST_SECOND)] | None = None


@get("/api/keys")
async def list_keys(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Every key, its limits, and what of them is used."""
    found = await gateway.keys.all()
    views = [KeyView(key.name, key.hint, key.created, key.expires, key.limits, use) for key, use in found]
    return _answer(request, KeyList(views))


@post("/api/keys", status_code=201)
async def add_key(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Make a key."""
    try:
        wanted = msgspec.json.decode(await request.body(), type=KeyRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The body does not describe a key: {error}", code="invalid_key") from None
    limits = KeyLimits(wanted.models, wanted.requests_per_minute, wanted.tokens_per_day, wanted.concurrent)
    try:
        secret = await gateway.keys.add(wanted.name, limits, wanted.expires)
    except UnfitKeyError as error:
        raise RequestError(str(error), param=error.field, code="invalid_key") from None
    return _answer(request, NewKey(wanted.name, secret), 201)


@post("/api/keys/{name:str}/rotate", status_code=200)
async def rotate_key(request: AnyRequest, gateway: TheGateway, name: FromPath[str]) -> ASGIApp:
    """Another key in the place of one, with its name and limits. The old one is refused from now on."""
    secret = await gateway.keys.rotate(name)
    if secret is None:
        raise _unknown()
    return _answer(request, NewKey(name, secret))


@delete("/api/keys/{name:str}", status_code=200)
async def remove_key(request: AnyRequest, gateway: TheGateway, name: FromPath[str]) -> ASGIApp:
    """Refuse a key from now on."""
    if not await gateway.keys.remove(name):
        raise _unknown()
    return _answer(request, {"removed": 1})


ROUTES = (list_keys, add_key, rotate_key, remove_key)


def _answer(request: AnyRequest, value: object, status: int = 200) -> ASGIApp:
    return json_answer(request, msgspec.json.encode(value), status=status)


def _unknown() -> RequestError:
    return RequestError("There is no such key", status=404, code="key_not_found", param="name")
