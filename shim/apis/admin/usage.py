"""What calls used, below `/tokens/api`: sums (JSON or CSV), and the last calls."""

import csv
import io
from typing import Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from shim.apis.admin.query import number
from shim.errors import RequestError
from shim.http.provided import TheGateway
from shim.http.responses import answer_headers, json_answer
from shim.usage import CallRecord, UsageRow, add_up
from shim.usage.book import DAYS, DIMENSIONS

AnyRequest = Request[Any, Any, Any]

_FILTERS = ("id", "api", "key", "account", "model", "slug", "status", "code")
_MOST_CALLS = 1000


class UsageList(msgspec.Struct, frozen=True):
    """Sums of the last `days` days. Tokens are estimated: the web backend tells none."""

    days: int
    by: list[str]
    rows: list[UsageRow]


class CallList(msgspec.Struct, frozen=True):
    """The last calls, the newest first."""

    calls: list[CallRecord]


@get("/api/usage")
async def show_usage(request: AnyRequest, gateway: TheGateway) -> ASGIResponse:
    """Sums of the last days: `?days=30&by=day,key&format=csv`."""
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
    headers = answer_headers(request, {"content-disposition": 'attachment; filename="usage.csv"'})
    return ASGIResponse(body=text.getvalue().encode(), media_type="text/csv; charset=utf-8", headers=headers)


@get("/api/calls")
async def show_calls(request: AnyRequest, gateway: TheGateway) -> ASGIResponse:
    """The last calls: `?limit=100&failed=true&key=ci`."""
    limit = number(request, "limit", 100, 1, _MOST_CALLS)
    failed = request.query_params.get("failed")
    if failed not in {None, "true", "false"}:
        raise RequestError("'failed' has to be true or false", param="failed")
    wanted = {name: value for name in _FILTERS if (value := request.query_params.get(name))}
    found = await gateway.usage.calls(limit, wanted, None if failed is None else failed == "true")
    return json_answer(request, msgspec.json.encode(CallList(found)))


ROUTES = (show_usage, show_calls)


def _unquoted(text: str) -> str:
    """What no spreadsheet takes for a formula: names of models are the clients' own words."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text
