"""`chat2api serve`: what the main process does before workers run, and what a worker is.

Rule: the main process imports no Granian, no asyncio and nothing of what only workers need; `_work` does that.
"""

import gc
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from shim.logs import configure_logs
from shim.metrics.sharing import as_worker, shared_by_workers
from shim.server.address import claimed_port, listening_address
from shim.server.heartbeats import notices_hung
from shim.server.supervisor import UNUSABLE, Supervisor
from shim.settings import SettingError, Settings, as_environment, concerns, load_settings

if TYPE_CHECKING:
    from litestar import Litestar

log = logging.getLogger("chat2api")

_ALLOCATED = 10_000  # objects more than were freed before the youngest are looked at: some 20 requests' (Python: 2,000)


def serve(flags: Mapping[str, Any]) -> int:
    """Serve until SIGTERM or SIGINT; return the status to exit with.

    Raises SettingError for a setting that can't be used, OSError where the port is taken; a single worker says so
    itself, and the status is 1.
    """
    settings = load_settings(flags=flags)
    configure_logs(settings.log_level, settings.log_format)
    # The workers are processes of their own: what flags said reaches them through the environment.
    os.environ.update(as_environment(flags))
    address = listening_address(settings)
    with claimed_port(address, 0) if not settings.port else nullcontext(settings.port) as port:
        pass  # Granian never tells which port it got from the system
    if settings.workers > 1:
        check(settings)
        if multiprocessing.get_start_method() == "fork":
            share()
    with shared_by_workers(settings.workers), notices_hung(settings.worker_timeout) as hung:
        work = partial(_work, settings, address, port)
        return Supervisor(work, settings.workers, patience=settings.shutdown_timeout, hung=hung).run()


def check(settings: Settings) -> None:
    """Have everything looked at that has to be so before a worker serves. Raises SettingError and OSError."""
    from shim.server.checks import CHECKS  # noqa: PLC0415  15 MB, which the main process does without

    for one in CHECKS:
        one(settings)
    for concern in concerns(settings):
        log.warning("%s", concern)


def share() -> None:
    """Have at hand what all workers need before they are forked, so that there is one copy of it: a worker more adds 20
    MB then instead of 95. A single worker has nobody to share with, and is ready sooner without."""
    gc.disable()  # as in `_work`
    importlib.import_module("shim.app")
    importlib.import_module("shim.server.granian")
    importlib.import_module("shim.tokenizer").load()
    gc.collect()
    gc.enable()
    gc.freeze()  # a collection writes into whatever it looks at, and what is written to is not shared any more


def _work(settings: Settings, address: str, port: int, place: int, first: bool) -> None:
    """What each worker process runs."""
    from shim import heap  # noqa: PLC0415

    configure_logs(settings.log_level, settings.log_format)
    heap.keep_one_arena()
    gc.disable()  # nearly all that a start makes stays, and looking through it meanwhile was a tenth of its time
    if first and settings.workers == 1:
        try:
            check(settings)
        except (SettingError, OSError) as error:
            sys.stderr.write(f"Error: {error}\n")
            sys.exit(UNUSABLE)
    log.info("Spawning worker-%d with PID: %d", place, os.getpid())
    if first and place == 1:
        host = f"[{address}]" if ":" in address else address
        log.info("Listening at: http://%s:%d (main PID: %d)", host, port, os.getppid())
    from shim.server.granian import serve_as_worker  # noqa: PLC0415

    as_worker()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve_as_worker(_application, address, port, place, settings)


def _application() -> "Litestar":
    from shim.app import from_environment  # noqa: PLC0415

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
