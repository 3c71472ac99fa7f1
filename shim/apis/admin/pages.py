"""The pages below `/tokens` and the files that they are made of. `route.hardened` gives them their headers.

Rules:
* they hold nothing to protect; what is shown is asked of the API;
* head, navigation and log-in are those of `frame.html`, once for all pages; every address in them is relative.
"""

from functools import cache

import msgspec
from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from shim.errors import RequestError
from shim.http.responses import answer_headers
from shim.http.routing import AnyRequest
from shim.http.static import WEB, StaticFile, file_answer

_PARTS = {
    "pages.css": "admin/pages.css",
    "usage.css": "admin/usage.css",
    "session.js": "admin/session.js",
    "accounts.js": "admin/accounts.js",
    "usage.js": "admin/usage.js",
    "charts.js": "admin/charts.js",
    "calls.js": "admin/calls.js",
    "recordings.js": "admin/recordings.js",
    "uplot.js": "vendor/uplot/uPlot.iife.min.js",
    "uplot.css": "vendor/uplot/uPlot.min.css",
}


class Page(msgspec.Struct, frozen=True):
    """A page: the name of its body's file, what stands above it, where it is from the gateway's root and `top`, the way
    back there, its files, and what to do without JavaScript (HTML)."""

    name: str
    title: str
    path: str
    top: str
    files: tuple[str, ...]
    otherwise: str

    def html(self) -> bytes:
        """The whole of it."""
        frame = (WEB / "admin/frame.html").read_text()
        link = f'<a href="{{top}}{self.path}"'
        frame = frame.replace(link, f'{link} aria-current="page"')
        elements: list[str] = []
        for name in self.files:
            address = f"{{top}}tokens/parts/{name}"
            kind = "defer" if name == "uplot.js" else 'type="module"'  # that one is no module
            if name.endswith(".css"):
                elements.append(f'<link rel="stylesheet" href="{address}">')
            else:
                elements.append(f'<script src="{address}" {kind}></script>')
        body = (WEB / f"admin/{self.name}.html").read_text()
        parts = {
            "files": "\n".join(elements),
            "title": self.title,
            "otherwise": self.otherwise,
            "body": body,
            "top": self.top,
        }
        # `top` is the last: what is put in before has more of it.
        for place, text in parts.items():
            frame = frame.replace(f"{{{place}}}", text)
        return frame.encode()


_ACCOUNTS = Page(
    "accounts",
    "Accounts",
    "tokens",
    "./",
    ("pages.css", "accounts.js"),
    "In a terminal, <code>chat2api tokens</code> does the same.",
)
_USAGE = Page(
    "usage",
    "Usage",
    "tokens/usage",
    "../",
    ("pages.css", "uplot.css", "usage.css", "uplot.js", "usage.js"),
    "<code>GET /admin/usage</code> tells the same.",
)


@get("/")
async def accounts_page(request: AnyRequest) -> ASGIResponse:
    """The accounts, and the keys."""
    return _answer(request, _ACCOUNTS)


@get("/usage")
async def usage_page(request: AnyRequest) -> ASGIResponse:
    """What was used, the log, and recordings."""
    return _answer(request, _USAGE)


@get("/parts/{name:str}")
async def page_part(request: AnyRequest, name: FromPath[str]) -> ASGIResponse:
    """One of their files. Raises RequestError (404) for any other."""
    if name not in _PARTS:
        raise RequestError("The page has no such file", status=404)
    return file_answer(request, _part(name), {})


PAGE_ROUTES = (accounts_page, usage_page, page_part)


def _answer(request: AnyRequest, page: Page) -> ASGIResponse:
    if request.scope["raw_path"].endswith(b"/"):  # below a slash its relative addresses would lead elsewhere
        headers = answer_headers(request, {"location": f"../{page.path.rpartition('/')[2]}"})
        return ASGIResponse(status_code=307, headers=headers, media_type="text/plain")
    return file_answer(request, _page(page), {})


@cache
def _page(page: Page) -> StaticFile:
    return StaticFile(page.html(), ".html")


@cache
def _part(name: str) -> StaticFile:
    path = WEB / _PARTS[name]
    return StaticFile(path.read_bytes(), path.suffix)
