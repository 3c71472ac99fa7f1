"""Static files, served from memory: those of both pages, and the routes of the chat page at `/`.

Rule: the chat page holds no key and no chat, so it is served to anybody; everything it shows it asks `v1` for itself.
Every address in it is relative, so that it works below API_PREFIX and behind a proxy that adds a prefix of its own.

Litestar's static files have no versions in their addresses, no gzip made once, and no errors in our envelope.
"""

import base64
import gzip
import hashlib
from collections.abc import Mapping
from functools import cache, cached_property, partial
from pathlib import Path

from litestar import get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation
from litestar.response.base import ASGIResponse

from shim.errors import RequestError
from shim.http.responses import answer_headers
from shim.http.routing import AnyRequest, Routes

# Nothing but our own files runs, no other origin is asked for anything, and nobody may frame the page. Only the
# sanitiser may turn text into markup: `trusted-types` names its policy, and the one for the address of the worker.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; media-src blob:; manifest-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify offline"
)
PAGE_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",  # for pictures and voice messages
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
# The frame that draws diagrams: an origin of its own without a network, where two scripts run, known by their hashes.
DIAGRAM = "chat/diagram.html"
DIAGRAM_SCRIPTS = {"{drawing}": "chat/diagram-frame.js", "{mermaid}": "vendor/mermaid/mermaid.tiny.js"}
DIAGRAM_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
# The page is asked for on every visit and is usually unchanged; its files have their version in their address.
REVALIDATE = "no-cache"
# A year, the longest that caches heed.
FOR_EVER = "public, max-age=31536000, immutable"
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
# The worker that keeps the page for when the gateway is away, and what of the files it fetches before they are used.
WORKER = "chat/worker.js"
WORKER_HEADERS = {"content-security-policy": "default-src 'none'; connect-src 'self'", "cache-control": REVALIDATE}
KEPT_AHEAD = ("chat/", "vendor/markdown-it/", "vendor/dompurify/")
FILES_MARK = "{files}"
PAGE_MARK = "x-chat2api-page"
WEB = Path(__file__).parents[1] / "web"
PAGE = "chat.html"
FOLDERS = ("chat", "vendor")
VERSION_MARK = "{version}"
# gzip makes them larger.
ALREADY_COMPRESSED = frozenset({".woff2"})


class StaticFile:
    """One file as it is served. `etag` is quoted; `packed` is the gzip form, or None where that would save nothing."""

    def __init__(self, body: bytes, suffix: str) -> None:
        self.body = body
        self.media_type = MEDIA_TYPES[suffix]
        self.etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        self._suffix = suffix

    @cached_property
    def packed(self) -> bytes | None:
        """Compressed when it is first asked for: most visits need a third of the files."""
        return None if self._suffix in ALREADY_COMPRESSED else gzip.compress(self.body, 9, mtime=0)


class Site:
    """The page, and its files by their path below `web/{version}/`. The version is a hash of all of them, so that one
    visit never mixes the files of two releases."""

    def __init__(self, folder: Path) -> None:
        found = (path for name in FOLDERS for path in (folder / name).rglob("*") if path.suffix in _SERVED)
        digest = hashlib.sha256()
        files: dict[str, StaticFile] = {}
        for path in sorted(found):
            name, body = path.relative_to(folder).as_posix(), path.read_bytes()
            # With name and length, so that no text that moves from one file to another leaves the version as it was.
            digest.update(f"{name}\0{len(body)}\0".encode())
            digest.update(body)
            files[name] = StaticFile(body, path.suffix)
        scripts = {mark: files.pop(name).body for mark, name in DIAGRAM_SCRIPTS.items()}
        frame = (folder / DIAGRAM).read_bytes()
        digest.update(frame)
        for mark, script in scripts.items():
            frame = frame.replace(mark.encode(), script, 1)
        files[DIAGRAM] = StaticFile(frame, ".html")
        self.files: Mapping[str, StaticFile] = files
        self.version = digest.hexdigest()[:16]
        hashes = (base64.b64encode(hashlib.sha256(script).digest()).decode() for script in scripts.values())
        policy = DIAGRAM_POLICY.format(hashes=" ".join(f"'sha256-{one}'" for one in hashes))
        self.headers: Mapping[str, dict[str, str]] = {DIAGRAM: {"content-security-policy": policy}}
        ahead = [name for name in files if name.startswith(KEPT_AHEAD) and name not in {DIAGRAM, WORKER}]
        worker = (
            files.pop(WORKER).body.decode().replace(FILES_MARK, " ".join(ahead)).replace(VERSION_MARK, self.version)
        )
        self.worker = StaticFile(worker.encode(), ".js")
        page = (folder / PAGE).read_text("utf-8").replace(VERSION_MARK, self.version)
        self.page = StaticFile(page.encode(), ".html")


TheSite = NamedDependency[SkipValidation[Site]]


def page_router(folder: Path | None = None) -> Routes:
    """The page and everything below `/web`. `folder` takes the place of the package's own files."""
    read = partial(Site, folder) if folder else _own_site
    # Read when it is first asked for, and in a thread, as it takes 15 ms: many gateways never show the page, and of an
    # idle worker's memory it was 4 MB, of each of several workers' 20.
    return Routes(
        "/",
        route_handlers=[page, worker, part],
        dependencies={"site": Provide(read, sync_to_thread=True, use_cache=True)},
    )


@cache
def _own_site() -> Site:
    """The package's: its files don't change while it runs, and a program may have several applications."""
    return Site(WEB)


@get("/")
async def page(request: AnyRequest, site: TheSite) -> ASGIResponse:
    """The page; below a prefix, with the slash its relative addresses need."""
    path: bytes = request.scope["raw_path"]
    if not path.endswith(b"/"):
        location = path.rpartition(b"/")[2].decode("ascii") + "/"
        headers = answer_headers(request, {"location": location})
        return ASGIResponse(status_code=307, headers=headers, media_type="text/plain")
    headers = _SHARED | PAGE_HEADERS | {"cache-control": REVALIDATE, PAGE_MARK: site.version}
    return file_answer(request, site.page, headers)


@get("/offline.js")
async def worker(request: AnyRequest, site: TheSite) -> ASGIResponse:
    """The worker of the page. It lies beside the page, as it may serve only what lies below itself."""
    return file_answer(request, site.worker, _SHARED | WORKER_HEADERS)


@get("/web/{version:str}/{name:path}")
async def part(request: AnyRequest, site: TheSite, version: FromPath[str], name: FromPath[str]) -> ASGIResponse:
    """One of its files. Raises RequestError (404) for another version's: the page that wants it is out of date."""
    found = name.removeprefix("/")
    file = site.files.get(found)
    if version != site.version or file is None:
        raise RequestError("The chat page has no such file; reload the page", status=404)
    return file_answer(request, file, _SHARED | site.headers.get(found, {}) | {"cache-control": FOR_EVER})


def file_answer(request: AnyRequest, file: StaticFile, headers: dict[str, str]) -> ASGIResponse:
    """The file with these headers, compressed where the client reads that; 304 where the client has it already."""
    headers = {"etag": file.etag, "vary": "accept-encoding"} | headers
    if _has(request, "if-none-match", file.etag):
        return ASGIResponse(status_code=304, headers=answer_headers(request, headers), media_type=file.media_type)
    body = file.body
    if _has(request, "accept-encoding", "gzip") and file.packed is not None:
        body = file.packed
        headers["content-encoding"] = "gzip"
    return ASGIResponse(body=body, media_type=file.media_type, headers=answer_headers(request, headers))


def _has(request: AnyRequest, header: str, wanted: str) -> bool:
    """Whether a header that is a list names `wanted`. A weak ETag counts as the strong one; `gzip;q=0` is a refusal."""
    for entry in request.headers.get(header, "").split(","):
        value, _, parameters = entry.strip().removeprefix("W/").partition(";")
        if value.strip() == wanted:
            return parameters.replace(" ", "").rstrip("0").rstrip(".") != "q="
    return False


# Not what else lies in those folders: licences, lists.
_SERVED = frozenset({".css", ".js", ".svg", ".webmanifest", ".woff2"})
_SHARED = {"x-content-type-options": "nosniff", "cross-origin-resource-policy": "same-origin"}
