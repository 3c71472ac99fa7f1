"""WebSockets over curl_cffi, as far as the account's socket needs them: text frames in and out.

Rule: the address is a credential: it is in no log and no error. A frame and the frames that wait are bounded.
"""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from curl_cffi import AsyncSession, Curl, CurlOpt, Response, ffi, lib
from curl_cffi.const import CurlECode, CurlWsFlag
from curl_cffi.curl import CurlError
from curl_cffi.requests import WebSocketError
from curl_cffi.requests.exceptions import RequestException
from curl_cffi.requests.websockets import AsyncWebSocket

from shim.errors import UpstreamError
from shim.transport.base import ConnectionKey

# A frame holds a batch of events of one answer (protocol.md 5.7); the largest are whole messages.
_MAX_FRAME_BYTES = 4 * 1024 * 1024
_WAITING_FRAMES = 64
# Pings and pongs in a row. As long as some have come the library reads on without giving way to others, and so does
# libcurl where it answers pings itself: an upstream that sends nothing else would hold up the loop all that time.
_MAX_CONTROL_FRAMES = 500
_NO_AUTO_PONG = 1 << 1  # of CURLOPT_WS_OPTIONS
_DATA = CurlWsFlag.TEXT | CurlWsFlag.BINARY | CurlWsFlag.CONT | CurlWsFlag.CLOSE


class FrameSocket(Protocol):
    """An open socket."""

    async def send(self, text: str) -> None:
        """Send one frame. Raises UpstreamError."""
        ...

    async def receive(self, seconds: float) -> bytes | None:
        """The next frame; None where none comes in that time. Raises UpstreamError where the socket is closed."""
        ...

    async def close(self) -> None:
        """Close it; closing again does nothing."""
        ...


class _Handle(Curl):
    """What one socket is read by. It connects in a thread, until a time of `time.monotonic`: libcurl's own limits end
    before upstream has answered, for which it would wait for ever."""

    def __init__(self, cacert: str, until: float) -> None:
        super().__init__(cacert=cacert)
        self.until = until
        self.on_ping: Callable[[bytes], None] = lambda data: None
        self._control_frames = 0
        self._on_progress = ffi.callback("int(void *, int64_t, int64_t, int64_t, int64_t)", self._is_late, 1)
        self._check_error(lib._curl_easy_setopt(self._curl, CurlOpt.XFERINFOFUNCTION, self._on_progress), "setopt")
        self.setopt(CurlOpt.NOPROGRESS, 0)
        self.setopt(CurlOpt.WS_OPTIONS, _NO_AUTO_PONG)

    def ws_recv(self) -> tuple[bytes, Any]:
        """See Curl."""
        data, frame = super().ws_recv()
        self._control_frames = 0 if frame.flags & _DATA else self._control_frames + 1
        if self._control_frames > _MAX_CONTROL_FRAMES:
            raise CurlError("too many pings", code=CurlECode.RECV_ERROR)
        if frame.flags & CurlWsFlag.PING:
            self.on_ping(data)
        return data, frame

    def _is_late(self, *_: Any) -> int:
        return int(time.monotonic() > self.until)


class _SocketSession(AsyncSession[Response]):
    """A session of one socket."""

    handle: _Handle

    async def pop_curl(self) -> Curl:
        """See AsyncSession."""
        return self.handle


class CurlWebSocket:
    """`FrameSocket` over libcurl. Use `open`."""

    def __init__(self, session: _SocketSession, socket: AsyncWebSocket) -> None:
        self._session, self._socket = session, socket
        self._closed = False
        self._answering: asyncio.Task[None] | None = None
        session.handle.on_ping = self._on_ping

    @classmethod
    async def open(
        cls,
        url: str,
        headers: dict[str, str],
        connection: ConnectionKey,
        *,
        ca_file: str | None,
        connect_timeout: float,
    ) -> "CurlWebSocket":
        """Connect, over the proxy of `connection`. Raises UpstreamError."""
        options = {CurlOpt.CAINFO: ca_file} if ca_file else {}
        session = _SocketSession(proxy=connection.proxy, trust_env=False, curl_options=options)
        session.handle = handle = _Handle(ca_file or "", time.monotonic() + connect_timeout)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(session.close)
            undo.callback(setattr, handle, "until", 0.0)  # cancelled: the thread is to end, too
            try:
                socket = await session.ws_connect(
                    url,
                    headers=headers,
                    default_headers=False,
                    timeout=connect_timeout,
                    recv_queue_size=_WAITING_FRAMES,
                    max_message_size=_MAX_FRAME_BYTES,
                    drain_on_error=True,  # what came before the end was said
                    allow_redirects=False,
                )
            except (CurlError, RequestException, WebSocketError, OSError, ValueError) as error:
                raise _gone() from error
            undo.pop_all()
        handle.until = math.inf
        return cls(session, socket)

    async def send(self, text: str) -> None:
        """See `FrameSocket.send`."""
        try:
            await self._socket.send_str(text)
        except (CurlError, RequestException, WebSocketError, OSError) as error:
            raise _gone() from error

    async def receive(self, seconds: float) -> bytes | None:
        """See `FrameSocket.receive`."""
        try:
            async with asyncio.timeout(seconds):
                frame, flags = await self._socket.recv()
        except TimeoutError:
            return None
        except (CurlError, RequestException, WebSocketError, OSError) as error:
            raise _gone() from error
        if flags & CurlWsFlag.CLOSE:
            raise _gone()
        return frame

    async def close(self) -> None:
        """See `FrameSocket.close`."""
        if not self._closed:
            self._closed = True
            if self._answering is not None:
                self._answering.cancel()
            self._socket.terminate()
            await self._session.close()

    def _on_ping(self, data: bytes) -> None:
        # While one answer waits others need none (RFC 6455 5.5.3).
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer(data))

    async def _answer(self, data: bytes) -> None:
        with suppress(CurlError, RequestException, OSError):  # whoever reads hears that it is broken
            await self._socket.send(data, CurlWsFlag.PONG)


def _gone() -> UpstreamError:
    return UpstreamError("The account's socket can't be reached, or was closed", code="upstream_socket")
