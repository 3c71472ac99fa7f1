"""The servers of a run and what can be asked of them: make this load and tell what it cost you."""

import http.client
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from scripts.benchmark.load import Order, Outcome
from scripts.benchmark.servers import (
    PROJECT,
    ServerError,
    Target,
    environment_of,
    gateway,
    libraries,
    pass_through,
    upstream,
)
from scripts.benchmark.sizes import Sizes
from scripts.benchmark.upstream import CHAT_PATH, PROOFS, TURN_PATH

UPSTREAM, RAW, PASS_THROUGH, GATEWAY = "upstream", "raw sockets", "pass-through", "chat2api"
LIBRARIES = "libraries"

Load = Mapping[str, object]
"""Fields of an order: what is asked for, whoever is asked."""

# Shorter loads say nothing of who is busy.
_NOTED_SECONDS = 0.2
# The pass-through may cut a word in two, which is then not counted.
_COMPLETE = 0.99


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
    """The servers by name (upstream first, the gateways that were named last), the sizes, and whom to tell what is
    under way."""

    def __init__(self, servers: dict[str, Target], sizes: Sizes, folder: Path, tell: Callable[[str], None]) -> None:
        self.servers = servers
        self.sizes = sizes
        self.folder = folder
        self.tell = tell
        self.part = ""  # which is measured

        self.busy: dict[str, tuple[float, float]] = {}
        """By part: how much of a core the load and upstream used at most; who needs all of it is measured itself"""

    @property
    def names(self) -> tuple[str, ...]:
        """Whoever stands between the load and upstream."""
        return tuple(name for name in self.servers if name != UPSTREAM)

    def order(self, server: Target, **fields: object) -> Order:
        """An order to call `server`, whichever of them it is."""
        path = TURN_PATH if server is self.servers[UPSTREAM] else server.path + CHAT_PATH
        return msgspec.convert({"host": server.host, "port": server.port, "path": path, **fields}, Order)

    def cost(self, server: Target, *loads: Load) -> Cost:
        """Run the loads, one after the other, and read the server's CPU clocks around them. Raises LoadError."""
        orders = [self.order(server, **fields) for fields in loads]
        # Asked before as well, because asking makes upstream forget those of the run before.
        self._connections()
        before = server.cpu()
        for order in orders:
            self.run(order)
        seconds = server.cpu() - before
        requests, chunks = sum(one.requests for one in orders), sum(one.requests * one.chunks for one in orders)
        return Cost(seconds, requests, chunks, self._connections())

    def run(self, order: Order) -> Outcome:
        """Make the calls, and note how busy the load and upstream are meanwhile. Raises LoadError."""
        before = self.servers[UPSTREAM].cpu()
        outcome = run(order)
        if outcome.seconds > _NOTED_SECONDS:
            used = (outcome.cpu / outcome.seconds, (self.servers[UPSTREAM].cpu() - before) / outcome.seconds)
            known = self.busy.get(self.part, (0.0, 0.0))
            self.busy[self.part] = (max(known[0], used[0]), max(known[1], used[1]))
        return outcome

    def costs(self, *loads: Load) -> dict[str, list[Cost]]:
        """The cost for each server, `repeats` times in turns, after a first time that is not counted."""
        names = self.names
        found: dict[str, list[Cost]] = {name: [] for name in names}
        # In turns, so that what else the machine does meets all of them alike.
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
def bench(
    sizes: Sizes,
    folder: Path,
    tell: Callable[[str], None],
    *,
    others: Mapping[str, str] | None = None,
    upstream_port: int | None = None,
) -> Iterator[Bench]:
    """Upstream, both pass-throughs, the gateway and what it is made of. `others`: base URLs of gateways that run
    already, in front of the upstream at `upstream_port`. Raises ServerError where one of all these does not answer."""
    with ExitStack() as stack:
        source = stack.enter_context(upstream(folder, upstream_port))
        servers: dict[str, Target] = {
            UPSTREAM: source,
            RAW: stack.enter_context(pass_through(folder, source.port, "raw")),
            PASS_THROUGH: stack.enter_context(pass_through(folder, source.port, "aiohttp")),
            GATEWAY: stack.enter_context(gateway(folder, source.port, prefix=PROOFS)),
            LIBRARIES: stack.enter_context(libraries(folder, source.port)),
        }
        for name, url in (others or {}).items():
            servers[name] = Target(name, url)
            try:
                servers[name].get("/")
            except (OSError, http.client.HTTPException) as error:
                raise ServerError(f"nobody answers at {url}, where {name} should be: {error}") from error
        yield Bench(servers, sizes, folder, tell)


def run(order: Order) -> Outcome:
    """Make the calls, in a process of its own. Raises LoadError."""
    with started(order) as process:
        return finished(process, order)


@contextmanager
def started(order: Order) -> Iterator[subprocess.Popen[str]]:
    """The load under way; it ends at the latest with the block."""
    # A process of its own, because a load in this one would hold up whoever reads the clocks.
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
    # The load keeps its deadline itself, and then still has to end: half a minute is for a loaded machine.
    told, complaint = process.communicate(timeout=order.deadline + 30)
    if process.returncode:
        raise LoadError(f"the load failed: {complaint[-2000:]}")
    outcome = msgspec.json.decode(told.splitlines()[-1], type=Outcome)
    wanted = order.requests * order.chunks
    if not order.hold and not order.lossy and outcome.words < wanted * _COMPLETE:
        raise LoadError(f"{outcome.words} words arrived instead of {wanted} ({order.path})")
    return outcome


def spread(values: list[float]) -> float:
    """How far apart the values are: (largest - smallest) / median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0
