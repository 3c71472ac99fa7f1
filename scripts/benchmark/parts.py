"""The parts that need servers: memory, small requests, bursts, paced streams, the first token.

Rule: each server in turn gets the same load, and of the repeats the median counts.
"""

from collections.abc import Callable, Iterable
from statistics import median

from scripts.benchmark.bench import (
    GATEWAY,
    PASS_THROUGH,
    SERVERS,
    UPSTREAM,
    Bench,
    Cost,
    Load,
    finished,
    run,
    spread,
    started,
)
from scripts.benchmark.report import Row
from scripts.benchmark.servers import MITMDUMP, Server, bridge, gateway

_SHORT = {"chunks": 8, "block": 8}  # an answer of eight words in one write

Figure = Callable[[Cost], float]


def memory(bench: Bench) -> list[Row]:
    """Resident memory of open streams, the first time there are so many."""
    growth = {name: _growth(bench, bench.servers[name]) / 1024 for name in SERVERS}
    return [
        Row(
            part="memory",
            name=f"Memory per stream, {bench.sizes.open_streams} open",
            unit="KB",
            upstream=growth[UPSTREAM],
            baseline=growth[PASS_THROUGH],
            measured=growth[GATEWAY],
        )
    ]


def _growth(bench: Bench, server: Server) -> float:
    bench.tell(f"{server.name}, opening {bench.sizes.open_streams} streams")
    run(bench.order(server, **_SHORT, rounds=3))
    before = server.memory()
    order = bench.order(server, connections=bench.sizes.open_streams, chunks=1000, every=0.25, hold=True)
    with started(order) as process:
        assert process.stdout is not None
        process.stdout.readline()  # "ready", or the end of it, which `finished` explains
        grown = server.memory() - before
        finished(process, order)
    return grown / order.connections


def small(bench: Bench) -> list[Row]:
    """CPU and connections per request with a short answer, and CPU where a proof of work is asked for."""
    sizes = bench.sizes
    one = _SHORT | {"rounds": sizes.small_requests}
    many = _SHORT | {"rounds": -(-sizes.small_requests // sizes.small_at_once)}
    many["connections"] = sizes.small_at_once
    whole = bench.costs(one | {"stream": False}, many | {"stream": False})
    streamed = bench.costs(one | {"stream": True}, many | {"stream": True})
    both = {name: [_sum(pair) for pair in zip(whole[name], streamed[name], strict=True)] for name in SERVERS}
    cpu, unit = "CPU per small request", "ms"
    rows = [
        _row("small", cpu, unit, both, lambda cost: cost.ms_per_request, reference=0.16, original=3.1, aim=0.6),
        _row("small", f"{cpu}, whole", unit, whole, lambda cost: cost.ms_per_request),
        _row("small", f"{cpu}, streamed", unit, streamed, lambda cost: cost.ms_per_request),
    ]
    proven = _with_proof(bench, [one, many])
    rows.append(
        _row("small", f"{cpu}, proof 0fffff", unit, streamed | {GATEWAY: proven}, lambda cost: cost.ms_per_request)
    )
    used = {name: both[name] for name in (PASS_THROUGH, GATEWAY)}
    rows.append(
        _row("small", "Connections per request", "", used, lambda cost: cost.connections / cost.requests, original=2)
    )
    return rows


def _with_proof(bench: Bench, loads: list[Load]) -> list[Cost]:
    with gateway(bench.folder, bench.servers[UPSTREAM].port, prefix="/proof", name="chat2api-proof") as server:
        bench.tell("chat2api with proofs")
        costs = [bench.cost(server, *loads) for _ in range(bench.sizes.repeats + 1)]
    return costs[1:]


def bursts(bench: Bench) -> list[Row]:
    """CPU per streamed chunk, upstream sending as fast as it can."""
    sizes = bench.sizes
    found = bench.costs({"connections": sizes.burst_streams, "chunks": sizes.burst_chunks})
    name = f"CPU per 1000 chunks, bursts, {sizes.burst_streams} streams"
    return [
        _row(
            "bursts",
            name,
            "s",
            found,
            lambda cost: cost.seconds_per_1000_chunks,
            reference=0.0024,
            original=0.05,
            aim=0.005,
        )
    ]


def paced(bench: Bench) -> list[Row]:
    """CPU per streamed chunk where every chunk comes alone."""
    sizes = bench.sizes
    load = {"connections": sizes.paced_streams, "chunks": sizes.paced_chunks, "every": sizes.pace}
    found = bench.costs(load)
    name = f"CPU per 1000 chunks, {sizes.pace * 1000:.0f} ms apart, {sizes.paced_streams} streams"
    return [
        _row(
            "paced",
            name,
            "s",
            found,
            lambda cost: cost.seconds_per_1000_chunks,
            reference=0.0146,
            original=0.077,
            aim=0.025,
        )
    ]


def latency(bench: Bench) -> list[Row]:
    """Time to the first token, one call at a time, servers in turns."""
    firsts: dict[str, list[float]] = {name: [] for name in SERVERS}
    for turn in range(bench.sizes.repeats + 1):
        for name in SERVERS:
            bench.tell(f"{name}, first tokens")
            order = bench.order(bench.servers[name], **_SHORT, rounds=bench.sizes.latency_requests)
            firsts[name] += [first * 1000 for first in run(order).first] if turn else []
    rows = []
    for name, pick in (("median", median), ("p95", lambda values: quantile(values, 0.95))):
        direct, plain, real = (pick(firsts[server]) for server in SERVERS)
        first = f"First token, {name}"
        rows.append(Row(part="latency", name=first, unit="ms", upstream=direct, baseline=plain, measured=real))
        rows.append(
            Row(
                part="latency",
                name=f"Added to the first token, {name}",
                unit="ms",
                baseline=plain - direct,
                measured=real - direct,
                original=3.1 if name == "median" else None,
            )
        )
    return rows


def addon(bench: Bench) -> list[Row]:
    """CPU per streamed chunk of mitmdump with the bridge; what it is compared with is the app itself. Nothing where
    there is no mitmproxy."""
    if not MITMDUMP.exists():
        return []
    load = {"connections": bench.sizes.burst_streams, "chunks": bench.sizes.burst_chunks}
    slow = load | {"every": bench.sizes.pace, "chunks": bench.sizes.paced_chunks}
    with bridge(bench.folder, bench.servers[UPSTREAM].port) as server:
        rows = []
        for kind, order in (("bursts", load), ("paced", slow)):
            found: dict[str, list[float]] = {GATEWAY: [], server.name: []}
            for turn in range(bench.sizes.repeats + 1):
                for one in (bench.servers[GATEWAY], server):
                    bench.tell(f"{one.name}, {kind}, {turn} of {bench.sizes.repeats}")
                    cost = bench.cost(one, order)
                    if turn:
                        found[one.name].append(cost.seconds_per_1000_chunks)
            rows.append(
                Row(
                    part="addon",
                    name=f"CPU per 1000 chunks, {kind}, mitmdump with the bridge",
                    unit="s",
                    baseline=median(found[GATEWAY]),
                    baseline_name=GATEWAY,
                    measured=median(found[server.name]),
                    spread=spread(found[server.name]),
                )
            )
    return rows


def quantile(values: Iterable[float], share: float) -> float:
    """The value that `share` of the values stay at or below."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _row(part: str, name: str, unit: str, costs: dict[str, list[Cost]], figure: Figure, **targets: float) -> Row:
    figures = {server: [figure(cost) for cost in costs[server]] for server in costs}
    middle = {server: median(values) for server, values in figures.items()}
    return Row(
        part=part,
        name=name,
        unit=unit,
        upstream=middle.get(UPSTREAM),
        baseline=middle[PASS_THROUGH],
        measured=middle[GATEWAY],
        spread=spread(figures[GATEWAY]),
        reference=targets.get("reference"),
        original=targets.get("original"),
        aim=targets.get("aim"),
    )


def _sum(pair: tuple[Cost, Cost]) -> Cost:
    one, other = pair
    return Cost(
        one.seconds + other.seconds,
        one.requests + other.requests,
        one.chunks + other.chunks,
        one.connections + other.connections,
    )
