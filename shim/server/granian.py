"""An application served by Granian inside the running loop: the gateway, the stand-in, and recorded upstreams.

Rule: the port is claimed before Granian starts, because Granian never tells which one it got.
"""

import asyncio
import logging
import os
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NoReturn

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

START_SECONDS = 30.0  # generous: on an overloaded machine a start is slow, not broken
STOP_SECONDS = 2.0  # after that, clients that do not read their answers are cut off
BACKLOG = 4096  # connections waiting to be accepted

# HTTP/2 without TLS is spoken by nobody in front of us, and where Granian has to find out which of the two it is, it
# waits for a first byte for ever. This way a connection that says nothing for so long, also between requests, is
# closed.
HTTP1 = HTTP1Settings(header_read_timeout=15_000)  # milliseconds


def most_connections() -> int:
    """How many connections a worker takes. Granian counts idle ones, too, and beyond its bound everybody waits, so it
    is as high as files may be open at all, less those that we open ourselves."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 65_536 if hard == resource.RLIM_INFINITY else max(1024, min(65_536, hard * 3 // 4))


@asynccontextmanager
async def serve_app(
    app: Any, port: int = 0, host: str = "127.0.0.1", *, websockets: bool = False
) -> AsyncIterator[int]:
    """Serve any application in the running loop until the block is left; yields the port it listens on."""
    with claimed_port(host, port) as claimed:
        server = Server(
            app,
            address=host,
            port=claimed,
            interface=Interfaces.ASGI,
            websockets=websockets,
            log_enabled=False,
            http=HTTPModes.http1,
            http1_settings=HTTP1,
            backlog=BACKLOG,
            backpressure=most_connections(),
        )
        serving = asyncio.create_task(server.serve())
        try:
            await _accepting(host, claimed, serving)
            yield claimed
        finally:
            server.stop()  # type: ignore[no-untyped-call]
            # It waits for its connections, and one whose client reads nothing would hold it for ever.
            _, pending = await asyncio.wait({serving}, timeout=STOP_SECONDS)
            for task in pending:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await serving


def end_process(status: int) -> NoReturn:
    """Exit at once, for commands that have served in their own loop and have closed what they opened.

    Granian's threads outlive its server by up to 30 seconds. If one of them asks for the interpreter while that is
    shutting down, Python 3.13 ends the thread in a way Rust takes for a crash, and the process aborts (signal 6).
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def claimed_port(host: str, port: int) -> Iterator[int]:
    """A port nobody else gets while the block runs: 0 finds a free one, another raises OSError when it is in use.

    Granian binds with SO_REUSEPORT, so two servers on one port would silently share its connections; hence the
    plain bind first. The bound, never listening socket keeps the number reserved.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        port = probe.getsockname()[1]
    with socket.socket(family) as reservation:
        # What another program's closed connections still hold for a minute is no reason not to start.
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reservation.bind((host, port))
        yield port


async def _accepting(host: str, port: int, serving: "asyncio.Task[None]") -> None:
    """Return once a connection is accepted; a server that ended instead raises its own exception."""
    async with asyncio.timeout(START_SECONDS):
        while not serving.done():
            with suppress(ConnectionRefusedError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                await writer.wait_closed()
                return
            await asyncio.sleep(0.005)
    await serving
