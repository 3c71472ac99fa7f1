"""One process that has imported mitmproxy and the addons, of which each mitmdump of the tests is a fork: to import them
anew takes each 0.8 seconds of CPU, and the suite starts about a hundred.

Run by mitmproxy's Python. A line of JSON on its input (`program`, `arguments`, `folder`, `environment`, `log`) starts a
mitmdump or mitmweb; the pid is the answer. What runs in the fork is its own main function, and that loads the scripts.

Rule: nothing but imports happens before the fork, and what never changes is read. No thread, no event loop, no setting
may be shared.
"""

import atexit
import gc
import json
import os
import signal
import sys
import threading

import mitmproxy.tools.web.master  # noqa: F401  what mitmweb's main function imports
from mitmproxy.tools import main

import addons.bridge
import addons.recorder
import addons.view  # noqa: F401  what the scripts will import
from shim import tokenizer


def serve() -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whose end nobody waits for here
    tokenizer.load()
    gc.collect()
    gc.freeze()  # or each fork's collector would look at all of it, and so make copies of all of its pages
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(order)
            _end()
        print(pid, flush=True)


def _become(order: dict[str, object]) -> None:
    """A program in its own folder, with its own environment and log, that is a child of this process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(str(order["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a signal at its end must not cost its last words
    os.chdir(str(order["folder"]))
    os.environ.clear()
    os.environ.update(order["environment"])  # type: ignore[call-overload]
    getattr(main, str(order["program"]))(order["arguments"])


def _end() -> None:
    """As an interpreter ends, threads and exit functions first, but without taking all modules apart object by object:
    that would be half of what a mitmdump takes in all."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    serve()
