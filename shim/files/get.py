"""One GET over one connection to one address.

Rule: it connects to the address it is given and to nothing else: no resolver, no proxy, no cookie, no redirect. What
comes back is read no further than its reader wants.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import h11

from shim.files.targets import Target

_READ_BYTES = 64 * 1024
_MAX_HEAD_BYTES = 64 * 1024


class Answer:
    """An answer at its head. Header names are lower case; the last of a name counts."""

    def __init__(self, protocol: h11.Connection, reader: asyncio.StreamReader, head: h11.Response) -> None:
        self.status = head.status_code
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        self._protocol = protocol
        self._reader = reader

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives. Raises OSError where the connection breaks, h11.RemoteProtocolError where what
        comes is not HTTP, or ends too early."""
        while isinstance(event := await _next_event(self._protocol, self._reader), h11.Data):
            yield bytes(event.data)


@asynccontextmanager
async def get(
    target: Target, address: str, *, user_agent: str, tls: ssl.SSLContext, connect_timeout: float
) -> AsyncIterator[Answer]:
    """Ask `address` for the target; on leaving, the connection is closed at once.

    Raises OSError where there is no connection (in `connect_timeout` seconds) and h11.RemoteProtocolError.
    """
    async with asyncio.timeout(connect_timeout):
        reader, writer = await asyncio.open_connection(
            address,
            target.port,
            ssl=tls if target.secure else None,
            server_hostname=target.host if target.secure else None,
            limit=_READ_BYTES,
        )
    try:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        writer.write(_request(protocol, target, user_agent))
        head = await _next_event(protocol, reader)
        while isinstance(head, h11.InformationalResponse):
            head = await _next_event(protocol, reader)
        if not isinstance(head, h11.Response):
            raise h11.RemoteProtocolError("no answer")
        yield Answer(protocol, reader, head)
    finally:
        writer.transport.abort()


def _request(protocol: h11.Connection, target: Target, user_agent: str) -> bytes:
    headers = [
        ("host", target.authority),
        ("user-agent", user_agent),
        ("accept", "*/*"),
        ("accept-encoding", "identity"),
        ("connection", "close"),
    ]
    asked = protocol.send(h11.Request(method="GET", target=target.path, headers=headers))
    return (asked or b"") + (protocol.send(h11.EndOfMessage()) or b"")


async def _next_event(protocol: h11.Connection, reader: asyncio.StreamReader) -> h11.Event:
    while not isinstance(event := protocol.next_event(), h11.Event):
        if event is h11.PAUSED:
            raise h11.RemoteProtocolError("another protocol was switched to")
        protocol.receive_data(await reader.read(_READ_BYTES))
    return event
