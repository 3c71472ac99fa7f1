"""WebSockets over curl_cffi, as far as the account's socket needs them: text frames in and out.

Rule: the address is a credential: it is in no log and no error. A frame and the frames that wait are bounded.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Protocol

from curl_cffi import AsyncSession, CurlOpt, Response
from curl_cffi.const import CurlWsFlag
from curl_cffi.curl import CurlError
from curl_cffi.requests import WebSocketError
from curl_cffi.requests.exceptions import RequestException
from curl_cffi.requests.websockets import AsyncWebSocket

from shim.errors import UpstreamError
from shim.transport.base import ConnectionKey

# A frame holds a batch of events of one answer (protocol.md 5.7); the largest are whole messages.
_MAX_FRAME_BYTES = 4 * 1024 * 1024
_WAITING_FRAMES = 64


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


class CurlWebSocket:
    """`FrameSocket` over libcurl. Use `open`."""

    def __init__(self, session: "AsyncSession[Response]", socket: AsyncWebSocket) -> None:
        self._session, self._socket = session, socket
        self._closed = False

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
        session: AsyncSession[Response] = AsyncSession(proxy=connection.proxy, trust_env=False, curl_options=options)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(session.close)
            try:
                socket = await session.ws_connect(
                    url,
                    headers=headers,
                    default_headers=False,
                    timeout=connect_timeout,
                    recv_queue_size=_WAITING_FRAMES,
                    max_message_size=_MAX_FRAME_BYTES,
                )
            except (CurlError, RequestException, WebSocketError, OSError) as error:
                raise _gone() from error
            undo.pop_all()
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
            self._socket.terminate()
            await self._session.close()


def _gone() -> UpstreamError:
    return UpstreamError("The account's socket can't be reached, or was closed", code="upstream_socket")
