"""Running the application on Granian: `chat2api serve`."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server.common import AbstractServer

from shim.logs import configure_logs, logging_config
from shim.server.checks import CHECKS, listening_address
from shim.server.granian import BACKLOG, HTTP1, claimed_port, most_connections
from shim.server.stopping import at_once_while_starting
from shim.settings import Settings, as_environment, concerns, load_settings

if TYPE_CHECKING:
    from litestar import Litestar

log = logging.getLogger("chat2api")

_LEVELS = {
    "debug": LogLevels.debug,
    "info": LogLevels.info,
    "warning": LogLevels.warning,
    "error": LogLevels.error,
}


def serve(flags: Mapping[str, Any]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises SettingError for a setting that can't be used, OSError where the port is taken.
    """
    settings = load_settings(flags=flags)
    for check in CHECKS:
        check(settings)
    configure_logs(settings.log_level, settings.log_format)
    for concern in concerns(settings):
        log.warning("%s", concern)
    # The workers are processes of their own: what flags said reaches them through the environment.
    os.environ.update(as_environment(flags))
    granian(settings).serve()


def granian(settings: Settings) -> AbstractServer[Any]:
    """The server for these settings, not yet running."""
    server: AbstractServer[Any] = Granian(
        "shim.server.run:application",
        factory=True,
        address=listening_address(settings),
        port=settings.port or free_port(listening_address(settings)),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.workers,
        websockets=False,
        log_dictconfig=logging_config(settings.log_level, settings.log_format),
        log_level=_LEVELS[settings.log_level],
        respawn_failed_workers=True,
        workers_kill_timeout=settings.shutdown_timeout,
        http=HTTPModes.http1,
        http1_settings=HTTP1,
        backpressure=most_connections(),
        backlog=BACKLOG,
    )
    return server


def free_port(address: str) -> int:
    """For PORT=0. Granian never tells which port it got from the system."""
    with claimed_port(address, 0) as port:
        return port


def application() -> "Litestar":
    """What each worker process runs. Imports wait until here, so that the main process stays small."""
    at_once_while_starting()
    from shim.app import from_environment  # noqa: PLC0415

    threading.Thread(target=_end_with_parent, daemon=True).start()
    return from_environment()


def _end_with_parent() -> None:
    """A worker whose main process was killed would go on serving, and hold the port, with nobody to stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(load_settings().shutdown_timeout)
        os._exit(1)
