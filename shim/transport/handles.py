"""libcurl's two kinds of handle: one multi handle in the event loop, and the easy handles of the calls it makes.

They call back into Python themselves (`ffi.callback`) and not by curl_cffi's functions, which belong to all of the
process and cost a call a third of its functions. What follows from it for each call: it begins without a turn of the
loop, libcurl's timer is one of the loop's that is left running, and a socket stays in the loop between calls.

Rule: libcurl's callbacks only note what happened; whatever calls back into libcurl runs outside of them.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from typing import Any, Protocol

from curl_cffi import Curl, CurlError, ffi, lib
from curl_cffi.aio import CURL_CSELECT_IN, CURL_CSELECT_OUT, CURL_POLL_IN, CURL_POLL_OUT, CURL_POLL_REMOVE
from curl_cffi.const import CurlECode, CurlMOpt, CurlOpt
from curl_cffi.curl import CURL_WRITEFUNC_ERROR

from shim.protocol.commands import HttpRequest, StreamedBody

log = logging.getLogger("chat2api")

_MAX_HEADER_BYTES = 64 * 1024
_BLANK = (b"\r\n", b"\n")
_MAX_IDLE_CONNECTIONS = 128  # per session; libcurl's own rule (4 x calls under way) closes most of them between bursts
_LOOK_SECONDS = 0.1  # how often libcurl is looked after while it has calls, should a signal of its be missed
# Bytes libcurl sends at once, and holds for as long as the answer lasts: half of what an open stream cost with its own
# 64 KB. Files get these.
_SMALL_UPLOAD, _LARGE_UPLOAD = 16 * 1024, 64 * 1024
# As plain numbers: an enumeration's cost libcurl's wrapper a call of their own.
_URL, _CUSTOMREQUEST, _HTTPHEADER = int(CurlOpt.URL), int(CurlOpt.CUSTOMREQUEST), int(CurlOpt.HTTPHEADER)
_POSTFIELDS, _POSTFIELDSIZE_LARGE = int(CurlOpt.POSTFIELDS), int(CurlOpt.POSTFIELDSIZE_LARGE)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class CarriedCall(Protocol):
    """Who libcurl works for."""

    easy: "Easy"
    head_done: bool
    """Whether all lines of the answer's own head have come. What comes then follows the body."""
    running: bool
    """Whether libcurl has the call."""

    def on_head(self, lines: list[bytes]) -> None:
        """The lines of a head, or one that follows the body."""
        ...

    def on_body(self, data: bytes, size: int) -> int:
        """A piece of the body, of so many bytes; how many of it were taken, or the word for a pause."""
        ...

    def on_end(self, error: BaseException | None) -> None:
        """Libcurl is through with it, and has let go of it."""
        ...


class Multi:
    """The connections of a session, and the calls that go over them. Make it in the loop it is to run in. `lost` is
    told, outside of libcurl, when libcurl and the loop have lost sight of each other: then all is to be closed."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._is_lost = False
        self._loop = asyncio.get_running_loop()
        self._curlm = lib.curl_multi_init()
        # Made once: libcurl writes into them whenever it is asked.
        self._running, self._queued = ffi.new("int *"), ffi.new("int *")
        self._calls: dict[Any, CarriedCall] = {}  # by libcurl's handle
        self._wanted: dict[int, int] = {}  # what libcurl wants to be told of a socket
        self._watched: dict[int, int] = {}  # what the loop tells of it, which may be more: see `_on_socket`
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._due = math.inf  # when that ends; when libcurl wants to be asked
        self._starting = False
        onerror = self._note_exception
        self.closes_sockets = ffi.callback("int(void *, int)", self._on_close, 0, onerror)
        """For its easy handles: each connection asks the one that opened it."""
        of_socket, of_timer = "int(void *, int, int, void *, void *)", "int(void *, long, void *)"
        self._callbacks = {
            CurlMOpt.SOCKETFUNCTION: ffi.callback(of_socket, self._on_socket, 0, onerror),
            CurlMOpt.TIMERFUNCTION: ffi.callback(of_timer, self._on_timer, 0, onerror),
        }
        # Not by AsyncCurl.setopt: it hands libcurl the number's address, which libcurl then ignores as too large.
        most = ffi.cast("void *", _MAX_IDLE_CONNECTIONS)
        for option, value in (*self._callbacks.items(), (CurlMOpt.MAXCONNECTS, most)):
            if code := lib.curl_multi_setopt(self._curlm, option, value):
                raise _error(code)

    def begin(self, call: CarriedCall) -> None:
        """Hand a call to libcurl, which hears of its end: of a failure that shows at once, before this returns. Raises
        CurlError."""
        # libcurl wants a timer that ends at once here. It is asked below, which saves the timer and a turn of the loop.
        self._starting = True
        try:
            if code := lib.curl_multi_add_handle(self._curlm, call.easy._curl):
                raise _error(code)
        finally:
            self._starting = False
        self._calls[call.easy._curl] = call
        call.running = True
        self._act(-1, 0)
        if self._timer is None:
            self._set_timer()

    def end(self, easy: "Easy") -> None:
        """Take a call back, ended or not: a running one is closed towards upstream at once. Raises CurlError."""
        if code := lib.curl_multi_remove_handle(self._curlm, easy._curl):
            raise _error(code)
        del self._calls[easy._curl]

    def close(self) -> None:
        """Close all connections. No call may be under way."""
        if self._timer is not None:
            self._timer.cancel()
        # None first: while it closes its connections libcurl calls back, and no timer is to be set any more.
        curlm, self._curlm = self._curlm, None
        lib.curl_multi_cleanup(curlm)
        # Left is the one that libcurl's threads wake it by, which it has closed without a word.
        for fd in list(self._watched):
            self._unwatch(fd)

    # --- from the loop ----------------------------------------------------------------------------------------------

    def _act(self, fd: int, what: int) -> None:
        """Let libcurl read and write: of this socket, or (-1) of none, because a time has come."""
        if not self._curlm:
            return  # closed, and the loop had called already
        if what == CURL_CSELECT_IN and not self._wanted[fd] & CURL_POLL_IN:
            # An idle connection that upstream closes, or one whose reader is slow: until libcurl wants it again.
            self._watched[fd] &= ~CURL_POLL_IN
            self._loop.remove_reader(fd)
            return
        if code := lib.curl_multi_socket_action(self._curlm, fd, what, self._running):
            self._lose(_error(code))
        if self._running[0] == len(self._calls):
            return  # nobody has ended; asking who has would cost each piece of a stream 0.6 us
        # Closed meanwhile, where a call that has ended was the last of a session of no use.
        while self._curlm and (message := lib.curl_multi_info_read(self._curlm, self._queued)):
            call, error = self._calls[message.easy_handle], None
            if code := message.data.result:
                error = call.easy.failure(code)
            self.end(call.easy)
            call.on_end(error)

    def _lose(self, error: BaseException) -> None:
        # Once: closing what is left may well fail in the same way.
        if not self._is_lost:
            self._is_lost = True
            log.error("connections to upstream are given up: libcurl can't follow them", exc_info=error)
            if not self._loop.is_closed():
                self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        if self._curlm:  # else they have been closed meanwhile
            self._lost()

    def _on_time(self) -> None:
        self._timer, self._timer_at = None, math.inf
        if self._calls or self._due <= self._loop.time():
            # libcurl tells of its next time in this call, and might tell of none.
            self._due = math.inf
            self._act(-1, 0)
        self._set_timer()

    def _set_timer(self) -> None:
        due = min(self._due, self._loop.time() + _LOOK_SECONDS) if self._calls else self._due
        if due < self._timer_at and self._curlm:  # a call that has just ended may have been what it was open for
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._timer_at = self._loop.call_at(due, self._on_time), due

    # --- from libcurl (notes only) ----------------------------------------------------------------------------------

    def _on_socket(self, _easy: Any, fd: int, what: int, _ours: Any, _own: Any) -> int:
        """A socket that is not to be read from any more is left in the loop until it has something to read: mostly the
        next call reads from it first, and what comes and goes costs 7 us a time (uvloop makes a handle of libuv's)."""
        if what == CURL_POLL_REMOVE:
            what = 0
        self._wanted[fd] = what
        watched = self._watched.get(fd, 0)
        if what & CURL_POLL_IN and not watched & CURL_POLL_IN:
            self._loop.add_reader(fd, self._act, fd, CURL_CSELECT_IN)
        if what & CURL_POLL_OUT and not watched & CURL_POLL_OUT:
            self._loop.add_writer(fd, self._act, fd, CURL_CSELECT_OUT)
        elif watched & CURL_POLL_OUT and not what & CURL_POLL_OUT:  # else the loop would turn without an end
            self._loop.remove_writer(fd)
        self._watched[fd] = watched & CURL_POLL_IN | what
        return 0

    def _on_timer(self, _multi: Any, milliseconds: int, _ours: Any) -> int:
        """When libcurl wants to be asked (-1: it need not be). One timer is left running until it ends, whatever is
        said here meanwhile, unless it is to end sooner."""
        self._due = math.inf if milliseconds < 0 else self._loop.time() + milliseconds / 1000
        if self._due < self._timer_at and not self._starting:
            self._set_timer()
        return 0

    def _on_close(self, _ours: Any, fd: int) -> int:
        """Closes a socket, in libcurl's place: the number may be another's the next moment, and must have left the loop
        by then."""
        try:
            self._unwatch(fd)
        finally:
            socket.close(fd)
        return 0

    def _note_exception(self, _kind: Any, error: BaseException, _traceback: Any) -> None:
        """Of one of these three. Without it the calls under way would wait for their deadlines."""
        self._lose(error)

    def _unwatch(self, fd: int) -> None:
        watched = self._watched.pop(fd, 0)
        self._wanted.pop(fd, None)
        if watched & CURL_POLL_IN:
            self._loop.remove_reader(fd)
        if watched & CURL_POLL_OUT:
            self._loop.remove_writer(fd)


class Easy(Curl):
    """An easy handle that is used again and again: libcurl calls back into the response that it serves.

    It is without what only WebSockets need, 128 KB that curl_cffi puts beside every handle.
    """

    _WS_RECV_BUFFER_SIZE = 1

    def __init__(self, cacert: str) -> None:
        super().__init__(cacert=cacert)
        # An address, because curl_cffi's C code takes numbers by theirs.
        self._length = ffi.new("int64_t *")
        self._method = ""  # which it is set to
        self._call: Any = None
        self._lines: list[bytes] = []  # of the head
        self._head_bytes = 0
        self._exception: BaseException | None = None  # of a callback
        written, onerror = "size_t(char *, size_t, size_t, void *)", self._note_exception
        self._callbacks = (
            (CurlOpt.HEADERFUNCTION, ffi.callback(written, self._on_line, CURL_WRITEFUNC_ERROR, onerror)),
            (CurlOpt.WRITEFUNCTION, ffi.callback(written, self._on_piece, CURL_WRITEFUNC_ERROR, onerror)),
        )

    def dress(self, multi: Multi, connect_timeout: float, proxy: str | None) -> None:
        """Set what all calls of a session have in common; again after each `reset`."""
        for option, callback in (*self._callbacks, (CurlOpt.CLOSESOCKETFUNCTION, multi.closes_sockets)):
            self._check_error(lib._curl_easy_setopt(self._curl, option, callback), "setopt")
        self._ensure_cacert()
        self.setopt(CurlOpt.ACCEPT_ENCODING, "gzip, deflate, br")
        self.setopt(CurlOpt.CONNECTTIMEOUT_MS, round(connect_timeout * 1000))
        # Else what a proxy answers to CONNECT would be taken for the head of the answer.
        self.setopt(CurlOpt.SUPPRESS_CONNECT_HEADERS, 1)
        # libcurl's signals are none for a process with threads.
        self.setopt(CurlOpt.NOSIGNAL, 1)
        self.setopt(CurlOpt.UPLOAD_BUFFERSIZE, _SMALL_UPLOAD)
        # An empty one and not none, for which libcurl would take the environment's.
        self.setopt(CurlOpt.PROXY, proxy or "")
        self.setopt(CurlOpt.NOPROXY, "")  # else NO_PROXY of the environment would send calls past PROXY_URL, silently

    def ask(self, request: HttpRequest, call: CarriedCall) -> None:
        """Set everything in which calls differ: whatever is set here is set for every call. Raises CurlError, and
        ValueError where the request's text is none that can be sent."""
        self._call, self._lines, self._head_bytes, self._exception = call, [], 0, None
        # Past `setopt`, which takes seven times as long, for bytes and what libcurl itself has made: all of this takes
        # 4.5 us, where it was 11.
        curl, setopt, code = self._curl, lib._curl_easy_setopt, 0
        headers, slist, append = request.headers, self._headers, lib.curl_slist_append
        # All in one go. A line break would make two headers of one (or another request), and C reads until a NUL.
        text = "\n".join(
            [request.method, request.url, *[f"{name}: {value}" for name, value in headers.items()]]
        ).encode()
        method, url, *lines = text.split(b"\n")
        if len(lines) != len(headers) or b"\r" in text or b"\0" in text:
            raise ValueError("a line break or a NUL in the method, the URL or a header")
        for line in lines:
            slist = append(slist, line)
        body = request.body
        if body or request.method in _WITH_BODY:
            # libcurl would ask whether a large body is welcome, and wait up to a second for the answer.
            slist = append(slist, b"expect:")
        self._headers = slist  # before anything that can fail: `let_go` frees it
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
            # The handle's last call may have had a body.
            self.setopt(CurlOpt.HTTPGET, 1)
        code = code or setopt(curl, _URL, url)
        if request.method != self._method:
            self._method = request.method
            code = code or setopt(curl, _CUSTOMREQUEST, method)
        code = code or setopt(curl, _HTTPHEADER, slist)
        if code:
            self._check_error(code, "setopt")

    def failure(self, code: int) -> BaseException:
        """Why a call has failed: what a callback raised, else libcurl's own reason."""
        error: BaseException = self._exception or self._get_callback_exception() or self._get_error(code, "perform")
        return error

    def reset(self) -> None:
        """See Curl."""
        super().reset()
        self._method = ""

    def let_go(self) -> None:
        """The call is over: nothing of it is kept."""
        self._call = self._body_handle = self._read_handle = self._seek_handle = self._exception = None
        self._lines = []
        # Not sooner: libcurl reads the headers from this list, of which it makes no copy.
        lib.curl_slist_free_all(self._headers)
        self._headers = ffi.NULL

    # --- from libcurl (notes only) ----------------------------------------------------------------------------------

    def _on_line(self, data: Any, _size: int, length: int, _own: Any) -> int:
        """A line of the head, the last of which is empty, or one that follows the body. Raises CurlError where they are
        too long."""
        self._head_bytes += length
        if self._head_bytes > _MAX_HEADER_BYTES:
            raise CurlError("the head is too long", code=CurlECode.WRITE_ERROR)
        line = ffi.buffer(data, length)[:]
        if line not in _BLANK:
            self._lines.append(line)
            if not self._call.head_done:  # what follows a body has no empty line behind it
                return length
        lines, self._lines = self._lines, []
        self._call.on_head(lines)
        return length

    def _on_piece(self, data: Any, _size: int, length: int, _own: Any) -> int:
        taken: int = self._call.on_body(ffi.buffer(data, length)[:], length)
        return taken

    def _note_exception(self, _kind: Any, error: BaseException, _traceback: Any) -> None:
        self._exception = error


def _error(code: int) -> CurlError:
    """What a call of libcurl's multi interface returned."""
    return CurlError(f"libcurl's multi handle failed ({code}): {ffi.string(lib.curl_multi_strerror(code)).decode()}")
