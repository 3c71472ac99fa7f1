"""The usage page and the files that pages below `/tokens` are made of. `route.hardened` gives them their headers.

Rule: they hold nothing to protect; what is shown is asked of the API.
"""

from functools import cache
from typing import Any

from litestar import Request, get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from shim.errors import RequestError
from shim.http.responses import answer_headers
from shim.http.static import WEB, StaticFile, file_answer

AnyRequest = Request[Any, Any, Any]

_PARTS = {
    "usage.css": "admin/usage.css",
    "session.js": "admin/session.js",
    "usage.js": "admin/usage.js",
    "charts.js": "admin/charts.js",
    "calls.js": "admin/calls.js",
    "recordings.js": "admin/recordings.js",
    "uplot.js": "vendor/uplot/uPlot.iife.min.js",
    "uplot.css": "vendor/uplot/uPlot.min.css",
}


@get("/usage")
async def usage_page(request: AnyRequest) -> ASGIResponse:
    """The page."""
    if request.scope["raw_path"].endswith(b"/"):  # below a slash its relative addresses would lead elsewhere
        headers = answer_headers(request, {"location": "../usage"})
        return ASGIResponse(status_code=307, headers=headers, media_type="text/plain")
    return file_answer(request, _file("admin/usage.html"), {})


@get("/parts/{name:str}")
async def page_part(request: AnyRequest, name: FromPath[str]) -> ASGIResponse:
    """One of its files. Raises RequestError (404) for any other."""
    if name not in _PARTS:
        raise RequestError("The page has no such file", status=404)
    return file_answer(request, _file(_PARTS[name]), {})


PAGE_ROUTES = (usage_page, page_part)


@cache
def _file(name: str) -> StaticFile:
    path = WEB / name
    return StaticFile(path.read_bytes(), path.suffix)
