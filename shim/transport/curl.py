"""The curl_cffi driver: one multi handle (a session of connections) per ConnectionKey, one easy handle per call.

It sits on curl_cffi's low-level `Curl` and on libcurl itself (`handles`), not on its `AsyncSession`, for three reasons
measured before: leaving a streamed `AsyncSession` response early waits for upstream's end, its queue has no bound, and
its time-outs do not apply between reads. Here cancelling is `remove_handle` (immediate), the bound is libcurl's own
pause, and the deadlines are one timer per call.

Rule: libcurl's callbacks only note what happened; whatever calls back into libcurl runs outside of them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import msgspec
from curl_cffi import CurlError, CurlInfo
from curl_cffi.const import CurlOpt
from curl_cffi.curl import CURL_WRITEFUNC_PAUSE, CURLPAUSE_CONT

from shim.errors import About, DeadlineError, GatewayError, UpstreamError
from shim.heap import Crowds
from shim.protocol.commands import HttpRequest, StreamedBody
from shim.transport.base import ConnectionKey, Deadlines
from shim.transport.failures import ProxyState, failure_of_curl, not_begun, refused_by_proxy
from shim.transport.handles import Easy, Multi
from shim.transport.outgoing import OutgoingBody

_DEFAULT_MAX_BUFFERED = 256 * 1024  # bytes a call holds, each way, before the faster side has to wait
_MAX_SPARE_HANDLES = 64  # easy handles kept per session
_MAX_SESSIONS = 512
_SET_COOKIE = "set-cookie"
# Control characters are blanks (RFC 9110 5.5): no server of ours could send a header on that has one.
_BLANKED = bytes(0x20 if (byte < 0x20 and byte not in b"\t\n") or byte == 0x7F else byte for byte in range(256))
# A connection is used again only if its body was read to the end, which is mostly a packet away.
_LINGER_SECONDS = 1.0
# Calls of a session that wait for their body's end at once. Ends come within milliseconds; an upstream whose ends never
# come would otherwise keep a second's worth of calls.
_MAX_LINGERING = _MAX_SPARE_HANDLES


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

    async def send(self, request: HttpRequest, key: ConnectionKey) -> "CurlResponse":
        """See `Transport.send`."""
        session = self._sessions.get(key) or self._open(key)
        self._sessions.move_to_end(key)
        response = CurlResponse(session, request, self._deadlines, self._max_buffered)
        try:
            while not response.head_done:
                await response.head()
        except BaseException:  # cancelled, too: libcurl would go on with a call that nobody reads
            response.close()
            raise
        if response.status == 407 and key.proxy is not None:
            response.close()
            raise refused_by_proxy()
        session.taken = session.taken or response.status < 400
        return response

    async def close(self) -> None:
        """Close all sessions; calls under way fail."""
        while self._sessions:
            _, session = self._sessions.popitem()
            session.close()

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
        # Another may have been opened for the same key by now.
        if self._sessions.get(key) is session:
            del self._sessions[key]
        session.close()


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
        self.loop = asyncio.get_running_loop()
        self.multi = Multi(self._lost)
        self.proxy = proxy
        self._ca_file = ca_file
        self._connect_timeout = connect_timeout
        self.crowds = crowds
        self._spare: list[Easy] = []
        self.active: set[CurlResponse] = set()

    def take(self) -> Easy:
        """An easy handle with what all calls of the session have in common."""
        if self._spare:
            return self._spare.pop()
        easy = Easy(self._ca_file or "")
        easy.dress(self.multi, self._connect_timeout, self.proxy)
        return easy

    def stop(self, response: "CurlResponse", *, running: bool) -> None:
        """Take a call back, ended or not: a running one is closed towards upstream at once."""
        if response not in self.active:
            return
        self.active.discard(response)
        self.crowds.went(response.brought)
        if running:
            self.multi.end(response.easy)
        response.easy.let_go()
        if len(self._spare) >= _MAX_SPARE_HANDLES:
            response.easy.close()  # not left to the collector: it listens to itself, and does not see what C holds
            return
        # What was cut off may have left the handle paused, and an upload its callbacks and its larger buffer.
        if running or response.error is not None or response.outgoing is not None:
            response.easy.reset()
            response.easy.dress(self.multi, self._connect_timeout, self.proxy)
        self._spare.append(response.easy)
        if not self.active and not self.taken:
            self._drop(self)

    def _lost(self) -> None:
        """Libcurl can't go on with these connections: the next call begins with new ones."""
        lost = "The gateway lost its connections to upstream"
        self._fail(UpstreamError(lost, code="upstream_connection", about=About.GATEWAY))
        self._drop(self)

    def _fail(self, error: UpstreamError) -> None:
        # Else the last of these calls would have `drop` close it once more.
        self.taken = True
        for response in list(self.active):
            response.fail(error)

    def close(self) -> None:
        """End every call and connection."""
        self._fail(UpstreamError("The gateway is shutting down", code="shutting_down", about=About.GATEWAY))
        self.multi.close()
        while self._spare:
            self._spare.pop().close()


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
        self.head_done = self.running = False  # of the latter the multi handle keeps account
        self._ended = False
        self._then: Callable[[], None] | None = None  # set once the call has been released
        self.error: Exception | None = None  # what it failed with
        self._waiter: asyncio.Future[None] | None = None
        self._loop = session.loop
        if request.longest is not None:
            deadlines = msgspec.structs.replace(deadlines, total=request.longest)
        self._deadlines = deadlines
        self._began = self._touched = self._loop.time()
        soonest = min(deadlines.first_byte, deadlines.idle, deadlines.total)
        self._timer = self._loop.call_at(self._began + soonest, self._check_deadlines)
        self._is_secure = session.proxy is not None and request.url.startswith("https:")
        self.outgoing: OutgoingBody | None = None
        session.active.add(self)
        session.crowds.came()
        try:
            if isinstance(request.body, StreamedBody):
                self.outgoing = OutgoingBody(request.body, max_buffered, self._unpause, self.fail)
                self.easy.setopt(CurlOpt.READFUNCTION, self.outgoing.take)
                self.easy.setopt(CurlOpt.SEEKDATA, self.outgoing)
            self.easy.ask(request, self)
            session.multi.begin(self)
        except (CurlError, ValueError) as error:
            self.fail(not_begun(error, running=self.running))

    # --- towards the reader -----------------------------------------------------------------------------------------

    def head(self) -> "asyncio.Future[None]":
        """What to await until there is more of the head (no coroutine, for that would cost each call a second one).
        Raises where the call is over without one."""
        if self.error is not None:
            raise self.error
        if self._ended:
            raise UpstreamError(
                "Upstream closed the connection without an answer", code="upstream_connection", about=About.ORIGIN
            )
        self._waiter = self._loop.create_future()
        return self._waiter

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
            # Upstream has been silent because we let it wait: its time begins now.
            self._touched = self._loop.time()
            self._resumed = True
            self._unpause()
        return taken

    def close(self) -> None:
        """See `Response.close`."""
        self._timer.cancel()
        if self.outgoing is not None:
            self.outgoing.close()
        running, self.running = self.running, False
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
        if not self.running:
            return  # libcurl has let go of it, and would complain
        try:
            self.easy.pause(CURLPAUSE_CONT)
        except CurlError as error:  # what libcurl has held back can't be decoded
            self.fail(self._failure(self.easy.failure(int(error.code))))

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # --- from libcurl (notes only) ----------------------------------------------------------------------------------

    def on_head(self, raw: list[bytes]) -> None:
        """The lines of a head, or one that follows the body."""
        self._touched = self._loop.time()
        # Any byte is a letter of latin-1, so that no head is refused for its letters.
        lines = b"".join(raw).translate(_BLANKED).decode("latin-1").split("\n")
        # Each head begins anew: those of 1xx come before the answer's own, and their headers are not its.
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
        self.head_done = self.status >= 200
        if self._waiter is not None:
            self._wake()

    def on_body(self, data: bytes, size: int) -> int:
        """A piece of the body, of so many bytes; how many of it were taken, or the word for a pause."""
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
        self.running = False
        # All has come: from here on only the reader can be late.
        self._timer.cancel()
        if self.outgoing is not None:
            self.outgoing.close()  # upstream may have answered before it had all
        if self.error is None and error is not None:
            self.error = self._failure(error)
        self._ended = True
        if self._then is not None:
            self.close()
        if self._waiter is not None:
            self._wake()

    def _failure(self, error: BaseException) -> GatewayError:
        if isinstance(error, CurlError):
            return failure_of_curl(error, self._proxy_state())
        return UpstreamError("Upstream's answer could not be read", code="upstream_connection", about=About.ORIGIN)

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
        limits, now = self._deadlines, self._loop.time()
        total = self._began + limits.total
        if self.head_done:
            # Where nobody is waiting it is the client that is slow, not upstream.
            due, late, seconds = (
                limits.idle + (now if self._waiter is None else self._touched),
                "fell silent",
                limits.idle,
            )
            if total < due:
                due, late, seconds = total, "did not finish", limits.total
        else:
            # A long upload takes as long as it takes, while upstream goes on taking it.
            since = self._began if self.outgoing is None else self.outgoing.touched
            due, late, seconds = since + limits.first_byte, "did not begin to answer", limits.first_byte
            if total < due and self.outgoing is not None:
                due, late, seconds = total, "did not take the upload", limits.total
        if now < due:
            self._timer = self._loop.call_at(due, self._check_deadlines)
        else:
            self.fail(DeadlineError(f"Upstream {late} within {seconds:g} s"))
