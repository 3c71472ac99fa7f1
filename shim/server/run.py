"""Running the application on Granian: `chat2api serve`."""

import gc
import importlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.log import LogLevels
from granian.server.common import AbstractServer

from shim import heap
from shim.logs import configure_logs, logging_config
from shim.metrics.sharing import as_worker, shared_by_workers
from shim.server.checks import CHECKS, listening_address
from shim.server.granian import BACKLOG, HTTP1, claimed_port, most_connections
from shim.server.heartbeats import replaces_hung
from shim.server.stopping import at_once_while_starting
from shim.settings import Settings, as_environment, concerns, load_settings

if TYPE_CHECKING:
    from litestar import Litestar

log = logging.getLogger("chat2api")

_ALLOCATED = 10_000  # objects more than were freed before the youngest are looked at: some 20 requests' (Python: 2,000)
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
    server = granian(settings)
    if settings.workers > 1 and multiprocessing.get_start_method() == "fork":
        share()

    def pids() -> list[int]:
        # A copy: Granian's own loop replaces workers in this list meanwhile, and this is asked in a thread.
        return [pid for worker in [*server.wrks] if worker.is_alive() and (pid := worker.inner.pid) is not None]

    with shared_by_workers(settings.workers), replaces_hung(pids, settings.worker_timeout):
        server.serve()


def share() -> None:
    """Have at hand what all workers need before they are forked, so that there is one copy of it: a worker more adds 20
    MB then instead of 95. A single worker has nobody to share with, and is ready sooner without."""
    gc.disable()  # as in `application`
    importlib.import_module("shim.app")
    importlib.import_module("shim.tokenizer").load()
    gc.collect()
    gc.enable()
    gc.freeze()  # a collection writes into whatever it looks at, and what is written to is not shared any more


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
    for name in ("signal_handler_interrupt", "signal_handler_reload"):
        setattr(server, name, _by_another_thread(getattr(server, name)))
    return server


def _by_another_thread(handler: Callable[..., None]) -> Callable[..., None]:
    """What handles a signal of the main process, made safe. Granian's sets an event, which takes a lock; and it runs
    wherever the main thread happens to be, also where that has taken this lock itself: as it begins to wait, or in the
    handler of a signal just before (two SIGTERM, Ctrl+C pressed twice). It would wait for itself for ever."""

    def on_signal(*_: object) -> None:
        start_new_thread(handler, ())

    return on_signal


def free_port(address: str) -> int:
    """For PORT=0. Granian never tells which port it got from the system."""
    with claimed_port(address, 0) as port:
        return port


def application() -> "Litestar":
    """What each worker process runs. Imports wait until here, so that the main process stays small."""
    at_once_while_starting()
    heap.keep_one_arena()
    gc.disable()  # nearly all that a start makes stays, and looking through it meanwhile was a tenth of its time
    from shim.app import from_environment  # noqa: PLC0415

    as_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    made = from_environment()
    # What is there now stays to the end. The collector went through it again and again: 7 % of a small request's CPU.
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(_ALLOCATED, 20, 100)
    return made


def _end_with_parent() -> None:
    """A worker whose main process was killed would go on serving, and hold the port, with nobody to stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(load_settings().shutdown_timeout)
        os._exit(1)
