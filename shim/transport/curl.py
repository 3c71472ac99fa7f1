"""The curl_cffi driver: one multi handle (a session of connections) per ConnectionKey, one easy handle per call.

It sits on curl_cffi's low-level `AsyncCurl` and `Curl`, not on its `AsyncSession`, for three reasons measured before:
leaving a streamed `AsyncSession` response early waits for upstream's end, its queue has no bound, and its time-outs do
not apply between reads. Here cancelling is `remove_handle` (immediate), the bound is libcurl's own pause, and the
deadlines are one timer per call.

Rule: libcurl's callbacks only note what happened; whatever calls back into libcurl runs outside of them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
from curl_cffi import AsyncCurl, Curl, CurlError, CurlInfo, ffi, lib
from curl_cffi.const import CurlECode, CurlMOpt, CurlOpt
from curl_cffi.curl import CURL_WRITEFUNC_PAUSE, CURLPAUSE_CONT

from shim.errors import About, DeadlineError, GatewayError, UpstreamError
from shim.heap import Crowds
from shim.protocol.commands import HttpRequest, StreamedBody
from shim.transport.base import ConnectionKey, Deadlines
from shim.transport.failures import ProxyState, failure_of_curl, refused_by_proxy
from shim.transport.outgoing import OutgoingBody

_DEFAULT_MAX_BUFFERED = 256 * 1024  # bytes a call holds, each way, before the faster side has to wait
_MAX_SPARE_HANDLES = 64  # easy handles kept per session
_MAX_SESSIONS = 512
_MAX_HEADER_BYTES = 64 * 1024
_BLANK = (b"\r\n", b"\n")
_SET_COOKIE = "set-cookie"
_MAX_IDLE_CONNECTIONS = 128  # per session; libcurl's own rule (4 x calls under way) closes most of them between bursts
# A connection is used again only if its body was read to the end, which is mostly a packet away.
_LINGER_SECONDS = 1.0
# Calls of a session that wait for their body's end at once. Ends come within milliseconds; an upstream whose ends never
# come would otherwise keep a second's worth of calls.
_MAX_LINGERING = _MAX_SPARE_HANDLES
# Bytes libcurl sends at once, and holds for as long as the answer lasts: half of what an open stream cost with its own
# 64 KB. Files get these.
_SMALL_UPLOAD, _LARGE_UPLOAD = 16 * 1024, 64 * 1024
# As plain numbers: an enumeration's cost libcurl's wrapper a call of their own.
_URL, _CUSTOMREQUEST, _HTTPHEADER = int(CurlOpt.URL), int(CurlOpt.CUSTOMREQUEST), int(CurlOpt.HTTPHEADER)
_POSTFIELDS, _POSTFIELDSIZE_LARGE = int(CurlOpt.POSTFIELDS), int(CurlOpt.POSTFIELDSIZE_LARGE)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class _Multi(AsyncCurl):
    """As its parent, for a third of what that costs: its numbers for libcurl are made once, libcurl is only asked who
    has ended where somebody has, and that is told to the response itself, without a future between."""

    def __init__(self) -> None:
        self._running, self._queued = ffi.new("int *"), ffi.new("int *")
        self._calls: dict[Any, CurlResponse] = {}  # by libcurl's handle
        self._idle: asyncio.Future[None] | None = None  # there while nothing is under way, and somebody waits for more
        super().__init__()  # last: mitmproxy's loop begins a task, and `_force_timeout` is one, where it is made

    async def _force_timeout(self) -> None:
        """As its parent's: libcurl is looked after ten times a second, should a signal of its be missed. Not where it
        has nothing to do: 500 sessions that are kept for their connections would take 3 % of a core."""
        while self._curlm:
            if not self._calls:
                self._idle = self.loop.create_future()
                await self._idle
            await asyncio.sleep(0.1)
            self.socket_action(-1, 0)

    def begin(self, response: "CurlResponse") -> None:
        """Hand a call to libcurl; `response` hears of its end. Raises CurlError."""
        easy = response.easy
        easy._ensure_cacert()
        if code := lib.curl_multi_add_handle(self._curlm, easy._curl):
            self._check_error(code)
        self._calls[easy._curl] = response
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def end(self, easy: "_Easy") -> None:
        """Take a call back, ended or not: a running one is closed towards upstream at once. Raises CurlError."""
        if code := lib.curl_multi_remove_handle(self._curlm, easy._curl):
            self._check_error(code)
        del self._calls[easy._curl]

    def process_data(self, sockfd: int, ev_bitmask: int) -> None:
        """Let libcurl read and write: of this socket, or (-1) of none, because a time has come."""
        if not self._curlm:  # closed, and the loop had called already
            return
        if code := lib.curl_multi_socket_action(self._curlm, sockfd, ev_bitmask, self._running):
            self._check_error(code)
        if self._running[0] == len(self._calls):
            return
        while message := lib.curl_multi_info_read(self._curlm, self._queued):
            response, error = self._calls[message.easy_handle], None
            if code := message.data.result:
                error = response.easy._get_callback_exception() or response.easy._get_error(code, "perform")
            self.end(response.easy)
            response.on_end(error)


class _Easy(Curl):
    """An easy handle that is used again and again: libcurl calls back into the response that it serves.

    Its callbacks are set once, for setting them costs a call 5 microseconds; and it is without what only WebSockets
    need, 128 KB that curl_cffi puts beside every handle.
    """

    _WS_RECV_BUFFER_SIZE = 1

    def __init__(self, cacert: str) -> None:
        super().__init__(cacert=cacert)
        self._length = ffi.new("int64_t *")
        self._method = ""  # which it is set to

    def listen(self) -> None:
        """Have libcurl call back; again after each `reset`."""
        self.setopt(CurlOpt.HEADERDATA, None)
        self.setopt(CurlOpt.WRITEFUNCTION, None)
        # What curl_cffi calls of a handle is looked up there each time, so that it can be told without asking libcurl.
        self._to_head, self._to_body = ffi.from_handle(self._header_handle), ffi.from_handle(self._write_handle)

    def ask(self, request: HttpRequest, response: "CurlResponse") -> None:
        """Set everything in which calls differ: whatever is set here is set for every call. Raises CurlError."""
        self._to_head.callback, self._to_body.callback = response, response.on_body
        # Past `setopt`, which takes seven times as long, for bytes and what libcurl itself has made.
        curl, setopt, code = self._curl, lib._curl_easy_setopt, 0
        slist, append = self._headers, lib.curl_slist_append
        for name, value in request.headers.items():
            slist = append(slist, f"{name}: {value}".encode())
        body = request.body
        if isinstance(body, StreamedBody):
            self.setopt(CurlOpt.UPLOAD, 1)
            self.setopt(CurlOpt.UPLOAD_BUFFERSIZE, _LARGE_UPLOAD)  # until the handle is reset, as it is after an upload
            # -1: chunked, or as HTTP/2 does it
            self.setopt(CurlOpt.INFILESIZE_LARGE, -1 if body.length is None else body.length)
        elif body or request.method in _WITH_BODY:
            self._body_handle = body  # libcurl makes no copy
            self._length[0] = len(body)
            code = code or setopt(curl, _POSTFIELDSIZE_LARGE, self._length)
            code = code or setopt(curl, _POSTFIELDS, body)  # which makes it a POST
        else:
            self.setopt(CurlOpt.HTTPGET, 1)
        if body or request.method in _WITH_BODY:
            slist = append(slist, b"expect:")
        code = code or setopt(curl, _URL, request.url.encode())
        if request.method != self._method:
            self._method = request.method
            code = code or setopt(curl, _CUSTOMREQUEST, request.method.encode())
        self._headers = slist
        code = code or setopt(curl, _HTTPHEADER, slist)
        if code:
            self._check_error(code, "setopt")

    def reset(self) -> None:
        """See Curl."""
        super().reset()
        self._method = ""

    def let_go(self) -> None:
        """The call is over: nothing of it is kept."""
        self._to_head.callback = self._to_body.callback = self._body_handle = None
        self._read_handle = self._seek_handle = None
        lib.curl_slist_free_all(self._headers)
        self._headers = ffi.NULL


class CurlTransport:
    """`send` over libcurl. Use inside one event loop; `close` ends every call and connection."""

    def __init__(
        self, deadlines: Deadlines, *, ca_file: str | None = None, max_buffered: int = _DEFAULT_MAX_BUFFERED
    ) -> None:
        self._deadlines = deadlines
        self._ca_file = ca_file
        self._max_buffered = max_buffered
        self._sessions: OrderedDict[ConnectionKey, _Session] = OrderedDict()
        self._crowds = Crowds()
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, request: HttpRequest, key: ConnectionKey) -> "CurlResponse":
        """See `Transport.send`."""
        session = self._sessions.get(key) or self._open(key)
        self._sessions.move_to_end(key)
        response = CurlResponse(session, request, self._deadlines, self._max_buffered)
        try:
            await response.head()
        except BaseException:  # cancelled, too: libcurl would go on with a call that nobody reads
            response.close()
            raise
        return response

    async def close(self) -> None:
        """Close all sessions; calls under way fail."""
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()
        await asyncio.gather(*self._closing)

    def _open(self, key: ConnectionKey) -> "_Session":
        # The sessions longest unused go where there are too many; those with calls under way stay.
        idle = [(one, session) for one, session in self._sessions.items() if not session.active]
        for one, unused in idle[: max(0, len(self._sessions) + 1 - _MAX_SESSIONS)]:
            self._drop(one, unused)
        session = self._sessions[key] = _Session(
            key.proxy,
            self._ca_file,
            self._deadlines.connect,
            self._crowds,
            lambda unused: self._drop(key, unused),
        )
        return session

    def _drop(self, key: ConnectionKey, session: "_Session") -> None:
        """Close a session: one too many, or of no use, so that whoever invents identities leaves nothing open here."""
        if self._sessions.get(key) is session:
            del self._sessions[key]
        closing = asyncio.ensure_future(session.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


class _Session:
    """The connections of one ConnectionKey. `drop` is told when the last call is over and upstream has not taken a
    single one."""

    def __init__(
        self,
        proxy: str | None,
        ca_file: str | None,
        connect_timeout: float,
        crowds: Crowds,
        drop: "Callable[[_Session], None]",
    ) -> None:
        self.taken = False  # whether upstream has answered any call with a status below 400
        self.lingering = 0  # calls that only wait for their body's end
        self._drop = drop
        self._multi = _Multi()
        # Not by AsyncCurl.setopt: it hands libcurl the number's address, which libcurl then ignores as too large.
        lib.curl_multi_setopt(self._multi._curlm, CurlMOpt.MAXCONNECTS, ffi.cast("void *", _MAX_IDLE_CONNECTIONS))
        self.proxy = proxy
        self._ca_file = ca_file
        self._connect_timeout = connect_timeout
        self._crowds = crowds
        self._spare: list[_Easy] = []
        self.active: set[CurlResponse] = set()

    def start(self, response: "CurlResponse", request: HttpRequest) -> None:
        """Hand a call to libcurl."""
        self.active.add(response)
        self._crowds.came()
        response.easy.ask(request, response)
        self._multi.begin(response)

    def take(self) -> _Easy:
        """An easy handle with what all calls of the session have in common."""
        return self._spare.pop() if self._spare else self._dressed(_Easy(self._ca_file or ""))

    def stop(self, response: "CurlResponse", *, running: bool) -> None:
        """Take a call back, ended or not: a running one is closed towards upstream at once."""
        if response not in self.active:
            return
        self.active.discard(response)
        self._crowds.went(response.brought)
        if running:
            self._multi.end(response.easy)
        response.easy.let_go()
        if len(self._spare) >= _MAX_SPARE_HANDLES:
            response.easy.close()  # not left to the collector: it listens to itself, and does not see what C holds
            return
        if running or response.error is not None or response.outgoing is not None:
            response.easy.reset()
            self._dressed(response.easy)
        self._spare.append(response.easy)
        if not self.active and not self.taken:
            self._drop(self)

    async def close(self) -> None:
        """End every call and connection."""
        self.taken = True  # whoever closes it has nothing to be told
        for response in list(self.active):
            response.fail(UpstreamError("The gateway is shutting down", code="shutting_down", about=About.GATEWAY))
        await self._multi.close()  # type: ignore[no-untyped-call]
        while self._spare:
            self._spare.pop().close()

    def _dressed(self, easy: _Easy) -> _Easy:
        easy.listen()
        easy.setopt(CurlOpt.ACCEPT_ENCODING, "gzip, deflate, br")
        easy.setopt(CurlOpt.CONNECTTIMEOUT_MS, round(self._connect_timeout * 1000))
        easy.setopt(CurlOpt.SUPPRESS_CONNECT_HEADERS, 1)
        easy.setopt(CurlOpt.NOSIGNAL, 1)
        easy.setopt(CurlOpt.UPLOAD_BUFFERSIZE, _SMALL_UPLOAD)
        easy.setopt(CurlOpt.PROXY, self.proxy or "")
        easy.setopt(CurlOpt.NOPROXY, "")  # else NO_PROXY of the environment would send calls past PROXY_URL, silently
        return easy


class CurlResponse:
    """One call: its head, its body as it arrives, and its deadlines."""

    def __init__(self, session: _Session, request: HttpRequest, deadlines: Deadlines, max_buffered: int) -> None:
        self.status = self.brought = 0  # bytes of its body so far, decoded
        self.headers: dict[str, str] = {}
        self.easy = session.take()
        self._session = session
        self._max_buffered = max_buffered
        self._buffered: list[bytes] = []
        self._size = 0
        self._paused = self._resumed = False
        self._head_done = self._running = False
        self._head_bytes = 0
        self._lines: list[bytes] = []  # of the head
        self._ended = False
        self._then: Callable[[], None] | None = None  # set once the call has been released
        self.error: Exception | None = None  # what it failed with
        self._waiter: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        if request.longest is not None:
            deadlines = msgspec.structs.replace(deadlines, total=request.longest)
        self._deadlines = deadlines
        self._began = self._touched = self._loop.time()
        soonest = min(deadlines.first_byte, deadlines.idle, deadlines.total)
        self._timer = self._loop.call_at(self._began + soonest, self._check_deadlines)
        self._is_secure = session.proxy is not None and request.url.startswith("https:")
        self.outgoing: OutgoingBody | None = None
        if isinstance(request.body, StreamedBody):
            self.outgoing = OutgoingBody(request.body, max_buffered, self._unpause, self.fail)
            self.easy.setopt(CurlOpt.READFUNCTION, self.outgoing.take)
            self.easy.setopt(CurlOpt.SEEKDATA, self.outgoing)
        session.start(self, request)
        self._running = True  # whether libcurl has the call

    # --- towards the reader -----------------------------------------------------------------------------------------

    async def head(self) -> None:
        """Wait until `status` and `headers` are known."""
        while not self._head_done:
            if self.error is not None:
                raise self.error
            if self._ended:
                raise UpstreamError(
                    "Upstream closed the connection without an answer", code="upstream_connection", about=About.ORIGIN
                )
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.status == 407 and self._session.proxy is not None:
            raise refused_by_proxy()
        self._session.taken = self._session.taken or self.status < 400

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        if self._resumed:
            # libcurl may have filled the buffer again as soon as it was let (a compressed body that expands a
            # thousandfold does): without a turn for the others, its reader would hold up the loop until its end.
            self._resumed = False
            await asyncio.sleep(0)
        while not self._buffered:
            if self.error is not None:
                raise self.error
            if self._ended:
                return b""
            self._waiter = self._loop.create_future()  # in line: a coroutine would cost every piece of a stream
            try:
                await self._waiter
            finally:
                self._waiter = None
        taken = self._buffered[0] if len(self._buffered) == 1 else b"".join(self._buffered)
        self._buffered.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._touched = self._loop.time()
            self._resumed = True
            self._unpause()
        return taken

    def close(self) -> None:
        """See `Response.close`."""
        self._timer.cancel()
        if self.outgoing is not None:
            self.outgoing.close()
        running, self._running = self._running, False
        self._session.stop(self, running=running)
        self._ended = True
        self._buffered.clear()
        then, self._then = self._then, None
        if then is not None:
            self._session.lingering -= 1
            then()

    def release(self, then: Callable[[], None]) -> None:
        """See `Response.release`."""
        if self._ended or self.error is not None or self._session.lingering >= _MAX_LINGERING:
            self.close()
            then()
            return
        self._buffered.clear()
        self._then = then
        self._session.lingering += 1
        self._timer.cancel()
        self._timer = self._loop.call_later(_LINGER_SECONDS, self.close)
        if self._paused:
            self._paused = False
            self._unpause()

    def fail(self, error: Exception) -> None:
        """Give the call up with an error for whoever reads it."""
        if not self._ended and self.error is None:
            self.error = error
            self.close()
            self._wake()

    def _unpause(self) -> None:
        """Both directions go on; the one that still has to wait says so again."""
        if self._running:  # else libcurl has let go of it, and would complain
            self.easy.pause(CURLPAUSE_CONT)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- from libcurl (notes only) ----------------------------------------------------------------------------------

    def write(self, line: bytes) -> None:
        """A line of the head, the last of which is empty, or one that follows the body. Named as curl_cffi calls it.
        Raises CurlError where they are too long."""
        self._head_bytes += len(line)
        if self._head_bytes > _MAX_HEADER_BYTES:
            raise CurlError("the head is too long", code=CurlECode.WRITE_ERROR)
        if line not in _BLANK:
            self._lines.append(line)
            if not self._head_done:  # what follows a body has no empty line behind it
                return
        self._touched = self._loop.time()
        lines = b"".join(self._lines).decode("latin-1").split("\n")
        self._lines.clear()
        if lines[0].startswith("HTTP/"):
            self.status, self.headers = int(lines[0].split(None, 2)[1]), {}
            del lines[0]
        for named in lines[:-1]:
            name, _, value = named.partition(":")
            name, value = name.strip().lower(), value.strip()
            # The last of a name counts. Cookies come one a line and a comma may be part of each, so that (as RFC 9110
            # 5.3 says of them) they can't be joined by commas: here they are joined by newlines.
            if name == _SET_COOKIE and name in self.headers:
                value = f"{self.headers[name]}\n{value}"
            self.headers[name] = value
        self._head_done = self.status >= 200
        if self._waiter is not None:
            self._wake()

    def on_body(self, data: bytes) -> int:
        """A piece of the body."""
        size = len(data)
        if self._then is not None:
            return size
        if self._size >= self._max_buffered:
            self._paused = True
            return CURL_WRITEFUNC_PAUSE
        self._buffered.append(data)
        self._size += size
        self.brought += size
        self._touched = self._loop.time()
        if self._waiter is not None:
            self._wake()
        return size

    def on_end(self, error: BaseException | None) -> None:
        """Libcurl is through with it, and has let go of it."""
        self._running = False
        self._timer.cancel()
        if self.outgoing is not None:
            self.outgoing.close()  # upstream may have answered before it had all
        if isinstance(error, CurlError) and self.error is None:
            self.error = failure_of_curl(error, self._proxy_state())
        elif error is not None and self.error is None:
            self.error = UpstreamError(
                "Upstream's answer could not be read", code="upstream_connection", about=About.ORIGIN
            )
        self._ended = True
        if self._then is not None:
            self.close()
        self._wake()

    def _proxy_state(self) -> ProxyState | None:
        proxy = self._session.proxy
        if proxy is None:
            return None
        scheme, easy = proxy.partition("://")[0], self.easy
        return ProxyState(
            scheme,
            tunnels=self._is_secure and scheme in {"http", "https"},
            fresh=easy.getinfo(CurlInfo.NUM_CONNECTS) != 0,
            status=int(str(easy.getinfo(CurlInfo.HTTP_CONNECTCODE))),
        )

    # --- deadlines --------------------------------------------------------------------------------------------------

    def _check_deadlines(self) -> None:
        """Runs when a deadline may have passed; sets itself again where it has not."""
        due, error = self._next_deadline()
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._check_deadlines)
        else:
            self.fail(error())

    def _next_deadline(self) -> tuple[float, Callable[[], GatewayError]]:
        limits = self._deadlines
        total = self._began + limits.total
        if not self._head_done:
            # A long upload takes as long as it takes, while upstream goes on taking it.
            since = self._began if self.outgoing is None else self.outgoing.touched
            if total < since + limits.first_byte and self.outgoing is not None:
                return total, lambda: _late("did not take the upload", limits.total)
            return since + limits.first_byte, lambda: _late("did not begin to answer", limits.first_byte)
        # Where nobody is waiting it is the client that is slow, not upstream.
        idle = limits.idle + (self._loop.time() if self._waiter is None else self._touched)
        if total < idle:
            return total, lambda: _late("did not finish", limits.total)
        return idle, lambda: _late("fell silent", limits.idle)


def _late(what: str, seconds: float) -> GatewayError:
    return DeadlineError(f"Upstream {what} within {seconds:g} s")
