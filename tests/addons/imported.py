"""One process that has imported mitmproxy and the addons, of which each mitmdump of the tests is a fork: to import them
anew takes each 0.8 seconds of CPU, of which the suite would pay fifty.

Run by mitmproxy's Python. A line of JSON on its input (`program`, `arguments`, `folder`, `environment`, `log`) starts a
mitmdump or mitmweb; the pid is the answer. What runs in the fork is its own main function, and that loads the scripts.

Rule: nothing but imports happens before the fork. No thread, no event loop, no setting may be shared.
"""

import json
import os
import signal
import sys

import mitmproxy.tools.web.master  # noqa: F401  what mitmweb's main function imports
from mitmproxy.tools import main

import addons.bridge
import addons.recorder
import addons.view  # noqa: F401  what the scripts will import


def serve() -> None:
    """Fork until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # whose end nobody waits for here
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            _become(order)
            return
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


if __name__ == "__main__":
    serve()
