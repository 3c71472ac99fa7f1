"""The accounts page and its API below `/tokens`, behind `door.Door`.

Rule: handlers read a request, call the pool and encode its answer. No answer has a token in it, whole or in part, but
for the backup (accounts.py).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import delete, get, post
from litestar.datastructures import Cookie
from litestar.di import Provide
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, Guard, Message, Receive, Scope, Send

from shim.accounts.imports import text_of
from shim.accounts.pool import AccountPool, LineResult, PoolHealth
from shim.accounts.states import State
from shim.accounts.views import AccountView
from shim.apis.admin.accounts import ROUTES as ACCOUNT_ROUTES
from shim.apis.admin.accounts import TheDoor, ThePool, TheProber, account_answer
from shim.apis.admin.door import Door
from shim.apis.admin.keys import ROUTES as KEY_ROUTES
from shim.apis.admin.pages import PAGE_ROUTES
from shim.apis.admin.query import number
from shim.apis.admin.recordings import ROUTES as RECORDING_ROUTES
from shim.apis.admin.stores import STORES_AWAY
from shim.apis.admin.usage import ROUTES as USAGE_ROUTES
from shim.errors import RequestError
from shim.http.responses import answer_headers
from shim.http.routing import AnyRequest, Routes
from shim.settings import Settings

PATH = "/tokens"
MAX_PAGE = 500  # a page of more takes the browser long to draw, and is copied whole for the answer
HEADERS = {
    # Nothing inline, nothing from elsewhere, framed by nobody: a script that got into the page could use its session.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # The list of accounts must not be left in a browser's or a proxy's cache.
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Summary(msgspec.Struct, frozen=True):
    """How many accounts there are, and in which states. `now` is our clock, in seconds since 1970."""

    total: int
    states: dict[str, int]
    health: PoolHealth
    now: float


class AccountsPage(msgspec.Struct, frozen=True):
    """One page of accounts. `matching` counts all accounts in the state that was asked for, with the words that were
    searched for."""

    accounts: list[AccountView]
    offset: int
    limit: int
    matching: int
    summary: Summary


class BadLine(msgspec.Struct, frozen=True):
    """A line of an upload that was refused, and why. What is on the line is never repeated."""

    line: int
    why: str


class Uploaded(msgspec.Struct, frozen=True):
    """The result of an upload: of each line, and what to know about them. `status` and `tokens_count` (all accounts
    now) are fields the original chat2api has."""

    added: tuple[str, ...]
    updated: tuple[str, ...]
    duplicates: tuple[int, ...]
    invalid: list[BadLine]
    results: tuple[LineResult, ...]
    notes: tuple[str, ...]
    tokens_count: int
    status: str = "success"


def admin_router(settings: Settings, door: Door | None = None) -> Routes:
    """Everything below `/tokens`. Its handlers need the dependencies `pool` and `prober`."""
    door = door or Door(settings)
    place, origin, private_guard = (_shared(guard) for guard in (door.guard_place, door.guard_origin, door.guard))
    # The page itself is open to a bookmark and to who is not logged in yet; logging in is for our own pages alone.
    files = Routes("/", route_handlers=PAGE_ROUTES, guards=[place])
    entry = Routes("/", route_handlers=[log_in, session], guards=[place, origin])
    private = Routes("/", route_handlers=_PRIVATE, guards=[private_guard])
    return Routes(
        PATH,
        route_handlers=[files, entry, private],
        dependencies={"door": Provide(lambda: door, sync_to_thread=False)},
        exception_handlers=STORES_AWAY,
        middleware=[hardened],
    )


def _shared(guard: Guard) -> Guard:
    """Litestar deep-copies what handlers are given, a bound method with its object too: every route would have a door,
    and with it a limit on guesses, of its own. It does not copy functions."""
    return lambda connection, handler: guard(connection, handler)  # noqa: PLW0108


def hardened(app: ASGIApp) -> ASGIApp:
    """`app` with HEADERS on every answer, refusals too."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, send_on)

    return with_headers


# --- logging in and out -----------------------------------------------------------------------------------------------


@post("/login", status_code=200)
async def log_in(request: AnyRequest, door: TheDoor) -> ASGIApp:
    """Start a session, given the admin key."""
    info, cookies = door.log_in(request, await _given(request, "key"))
    return _answer(request, info, cookies)


@get("/session")
async def session(request: AnyRequest, door: TheDoor) -> ASGIApp:
    """Whether this browser is logged in, and the value it has to send as `x-chat2api-csrf`."""
    info, cookies = door.session(request)
    return _answer(request, info, cookies)


@post("/logout", status_code=200)
async def log_out(request: AnyRequest, door: TheDoor) -> ASGIApp:
    """End the session."""
    return _answer(request, {"status": "success"}, door.log_out(request))


# --- the API ----------------------------------------------------------------------------------------------------------


@get("/api/summary")
async def show_summary(request: AnyRequest, pool: ThePool, door: TheDoor) -> ASGIApp:
    """How many accounts are in which state."""
    return _answer(request, _summary(pool, door))


@get("/api/accounts")
async def list_accounts(request: AnyRequest, pool: ThePool, door: TheDoor) -> ASGIApp:
    """A page of the accounts, in the order they were added: `?state=cooling&q=words&offset=0&limit=100`."""
    name = request.query_params.get("state")
    try:
        state = State(name) if name else None
    except ValueError:
        allowed = ", ".join(each.value for each in State)
        raise RequestError(f"'state' has to be one of {allowed}", param="state") from None
    offset = number(request, "offset", 0, 0, 10**9)
    limit = number(request, "limit", 100, 1, MAX_PAGE)
    words = request.query_params.get("q", "").strip()
    if len(words) > _MAX_SEARCH:
        raise RequestError(f"'q' may have {_MAX_SEARCH} characters at most", param="q")
    summary = _summary(pool, door)
    if words:
        found = await pool.found(words, state)
        matching, accounts = len(found), found[offset : offset + limit]
    else:
        matching = summary.total if state is None else summary.states[state.value]
        accounts = pool.page(offset=offset, limit=limit, state=state)
    return _answer(request, AccountsPage(accounts, offset, limit, matching, summary))


@post(["/api/accounts", "/upload"], status_code=200)
async def upload(request: AnyRequest, pool: ThePool) -> ASGIApp:
    """Add accounts: credentials one a line, or what other programs keep them in."""
    report = await pool.add(await _given(request, "text"))
    invalid = [BadLine(line, why) for line, why in report.invalid]
    uploaded = Uploaded(
        report.added, report.updated, report.duplicates, invalid, report.results, report.notes, len(pool)
    )
    return _answer(request, uploaded)


@delete("/api/accounts", status_code=200)
async def clear_confirmed(request: AnyRequest, pool: ThePool) -> ASGIApp:
    """Remove all accounts; `{"confirm": true}` is asked for, so that it does not happen by mistake."""
    if _json(await request.body()).get("confirm") is not True:
        raise RequestError('To remove all accounts send {"confirm": true}', param="confirm", code="not_confirmed")
    return _answer(request, {"removed": await pool.clear()})


@post("/clear", status_code=200)
async def clear(request: AnyRequest, pool: ThePool) -> ASGIApp:
    """Remove all accounts: the path and the answer that the original chat2api has."""
    removed = await pool.clear()
    return _answer(request, {"status": "success", "tokens_count": len(pool), "removed": removed})


@get("/error")
async def get_unusable(request: AnyRequest, pool: ThePool) -> ASGIApp:
    """The accounts that can't be used, and why: the path that the original chat2api has."""
    return _unusable(request, pool)


@post("/error", status_code=200)
async def post_unusable(request: AnyRequest, pool: ThePool) -> ASGIApp:
    """The same for POST, which the original chat2api uses."""
    return _unusable(request, pool)


@delete("/api/accounts/{account_id:str}", status_code=200)
async def remove(request: AnyRequest, pool: ThePool, account_id: FromPath[str]) -> ASGIApp:
    """Remove one account."""
    if not await pool.remove(account_id):
        return account_answer(request, None)
    return _answer(request, {"removed": 1})


@post("/api/accounts/{account_id:str}/reset", status_code=200)
async def reset(request: AnyRequest, pool: ThePool, account_id: FromPath[str]) -> ASGIApp:
    """Make one account usable again: its limits, refusals and expiries are forgotten."""
    view = pool.view(account_id) if await pool.reset(account_id) else None
    return account_answer(request, view)


@post("/api/accounts/{account_id:str}/probe", status_code=200)
async def probe(request: AnyRequest, prober: TheProber, account_id: FromPath[str]) -> ASGIApp:
    """Ask upstream now for the state of one account."""
    return account_answer(request, await prober.probe(account_id))


_PRIVATE = (
    log_out,
    show_summary,
    list_accounts,
    upload,
    clear_confirmed,
    clear,
    get_unusable,
    post_unusable,
    remove,
    reset,
    probe,
    *ACCOUNT_ROUTES,
    *KEY_ROUTES,
    *USAGE_ROUTES,
    *RECORDING_ROUTES,
)


# --- reading requests -------------------------------------------------------------------------------------------------


async def _given(request: AnyRequest, name: str) -> str:
    """What a request brings: the field `name` of a form or of JSON, the file in the field `file`, or the whole body.
    Raises RequestError."""
    kind = request.content_type[0]
    if kind == "multipart/form-data":
        form = await request.form()
        try:
            # An empty field is a value, an absent one is not.
            value = form.get(name) if form.get(name) is not None else form.get("file")
            if value is None:
                raise RequestError(f"The form has neither a field '{name}' nor a file in the field 'file'", param=name)
            return value if isinstance(value, str) else _text(await value.read())
        finally:
            await form.close()  # a large file is on disk until then
    body = await request.body()
    if kind == "application/json":
        value = _json(body).get(name)
    else:
        # curl calls any body a form. If the field is missing, the body itself is what was meant.
        value = (await request.form()).get(name) if kind == "application/x-www-form-urlencoded" else None
        value = _text(body) if value is None else value
    if not isinstance(value, str):
        raise RequestError(f"The field '{name}' is missing: it has to be a string", param=name)
    return value


def _text(body: bytes) -> str:
    try:
        return text_of(body)
    except ValueError as error:
        raise RequestError("This is no text") from error


def _json(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Errors never quote it, because it may hold a token."""
    try:
        return _decode(body or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise RequestError("The body has to be a JSON object") from None


# --- answers -------------------------------------------------------------------------------------------------


def _answer(request: AnyRequest, value: object, cookies: Sequence[Cookie] = ()) -> ASGIResponse:
    headers = answer_headers(request)
    return ASGIResponse(body=_encode(value), media_type="application/json", headers=headers, cookies=cookies)


def _summary(pool: AccountPool, door: Door) -> Summary:
    states = {state.value: number for state, number in pool.counts().items()}
    return Summary(sum(states.values()), states, pool.health(), door.now())


def _unusable(request: AnyRequest, pool: AccountPool) -> ASGIResponse:
    accounts = [view for state in _UNUSABLE for view in pool.page(state=state)]
    told = {"status": "success", "error_tokens": [view.id for view in accounts], "accounts": accounts}
    return _answer(request, told)


_UNUSABLE = (State.PARKED, State.EXPIRED, State.COOLING, State.PAUSED)
# Each word is looked for in every account: the work must not grow with what somebody pastes in.
_MAX_SEARCH = 200
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode
