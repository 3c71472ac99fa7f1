"""The command: which load, for how long.

Rule: only the worker's main thread counts, which runs the event loop; what it waits for is left out.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from scripts.benchmark import servers
from scripts.benchmark.bench import started
from scripts.benchmark.load import Order
from scripts.benchmark.upstream import CHAT_PATH, PROOFS

_SMALL = {"connections": 16, "rounds": 100_000, "chunks": 8, "block": 8}
_LOADS: dict[str, dict[str, object]] = {
    "small": _SMALL | {"stream": True},
    "whole": _SMALL | {"stream": False},
    "bursts": {"connections": 50, "chunks": 1_000_000},
    "paced": {"connections": 200, "chunks": 100_000, "every": 0.01},
}
_LOOP = "_spawn_asgi_lifespan_worker"  # the frame of Granian below which the loop runs
_RATE = "400"  # a second
_WARM_SECONDS = 1.0
_ROWS = 30
_FRAME = re.compile(r"(?P<name>.+) \((?P<file>[^()]*?)(?::\d+)?\)")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("load", type=click.Choice(list(_LOADS)), default="small")
@click.option("--seconds", default=8, show_default=True, help="How long to look.")
@click.option("--native", is_flag=True, help="Also what C and Rust do: libcurl, uvloop, the kernel's calls.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench-out"), help="Folder for the samples.")
@click.option(
    "--gateway",
    type=click.Path(path_type=Path, exists=True),
    default=servers.GATEWAY,
    help="Another checkout's program.",
)
def main(*, load: str, seconds: int, native: bool, out: Path, gateway: Path) -> None:
    """Sample the gateway under LOAD and print the shares of its rooms and functions."""
    out.mkdir(parents=True, exist_ok=True)
    samples = out / f"profile-{load}.txt"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chat2api-profile-")))
        source = stack.enter_context(servers.upstream(folder))
        server = stack.enter_context(servers.gateway(folder, source.port, prefix=PROOFS, program=gateway))
        order = msgspec.convert({"port": server.port, "path": CHAT_PATH, **_LOADS[load]}, Order)
        stack.enter_context(started(order))
        time.sleep(_WARM_SECONDS)
        _sample(_worker(server), seconds, samples, native=native)
    _report(list(_stacks(samples)), Console())


def _worker(gateway: servers.Server) -> int:
    """The id of the process that serves; the other one only looks after it."""
    below = psutil.Process(gateway.pid).children()
    return max(below, key=lambda process: process.memory_info().rss).pid


def _sample(pid: int, seconds: int, to: Path, *, native: bool) -> None:
    command = [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--rate", _RATE]
    command += ["--duration", str(seconds), "--format", "raw", "--output", str(to)]
    command += ["--native"] if native else []
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise click.ClickException(f"py-spy can't look into the worker (it may need root): {ran.stderr[-500:]}")


def _stacks(samples: Path) -> Iterator[tuple[list[str], int]]:
    """(the frames below the loop, outermost first, without line numbers; how often they were seen)."""
    for line in samples.read_text().splitlines():
        text, _, count = line.rpartition(" ")
        frames = text.split(";")
        below = [place for place, frame in enumerate(frames) if _LOOP in frame]
        if below:
            yield [re.sub(r":\d+\)$", ")", frame) for frame in frames[below[-1] + 1 :]] or ["the loop"], int(count)


def _report(stacks: list[tuple[list[str], int]], console: Console) -> None:
    rooms, own, below = Counter[str](), Counter[str](), Counter[str]()
    for frames, count in stacks:
        rooms[_room(frames)] += count
        own[frames[-1]] += count
        for frame in set(frames):
            below[frame] += count
    total = sum(rooms.values())
    tables = ("Rooms", rooms), ("Functions, by themselves", own), ("Functions, with what they call", below)
    for title, counted in tables:
        table = Table(title=title)
        table.add_column("share", justify="right")
        table.add_column("")
        for name, count in counted.most_common(_ROWS):
            table.add_row(f"{count / total:.1%}", name)
        console.print(table)
    console.print(f"{total} samples")


def _room(frames: list[str]) -> str:
    """The innermost of our rooms, or library, that is at work."""
    for frame in reversed(frames):
        found = _FRAME.fullmatch(frame)
        parts = Path(found["file"]).parts if found else ()
        if len(parts) > 1 and parts[0] in {"shim", "pow"}:
            return "/".join(parts[:2] if len(parts) > 2 else parts)
        if len(parts) > 1 and not parts[0].startswith("<"):
            return parts[0]
    return "interpreter, loop and kernel"


if __name__ == "__main__":
    main()
