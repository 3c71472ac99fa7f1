"""How accounts are used, below `/tokens/api/accounts`: one of them, many at once, and all of them as a backup.

Rule: no answer has a token in it, whole or in part, but for the backup; that one asks for the admin key once more, so
that a page that was left open does not hand the accounts over.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from litestar import get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.types import ASGIApp
from msgspec import UNSET, Meta, UnsetType

from shim.accounts.pool import AccountPool
from shim.accounts.views import AccountView
from shim.apis.admin.door import Door
from shim.apis.admin.query import number
from shim.apis.admin.usage import UsageList
from shim.errors import GatewayError, RequestError
from shim.http.provided import TheGateway
from shim.http.responses import JSON, BytesResponse, answer_headers, json_answer
from shim.http.routing import AnyRequest
from shim.settings import SettingError, check_proxy
from shim.usage import add_up
from shim.usage.book import DAYS

T = TypeVar("T")
log = logging.getLogger("chat2api")

MOST_AT_ONCE = 500  # accounts of one request: as many as a page of the list has


class Prober(Protocol):
    """Asks upstream for the state of an account."""

    async def probe(self, id: str) -> AccountView | None:
        """The account in its new state, or None if there is no such account. Raises GatewayError."""
        ...


TheProber = NamedDependency[SkipValidation[Prober]]
TheDoor = NamedDependency[SkipValidation[Door]]
ThePool = NamedDependency[SkipValidation[AccountPool]]

Label = Annotated[str, Meta(max_length=64)]
Action = Literal["pause", "resume", "reset", "probe", "remove"]


class AccountChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that changes how an account is used; null takes a field back, and what is left out stays."""

    label: Label | UnsetType | None = UNSET
    paused: bool | UnsetType = UNSET
    proxy: Annotated[str, Meta(max_length=1024)] | UnsetType | None = UNSET
    limit: Annotated[int, Meta(ge=1, le=64)] | UnsetType | None = UNSET


class AccountsAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that does one thing to many accounts."""

    action: Action
    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class ActionResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one account: `account` as it is then (none where it was removed), or `why` it failed."""

    id: str
    done: bool
    why: str = ""
    account: AccountView | None = None


class ActionResults(msgspec.Struct, frozen=True):
    """One result for each id, in the order they were given."""

    results: list[ActionResult]


class BackupRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body that asks for all accounts with their tokens."""

    confirm: bool = False
    key: Annotated[str, Meta(max_length=1024)] = ""


@get("/api/accounts/{account_id:str}")
async def show_account(request: AnyRequest, pool: ThePool, account_id: FromPath[str]) -> ASGIApp:
    """One account."""
    return account_answer(request, pool.view(account_id))


@get("/api/accounts/{account_id:str}/usage")
async def show_account_usage(request: AnyRequest, gateway: TheGateway, account_id: FromPath[str]) -> ASGIApp:
    """What calls used of one account, day by day: `?days=14`. Days without any are left out."""
    days = number(request, "days", 14, 1, DAYS)
    rows = [row for row in await gateway.usage.usage(days) if row.account == account_id]
    return json_answer(request, msgspec.json.encode(UsageList(days, ["day"], add_up(rows, ["day"]))))


@patch("/api/accounts/{account_id:str}")
async def change_account(request: AnyRequest, pool: ThePool, account_id: FromPath[str]) -> ASGIApp:
    """Change how an account is used: its label, its pause, its proxy, how many turns it may have at once."""
    wanted = await _body(request, AccountChange)
    changes: dict[str, Any] = {}
    if wanted.label is not UNSET:
        changes["label"] = label_of(wanted.label)
    if wanted.limit is not UNSET:
        changes["limit"] = wanted.limit
    if wanted.proxy is not UNSET:
        changes["proxy_url"] = _proxy(wanted.proxy)
    found = await pool.adjust(account_id, **changes)
    # After the rest: an account that is resumed takes turns at once, and by its new proxy already.
    if found and wanted.paused is not UNSET:
        found = await (pool.pause if wanted.paused else pool.resume)(account_id)
    return account_answer(request, pool.view(account_id) if found else None)


@post("/api/accounts/actions", status_code=200)
async def act_on_accounts(request: AnyRequest, pool: ThePool, prober: TheProber) -> ASGIApp:
    """Do one thing to many accounts. One that fails does not stop the others."""
    wanted = await _body(request, AccountsAction)

    async def probe(id: str) -> bool:
        return await prober.probe(id) is not None

    acts: dict[Action, Callable[[str], Awaitable[bool]]] = {
        "pause": pool.pause,
        "resume": pool.resume,
        "reset": pool.reset,
        "remove": pool.remove,
        "probe": probe,
    }
    act = acts[wanted.action]
    results = []
    # Each once: an id that comes twice would be told as removed, and then as unknown.
    for id in dict.fromkeys(wanted.ids):
        try:
            done = await act(id)
        except GatewayError as error:
            results.append(ActionResult(id, False, error.message))
            continue
        why = "" if done else "There is no account with this id"
        results.append(ActionResult(id, done, why, pool.view(id)))
    return json_answer(request, msgspec.json.encode(ActionResults(results)))


@post("/api/accounts/export", status_code=200)
async def export_accounts(request: AnyRequest, pool: ThePool, door: TheDoor) -> ASGIApp:
    """All accounts with their tokens, readable: what `tokens export` writes. Asks for `{"confirm": true}`, and of who
    is logged in for the admin key once more."""
    wanted = await _body(request, BackupRequest)
    if not wanted.confirm:
        raise RequestError(
            'This shows the tokens of all accounts: send {"confirm": true}', param="confirm", code="not_confirmed"
        )
    # A log-in is not enough here: a page that somebody left open must not hand over every account.
    door.confirm_key(request, wanted.key)
    log.warning("a backup of %d accounts, with their tokens, was downloaded", len(pool))
    name = 'attachment; filename="chat2api-accounts.json"'
    headers = answer_headers(request, {"content-disposition": name})
    return BytesResponse(pool.export().encode(), headers | JSON)


ROUTES = (show_account, show_account_usage, change_account, act_on_accounts, export_accounts)


def account_answer(request: AnyRequest, view: AccountView | None) -> ASGIApp:
    """An account; RequestError (404) for none."""
    if view is None:
        raise RequestError("There is no account with this id", status=404, code="account_not_found")
    return json_answer(request, msgspec.json.encode(view))


def label_of(text: str | None) -> str | None:
    """A label as it is kept; None for none. Raises RequestError."""
    label = (text or "").strip()
    if not label.isprintable():
        raise RequestError("A label has to be one line of printable text", param="label")
    return label or None


def _proxy(url: str | None) -> str | None:
    url = (url or "").strip()
    try:
        if url:
            check_proxy("PROXY_URL", url)
    except SettingError as error:
        # The sentence begins with a setting that nobody has touched here.
        why = str(error).removeprefix("PROXY_URL is (not shown): ")
        raise RequestError(f"This is no proxy's address: {why}", param="proxy", code="invalid_proxy") from None
    return url.rstrip("/") or None


async def _body(request: AnyRequest, kind: type[T]) -> T:
    """The body as JSON. Errors never quote it: a proxy's password may be in it."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise RequestError(f"The body can't be used: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError("The body has to be a JSON object") from None
