"""What calls used, below `/tokens/api`: sums (JSON or CSV), and the last calls. Sums are at `/admin/usage` too, for
programs, behind `door.Door.guard_reader`."""

import csv
import io
import re

import msgspec
from litestar import get
from litestar.types import ASGIApp

from shim.apis.admin.door import Door
from shim.apis.admin.query import number
from shim.apis.admin.stores import STORES_AWAY
from shim.errors import RequestError
from shim.exchange import Gateway
from shim.http.provided import TheGateway
from shim.http.responses import BytesResponse, answer_headers, json_answer
from shim.http.routing import AnyRequest, Routes
from shim.usage import CallRecord, UsageRow, add_up
from shim.usage.book import DAYS, DIMENSIONS

_FILTERS = ("id", "api", "key", "account", "model", "slug", "status", "code")
# A page is read, filtered and written in one piece, while other requests wait.
_MOST_CALLS = 1000


class UsageList(msgspec.Struct, frozen=True):
    """Sums of the last `days` days. Tokens are estimated: the web backend tells none."""

    days: int
    by: list[str]
    rows: list[UsageRow]


class CallList(msgspec.Struct, frozen=True):
    """The last calls, the newest first. `next` is the `before` of the page that follows, None where there is none."""

    calls: list[CallRecord]
    next: str | None


def usage_router(door: Door) -> Routes:
    """`/admin/usage` alone, behind `Door.guard_reader`."""
    return Routes(
        "/",
        route_handlers=[read_usage],
        guards=[lambda connection, _handler: door.guard_reader(connection)],
        exception_handlers=STORES_AWAY,
    )


@get("/admin/usage")
async def read_usage(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """The same as `/tokens/api/usage`."""
    answer = await _sums(request, gateway)
    answer.headers["cache-control"] = "no-store"
    return answer


@get("/api/usage")
async def show_usage(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """Sums of the last days: `?days=30&by=day,key&format=csv`."""
    return await _sums(request, gateway)


async def _sums(request: AnyRequest, gateway: Gateway) -> BytesResponse:
    days = number(request, "days", 30, 1, DAYS)
    named = [word for word in request.query_params.get("by", "day").split(",") if word]
    by = [name for name in DIMENSIONS if name in named]
    if not by or len(by) != len(set(named)):
        raise RequestError(f"'by' has to be some of {', '.join(DIMENSIONS)}, with commas", param="by")
    form = request.query_params.get("format", "json")
    if form not in {"json", "csv"}:
        raise RequestError("'format' has to be json or csv", param="format")
    rows = add_up(await gateway.usage.usage(days), by)
    if form == "json":
        return json_answer(request, msgspec.json.encode(UsageList(days, list(by), rows)))
    text = io.StringIO()
    sums = [name for name in UsageRow.__struct_fields__ if name not in DIMENSIONS]
    written = csv.writer(text)
    written.writerow([*by, *sums])
    for row in rows:
        written.writerow([*(_unquoted(getattr(row, name)) for name in by), *(getattr(row, name) for name in sums)])
    told = {"content-type": "text/csv; charset=utf-8", "content-disposition": 'attachment; filename="usage.csv"'}
    return BytesResponse(text.getvalue().encode(), answer_headers(request, told))


@get("/api/calls")
async def show_calls(request: AnyRequest, gateway: TheGateway) -> ASGIApp:
    """The last calls: `?limit=100&failed=true&key=ci&text=limit`, and `&before=` what the page before says is next."""
    limit = number(request, "limit", 100, 1, _MOST_CALLS)
    failed = request.query_params.get("failed")
    if failed not in {None, "true", "false"}:
        raise RequestError("'failed' has to be true or false", param="failed")
    wanted = {name: value for name in _FILTERS if (value := request.query_params.get(name))}
    # A place is the end and the id of a call: many calls may end within one tick of the clock.
    before = request.query_params.get("before", "")
    seconds, _, id = before.partition(":")
    if before and not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", seconds, re.ASCII):
        raise RequestError("'before' has to be the 'next' of the page before", param="before")
    found = await gateway.usage.calls(
        limit,
        wanted,
        None if failed is None else failed == "true",
        text=request.query_params.get("text", ""),
        before=(float(seconds), id) if before else None,
    )
    last = found[-1] if len(found) == limit else None
    following = f"{last.at!r}:{last.id}" if last is not None else None
    return json_answer(request, msgspec.json.encode(CallList(found, following)))


ROUTES = (show_usage, show_calls)


def _unquoted(text: str) -> str:
    """What no spreadsheet takes for a formula: names of models are the clients' own words."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
