"""The part about starting: how long `--help` takes, and how long it is until a started gateway answers.

Rule: what is called a baseline is the bare interpreter's own start, in turns with ours, because on a busy machine both
take longer.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from scripts.benchmark.bench import spread
from scripts.benchmark.report import Row
from scripts.benchmark.servers import GATEWAY, environment_of, gateway
from scripts.benchmark.sizes import Sizes

_NOBODY = 9  # a port of loopback that nobody listens on: starting calls nobody


def start(sizes: Sizes, tell: Callable[[str], None]) -> list[Row]:
    """Milliseconds by the clock: bare Python, `chat2api --help`, and `chat2api serve` until it answers `/healthz`."""
    with tempfile.TemporaryDirectory(prefix="chat2api-start-") as name:
        folder = Path(name)
        interpreter: list[float] = []
        found: dict[str, list[float]] = {"chat2api --help": [], "chat2api serve, until it answers": []}
        helped, served = found.values()
        # The first time reads files from the disk, and is left out.
        for turn in range(sizes.starts + 1):
            tell(f"starting, {turn} of {sizes.starts}")
            once = _run([sys.executable, "-c", ""], folder), _run([str(GATEWAY), "--help"], folder), _serve(folder)
            if turn:
                for times, took in zip((interpreter, helped, served), once, strict=True):
                    times.append(took)
    aims = 150.0, 700.0
    return [
        Row(
            part="start",
            name=label,
            unit="ms",
            measured=median(times),
            spread=spread(times),
            baseline=median(interpreter),
            baseline_name="python -c ''",
            aim=aim,
        )
        for (label, times), aim in zip(found.items(), aims, strict=True)
    ]


def _run(command: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment_of({}), stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def _serve(folder: Path) -> float:
    began = time.perf_counter()
    with gateway(folder, _NOBODY):
        return (time.perf_counter() - began) * 1000
