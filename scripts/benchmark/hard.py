"""The part about everybody else while hard proofs are solved: do small requests and health checks still come in time?

Rule: idle and solving in turns, because what else this machine does comes and goes. What is called a baseline is the
same gateway with nothing to solve.
"""

import http.client
import time
from contextlib import ExitStack

from scripts.benchmark.bench import UPSTREAM, Bench, LoadError, run, started
from scripts.benchmark.parts import quantile
from scripts.benchmark.report import Row, rows_of
from scripts.benchmark.servers import Server, gateway
from shim.standin import make_access_token

_CALLERS = 4  # each with a hard proof under way all the while
_SHORT = {"chunks": 8, "block": 8}
_PAUSE = 0.005
_LATER = 5.0  # ms that a request may come later than with an idle gateway
_HEALTH = 10.0


def hard(bench: Bench) -> list[Row]:
    """Small requests and `/healthz`, idle and while four hard proofs are under way. Each proof is another search."""
    requests: dict[bool, list[float]] = {False: [], True: []}
    health: dict[bool, list[float]] = {False: [], True: []}
    with gateway(bench.folder, bench.servers[UPSTREAM].port, prefix="/hard", name="chat2api-hard") as server:
        for turn in range(bench.sizes.repeats + 1):
            for solving in (False, True):
                bench.tell(f"{'four hard proofs' if solving else 'idle'}, {turn} of {bench.sizes.repeats}")
                with ExitStack() as stack:
                    if solving:
                        # More rounds than it ever makes: it is ended here.
                        callers = bench.order(
                            server, **_SHORT, connections=_CALLERS, rounds=10_000, token=make_access_token("alice")
                        )
                        process = stack.enter_context(started(callers))
                        time.sleep(1.0)
                    found = run(bench.order(server, **_SHORT, rounds=bench.sizes.hard_requests)).first
                    checked = _health(server, bench.sizes.hard_requests)
                    if solving and process.poll() is not None:
                        raise LoadError(f"who asks for hard proofs has ended: {process.communicate()[1][-2000:]}")
                if turn:
                    requests[solving] += [seconds * 1000 for seconds in found]
                    health[solving] += checked
    rows, row = [], rows_of("hard", "ms", "idle")
    for name, found_by in (("small request", requests), ("/healthz", health)):
        for label, share in (("median", 0.5), ("p99", 0.99)):
            idle, busy = (quantile(found_by[solving], share) for solving in (False, True))
            aim = {"small request": idle + _LATER, "/healthz": _HEALTH}[name] if share > 0.5 else None
            rows.append(row(f"{name} beside {_CALLERS} hard proofs, {label}", baseline=idle, measured=busy, aim=aim))
    return rows


def _health(server: Server, count: int) -> list[float]:
    """Milliseconds that each check took, one after the other on one connection, with pauses."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        for _ in range(count):
            began = time.perf_counter()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            took.append((time.perf_counter() - began) * 1000)
            time.sleep(_PAUSE)
    finally:
        connection.close()
    return took
