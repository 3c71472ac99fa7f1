"""The three servers of a run and what can be asked of them: make this load and tell what it cost you."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from scripts.benchmark.load import Order, Outcome
from scripts.benchmark.servers import PROJECT, Server, environment_of, gateway, pass_through, upstream
from scripts.benchmark.sizes import Sizes
from scripts.benchmark.upstream import CHAT_PATH, TURN_PATH

UPSTREAM, PASS_THROUGH, GATEWAY = "upstream", "pass-through", "chat2api"
SERVERS = (UPSTREAM, PASS_THROUGH, GATEWAY)

Load = Mapping[str, object]
"""Fields of an order: what is asked for, whoever is asked."""

_COMPLETE = 0.99  # the pass-through may cut a word in two, which is then not counted


class LoadError(Exception):
    """The load failed or got less than it asked for."""


class Cost(msgspec.Struct, frozen=True):
    """CPU seconds of one server for some loads, and how many calls and text chunks these were."""

    seconds: float
    requests: int
    chunks: int
    connections: int

    @property
    def ms_per_request(self) -> float:
        """Milliseconds of CPU for one call."""
        return self.seconds * 1000 / self.requests

    @property
    def seconds_per_1000_chunks(self) -> float:
        """Seconds of CPU for a thousand text chunks."""
        return self.seconds * 1000 / self.chunks


class Bench:
    """The servers by name, the sizes, and whom to tell what is under way."""

    def __init__(self, servers: dict[str, Server], sizes: Sizes, folder: Path, tell: Callable[[str], None]) -> None:
        self.servers = servers
        self.sizes = sizes
        self.folder = folder
        self.tell = tell

    def order(self, server: Server, **fields: object) -> Order:
        """An order to call `server`, whichever of the three it is."""
        path = TURN_PATH if server is self.servers[UPSTREAM] else CHAT_PATH
        return msgspec.convert({"port": server.port, "path": path, **fields}, Order)

    def cost(self, server: Server, *loads: Load) -> Cost:
        """Run the loads, one after the other, and read the server's CPU clocks around them. Raises LoadError."""
        orders = [self.order(server, **fields) for fields in loads]
        self._connections()
        before = server.cpu()
        for order in orders:
            run(order)
        seconds = server.cpu() - before
        requests, chunks = sum(one.requests for one in orders), sum(one.requests * one.chunks for one in orders)
        return Cost(seconds, requests, chunks, self._connections())

    def costs(self, *loads: Load, names: tuple[str, ...] = SERVERS) -> dict[str, list[Cost]]:
        """The cost for each server, `repeats` times in turns, after a first time that is not counted."""
        found: dict[str, list[Cost]] = {name: [] for name in names}
        for turn in range(self.sizes.repeats + 1):
            for name in names:
                self.tell(f"{name}, {turn} of {self.sizes.repeats}" if turn else f"{name}, warming up")
                cost = self.cost(self.servers[name], *loads)
                if turn:
                    found[name].append(cost)
        return found

    def _connections(self) -> int:
        """Connections upstream has seen since it was asked last."""
        return msgspec.json.decode(self.servers[UPSTREAM].get("/connections"), type=int)


@contextmanager
def bench(sizes: Sizes, folder: Path, tell: Callable[[str], None]) -> Iterator[Bench]:
    """Upstream, pass-through and gateway, running."""
    with ExitStack() as stack:
        source = stack.enter_context(upstream(folder))
        plain = stack.enter_context(pass_through(folder, source.port))
        real = stack.enter_context(gateway(folder, source.port))
        yield Bench({UPSTREAM: source, PASS_THROUGH: plain, GATEWAY: real}, sizes, folder, tell)


def run(order: Order) -> Outcome:
    """Make the calls, in a process of its own. Raises LoadError."""
    with started(order) as process:
        return finished(process, order)


@contextmanager
def started(order: Order) -> Iterator[subprocess.Popen[str]]:
    """The load under way; it ends at the latest with the block."""
    command = [sys.executable, "-m", "scripts.benchmark.load", msgspec.json.encode(order).decode()]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment_of({}), stdin=pipe, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], order: Order) -> Outcome:
    """What the load saw, once it has ended. Raises LoadError."""
    told, complaint = process.communicate(timeout=order.deadline + 30)
    if process.returncode:
        raise LoadError(f"the load failed: {complaint[-2000:]}")
    outcome = msgspec.json.decode(told.splitlines()[-1], type=Outcome)
    wanted = order.requests * order.chunks
    if not order.hold and outcome.words < wanted * _COMPLETE:
        raise LoadError(f"{outcome.words} words arrived instead of {wanted} ({order.path})")
    return outcome


def spread(values: list[float]) -> float:
    """How far apart the values are: (largest - smallest) / median."""
    return (max(values) - min(values)) / median(values)
