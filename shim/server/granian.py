"""An application served by Granian: by a worker process, or inside the running loop (the stand-in, recorded upstreams).

Rule: the port is claimed before Granian starts, because Granian never tells which one it got.
"""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops, RuntimeModes
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from shim.logs import logging_config
from shim.server.address import claimed_port
from shim.settings import Settings

START_SECONDS = 30.0  # generous: on an overloaded machine a start is slow, not broken
STOP_SECONDS = 2.0  # after that, clients that do not read their answers are cut off
BACKLOG = 4096  # connections waiting to be accepted

# HTTP/2 without TLS is spoken by nobody in front of us, and where Granian has to find out which of the two it is, it
# waits for a first byte for ever. This way a connection that says nothing for so long, also between requests, is
# closed.
HTTP1 = HTTP1Settings(header_read_timeout=15_000)  # milliseconds


_LEVELS = {
    "debug": LogLevels.debug,
    "info": LogLevels.info,
    "warning": LogLevels.warning,
    "error": LogLevels.error,
}


def serve_as_worker(factory: Callable[[], Any], address: str, port: int, place: int, settings: Settings) -> None:
    """Serve in this process until a signal ends it, as Granian's own workers do, of which our main process starts and
    watches as many as there are: Granian's would be a second copy of all that Granian imports."""
    server: Any = Granian(
        "",
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        runtime_mode=RuntimeModes.mt,
        websockets=False,
        log_dictconfig=logging_config(settings.log_level, settings.log_format),
        log_level=_LEVELS[settings.log_level],
        http=HTTPModes.http1,
        http1_settings=HTTP1,
        backpressure=most_connections(),
        backlog=BACKLOG,
    )
    server._init_shared_socket()
    worker = server._spawn_worker(place - 1, server._spawn_asgi_lifespan_worker, factory)
    worker.inner.run()  # here, and not in a process that it would start


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
