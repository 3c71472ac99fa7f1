"""What every request passes before it is routed, and its body on its way in.

    path ──> as it is meant (spellings)
    turn ──> not all of a crowd before the first is answered (entrance)
    head ──> one Host, and a sane one? ──> without a key: from this machine's own names and pages? ──> HEAD becomes GET
    body ──> in time? within what may be under way? ──> decoded ──> the handler
    end  ──> what is still to come of a body that was refused is read and dropped ──> a line in the log

Rule: nothing here knows an API; what it refuses is told in the envelope it is given for the request. A body is
counted from its first byte to the end of its answer, because it stays in memory that long.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from litestar import Request
from litestar.types import ASGIApp, Receive, Send

from shim.errors import RequestError, UnavailableError
from shim.heap import LARGE, Bulk
from shim.http.entrance import Entrance
from shim.http.errors import RefuseFor
from shim.http.origins import is_loopback_name, is_same_origin, name_in, origin_of
from shim.http.responses import LOGGED, PIECES, STREAMED, BytesResponse, answer_headers, request_id
from shim.http.spellings import as_meant
from shim.logs import log_fields
from shim.settings import Settings
from shim.transport.codings import CodingError, TooLargeError, decode_body, is_known

log = logging.getLogger("chat2api")

BODY_SECONDS = 30.0  # without another piece of a body
_DROP_SECONDS = 5.0  # for what still comes of a body that was refused
_DROP_BYTES = 128 * 1024 * 1024
_FEW_BYTES = 32 * 1024 * 1024  # under way: where there are more, memory that is given back is asked for again at once
_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{0,5}))?")
_SECRET = re.compile(r"(?:sk-|c2a-|rt_|eyJ).*|[\w~+=-]{41,}", re.DOTALL)  # no id of ours is so long
_ALLOW_LISTED = ("/backend-api", "/backend-anon")  # where each method of a path is listed, or is a 404
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds
_OPEN = ("/healthz", "/readyz", "/files/")  # tell nothing that a page could use, and links are their own key


def decoded_body(body: bytes, coding: str, limit: int) -> bytes:
    """A request's body without its content coding. Raises RequestError: 415 for a coding that is not known, 413 beyond
    `limit` bytes, 400 for one that is damaged."""
    if not is_known(coding):
        text = f"The content encoding {coding[:40]!r} is not known here: send gzip, deflate, br, zstd or none"
        raise RequestError(text, status=415, code="unknown_content_encoding")
    try:
        return decode_body(body, coding, limit)
    except TooLargeError:
        raise RequestError(
            "The request body is larger than this gateway accepts", status=413, code="request_too_large"
        ) from None
    except CodingError as error:
        raise RequestError(f"The request body can't be decoded: {error}", code="invalid_content_encoding") from None


class _UnderWay:
    """The bytes of all bodies that one worker holds."""

    def __init__(self, most: int) -> None:
        self._most, self._now, self._released = most, 0, 0
        self._bulk = Bulk()

    def take(self, size: int) -> None:
        """Raises UnavailableError where that is too much."""
        if self._now + size > self._most:
            raise UnavailableError(
                "The gateway holds as many requests as it can (MAX_BYTES_UNDER_WAY); try again in a moment",
                code="too_many_bytes",
                retry_after=1.0,
            )
        self._now += size

    def release(self, size: int) -> None:
        """Give bytes back."""
        self._now -= size
        if size >= LARGE:  # small ones leave nothing behind that is not used again at once
            self._released += size
        if self._released and self._now < _FEW_BYTES:
            released, self._released = self._released, 0
            self._bulk.let_go(released)


class PageCheck:
    """Whether a request to a gateway without keys may be one that another web page made. `hosts` are names that it is
    reached by beside this machine's own; with `any_host` that was looked at before."""

    def __init__(self, settings: Settings, *, any_host: bool = False, hosts: Iterable[str] = ()) -> None:
        self._any_host, self._public_url = any_host, settings.public_base_url
        self._any_origin = "*" in settings.cors_origins
        self._origins = {origin for one in settings.cors_origins if (origin := origin_of(one)) is not None}
        public = origin_of(settings.public_base_url)
        self._hosts = {*hosts, *(host for _, host, _ in (*self._origins, *([public] if public else [])))}

    def check(self, method: str, path: str, host: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises RequestError (403). `path` is the one below the prefix."""
        if path.startswith(_OPEN):
            return
        known = not host or is_loopback_name(host) or name_in(host) in self._hosts  # no browser leaves it out
        if not (known or self._any_host or self._any_origin):
            raise RequestError(
                "Without AUTHORIZATION only this machine's own names are served, as any web page can have another name "
                "point here: set AUTHORIZATION, or PUBLIC_BASE_URL to the address this gateway is reached at",
                status=403,
                type="permission_error",
                code="foreign_host",
            )
        told_origin, told_site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if told_origin is None and told_site is None:  # no browser made it
            return
        navigates = method == "GET" and headers.get(b"sec-fetch-mode") == b"navigate"
        origin = told_origin.decode("latin-1") if told_origin is not None else None
        site = told_site.decode("latin-1") if told_site is not None else None
        allowed = self._any_origin or (origin is not None and origin_of(origin) in self._origins)
        if not (allowed or navigates) and not is_same_origin(
            host, self._public_url, origin=origin, site=site, navigates=method == "GET"
        ):
            raise RequestError(
                "Another web page made this request. Without AUTHORIZATION it is refused unless CORS_ORIGINS names it",
                status=403,
                type="permission_error",
                code="other_origin",
            )


class Intake:
    """`app` behind all of that. `looks_for_id` tells of a request whether its client looks for its id under
    `request-id`, too. `any_host`: whoever calls was looked at before, and names hosts of others."""

    def __init__(
        self,
        settings: Settings,
        app: ASGIApp,
        refuse_for: RefuseFor,
        looks_for_id: Callable[[Any], bool],
        *,
        any_host: bool = False,
    ) -> None:
        self._app, self._refuse_for, self._looks_for_id = app, refuse_for, looks_for_id
        self._limit, self._total = settings.max_request_bytes, settings.total_timeout
        self._root = settings.root_path
        self._keys = {*settings.authorization, settings.admin_key} - {""}
        self._entrance = Entrance()
        self._pages = None if settings.authorization else PageCheck(settings, any_host=any_host)
        self._under_way = _UnderWay(settings.max_bytes_under_way)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """ASGI, for HTTP alone."""
        scope.setdefault("state", {})
        began, path = time.perf_counter(), as_meant(scope["path"], self._root)
        if path != scope["path"]:
            scope["path"], scope["raw_path"] = path, path.encode()
        below = path.removeprefix(self._root)
        # A probe that stood in line behind a crowd would tell of a busy gateway that it is down.
        if below not in _PROBES:
            await self._entrance.enter()
        headers = dict(scope["headers"])
        body = _Body(scope, headers, receive, self._under_way, limit=self._limit, total=self._total)
        answer = _Answer(send, is_head=scope["method"] == "HEAD", names_id=self._looks_for_id(scope))
        try:
            self._check(scope, below, headers)
            body.begin()
            answer.is_head &= not below.startswith(_ALLOW_LISTED)
            # Those who look at heads alone can be passed by, but for one whose body is dropped piece by piece.
            if answer.is_head:
                scope["method"] = "GET"
            else:
                scope["state"][PIECES] = send
            await self._app(scope, body.receive, answer.send)
        except RequestError as error:
            # Its head is out, and there can be no second one.
            if answer.status:
                raise
            headers, told = self._refuse_for(scope)(error)
            refusal = BytesResponse(told, answer_headers(Request(scope), headers), status=error.http_status)
            await refusal(scope, receive, answer.send)
        finally:
            body.release()
            if LOGGED not in scope["state"]:
                # A mount takes its own part off the path of the scope, and tells what is left as the whole.
                self._log(scope, below, answer.status, time.perf_counter() - began)
        # After the answer, which the client may be waiting for before it sends any more.
        if not body.is_whole:
            await body.drop()

    def _check(self, scope: Any, below: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises RequestError for a request that is not served, whatever it asks. `below` is its path below the
        prefix."""
        # Where there is none, Granian makes an empty one.
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host" and value]
        if len(hosts) > 1 or (not hosts and scope["http_version"] not in {"1", "1.0"}):
            raise RequestError("A request needs one Host header", code="invalid_host")
        host = hosts[0] if hosts else ""
        match = _HOST.fullmatch(host)
        if hosts and (match is None or int(match["port"] or 0) > 65535):
            raise RequestError("The Host header is not a host and a port", code="invalid_host")
        if self._pages is not None:
            self._pages.check(scope["method"], below, host, headers)

    def _log(self, scope: Any, path: str, status: int, seconds: float) -> None:
        # Of a link the path is the key; elsewhere ids in it are no secrets, and unknown paths show what is mistyped,
        # which may be a key that was pasted there.
        parts = ("…" if part in self._keys or _SECRET.fullmatch(part) else part for part in path.split("/"))
        shown = "/files/…" if path.startswith("/files/") else "/".join(parts)[:100]
        level = logging.DEBUG if path in _PROBES and status == 200 else logging.INFO
        fields = {"method": scope["method"], "path": shown, "code": status or None, "ms": seconds * 1000}
        log_fields(log, level, request_id(Request(scope)), fields if status else fields | {"status": "client_gone"})


class _Body:
    """The body of one request on its way in."""

    def __init__(
        self,
        scope: Any,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        under_way: _UnderWay,
        *,
        limit: int,
        total: float,
    ) -> None:
        self._scope, self._receive, self._under_way, self._limit = scope, receive, under_way, limit
        self._until = time.monotonic() + total
        self._headers = headers
        self._coding = ""  # none, also where it is called "identity"
        self._length: int | None = None  # of the body, as its head tells
        self._held = self._arrived = self._announced = 0
        self.is_whole = self._broken = self._asked = False

    def begin(self) -> None:
        """Look at the head. What is announced counts at once, so that nobody waits for the rest of a body that there
        will be no room for. Raises UnavailableError."""
        length = self._headers.get(b"content-length", b"")
        # Python reads no number of more than 4,300 digits, and takes its time for those it reads.
        if length.isdigit() and len(length) < 16 and int(length) <= self._limit:
            self._announced = int(length)
            # Where a body comes in chunks, that says where it ends, and a length beside it nothing (RFC 9112 6.3).
            if b"transfer-encoding" not in self._headers:
                self._length = self._announced
        coding = self._headers.get(b"content-encoding")
        if coding and (named := coding.decode("latin-1").strip().lower()) not in {"", "identity"}:
            self._coding = named
            gone = {b"content-encoding", b"content-length"}
            self._scope["headers"] = [one for one in self._scope["headers"] if one[0] not in gone]

    async def receive(self) -> Any:
        """As ASGI's. Raises RequestError and UnavailableError."""
        if self.is_whole:
            return await self._receive()
        if self._announced > self._held and STREAMED not in self._scope["state"]:
            self._take(self._announced - self._held)
        if not self._coding:
            return await self._next()
        pieces = []
        while not self.is_whole:
            message = await self._next()
            if message["type"] != "http.request":
                return message
            pieces.append(message.get("body", b""))
            if self._arrived > self._limit:
                raise RequestError(
                    "The request body is larger than this gateway accepts", status=413, code="request_too_large"
                )
        # In a thread, however little there is of it: a few bytes may come to all that is allowed.
        body = await asyncio.to_thread(decoded_body, b"".join(pieces), self._coding, self._limit)
        self._take(len(body))
        return {"type": "http.request", "body": body, "more_body": False}

    async def drop(self) -> None:
        """Read and drop what still comes of a body that nobody wanted: a client that is still sending sees a connection
        that is closed on it as broken, and not the answer it has."""
        # Whoever expects a 100 first sends nothing before somebody asks for the body.
        if self.is_whole or self._broken or (not self._asked and b"expect" in self._headers):
            return
        try:
            async with asyncio.timeout(_DROP_SECONDS):
                left = _DROP_BYTES
                while left > 0 and not self.is_whole:
                    message = await self._receive()
                    left -= len(message.get("body", b""))  # type: ignore[arg-type]
                    self.is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            pass

    def release(self) -> None:
        """The answer is over."""
        # Taken away first: what is released twice would make room that there is not.
        held, self._held = self._held, 0
        if held:
            self._under_way.release(held)

    def _take(self, size: int) -> None:
        self._under_way.take(size)
        self._held += size

    async def _next(self) -> Any:
        self._asked = True
        try:
            async with asyncio.timeout(min(BODY_SECONDS, self._until - time.monotonic())):
                message: Any = await self._receive()
        except TimeoutError:
            self._broken = True
            raise RequestError("The request body did not arrive in time", status=408, code="body_timeout") from None
        self._arrived += len(message.get("body", b""))
        if self._arrived == self._length and message.get("more_body"):
            # Granian tells a body's end by a message of its own, for which a small request would wait: through another
            # thread and back, 0.1 ms. Whoever watches over the client hears of it later, and passes over it.
            message["more_body"] = False
        self.is_whole = message["type"] != "http.request" or not message.get("more_body", False)
        if self._arrived > self._held and STREAMED not in self._scope["state"]:
            self._take(self._arrived - self._held)
        return message


class _Answer:
    """The answer on its way out: of one to HEAD only the head; `names_id`: with its id under `request-id`, too."""

    def __init__(self, send: Send, *, is_head: bool, names_id: bool) -> None:
        self.status, self.is_head = 0, is_head
        self._send, self._names_id, self._over = send, names_id, False

    async def send(self, message: Any) -> None:
        """As ASGI's."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._names_id:
                ids = [(b"request-id", value) for name, value in message["headers"] if name.lower() == b"x-request-id"]
                message = message | {"headers": [*message["headers"], *ids]}
        elif self.is_head:
            if self._over:
                return
            self._over, message = True, {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
