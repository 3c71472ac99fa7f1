"""The parts that need servers: memory, small requests, bursts, paced streams, a crowd.

Rule: each server in turn gets the same load, and of the repeats the median counts. What was measured elsewhere
(`original`, `aim`) stands beside the pass-through it was measured with (`reference`): ratios travel, figures do not.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median

from scripts.benchmark.bench import (
    GATEWAY,
    PASS_THROUGH,
    RAW,
    UPSTREAM,
    Bench,
    finished,
    run,
    spread,
    started,
)
from scripts.benchmark.load import Outcome
from scripts.benchmark.report import Row
from scripts.benchmark.servers import MITMDUMP, Target, bridge, gateway

# An answer of eight words in one write.
_SHORT = {"chunks": 8, "block": 8}


def memory(bench: Bench) -> list[Row]:
    """Resident memory: idle, for another worker, for each open stream, and afterwards."""
    idle, growth, after = {}, {}, {}
    time.sleep(bench.sizes.settle_seconds)  # the tokenizer's tables come a moment after the start
    for name in bench.names:
        server = bench.servers[name]
        idle[name] = server.memory() / 2**20, server.memory(shared_once=True) / 2**20
        growth[name], after[name] = _growth(bench, server)
    rows = [
        _row("memory", "Memory idle, all processes", "MB", {name: [both[0]] for name, both in idle.items()}, aim=120),
        _row("memory", "the same, shared pages once", "MB", {name: [both[1]] for name, both in idle.items()}, aim=120),
        _row(
            "memory",
            f"Memory per stream, {bench.sizes.open_streams} open",
            "KB",
            {name: [value] for name, value in growth.items()},
            aim=30,
        ),
        _row("memory", "Memory kept when they are over", "MB", {name: [value] for name, value in after.items()}),
    ]
    with gateway(bench.folder, bench.servers[UPSTREAM].port, name="chat2api-two", workers=2) as two:
        bench.tell("two workers")
        time.sleep(1.0)
        added = two.memory(shared_once=True) / 2**20 - idle[GATEWAY][1]
    rows.append(
        Row(
            part="memory",
            name="Memory of a second worker",
            unit="MB",
            measured=added,
            baseline=idle[GATEWAY][1],
            baseline_name="one worker",
            aim=50,
        )
    )
    return rows


def _growth(bench: Bench, server: Target) -> tuple[float, float]:
    """(KB for each open stream, MB that stay when they are over)."""
    bench.tell(f"{server.name}, opening {bench.sizes.open_streams} streams")
    # What is loaded at the first calls is no stream's.
    run(bench.order(server, **_SHORT, rounds=3))
    before = server.memory()
    order = bench.order(server, connections=bench.sizes.open_streams, chunks=1000, every=0.25, hold=True)
    with started(order) as process:
        assert process.stdout is not None
        process.stdout.readline()  # "ready", or the end of it, which `finished` explains
        grown = server.memory() - before
        finished(process, order)
    time.sleep(bench.sizes.settle_seconds)
    return grown / order.connections / 1024, (server.memory() - before) / 2**20


def small(bench: Bench) -> list[Row]:
    """CPU of a small request with a proof, many at once, and what it waits longer than without anybody between."""
    sizes = bench.sizes
    many = _SHORT | {"connections": sizes.small_at_once, "rounds": -(-sizes.small_requests // sizes.small_at_once)}
    whole = bench.costs(many | {"stream": False})
    streamed = bench.costs(many | {"stream": True})
    cpu = {
        kind: {name: [cost.ms_per_request for cost in costs] for name, costs in found.items()}
        for kind, found in (("whole", whole), ("streamed", streamed))
    }
    both = {
        name: [sum(pair) / 2 for pair in zip(cpu["whole"][name], cpu["streamed"][name], strict=True)]
        for name in bench.names
    }
    found = bench.costs(many | {"stream": False, "fresh": True}, many | {"stream": True, "fresh": True})
    fresh = {name: [cost.ms_per_request for cost in costs] for name, costs in found.items()}
    label = f"CPU per small request, {sizes.small_at_once} at once"
    used = {name: [cost.connections / cost.requests for cost in streamed[name]] for name in bench.names}
    return [
        _row("small", label, "ms", both, reference=0.50, original=5.48, aim=1.5),
        _row("small", "the same, whole", "ms", cpu["whole"]),
        _row("small", "the same, streamed", "ms", cpu["streamed"]),
        _row("small", "the same, each on a new connection", "ms", fresh, reference=0.50, original=5.48, aim=1.5),
        _row("small", "Connections per request", "", used),
        *_added(bench, "alone", fresh=False),
        *_added(bench, "alone on a new connection", fresh=True),
    ]


def _added(bench: Bench, how: str, *, fresh: bool) -> list[Row]:
    """The wait for the first word, one call at a time, servers in turns, less that of upstream itself."""
    firsts: dict[str, list[list[float]]] = {name: [] for name in bench.servers}
    for turn in range(bench.sizes.repeats + 1):
        for name, server in bench.servers.items():
            bench.tell(f"{name}, {how}, {turn} of {bench.sizes.repeats}")
            order = bench.order(server, **_SHORT, rounds=bench.sizes.latency_requests, fresh=fresh)
            found = [first * 1000 for first in bench.run(order).first]
            if turn:
                firsts[name].append(found)
    rows = []
    for label, share in (("median", 0.5), ("p95", 0.95)):
        picked = {name: [quantile(values, share) for values in rounds] for name, rounds in firsts.items()}
        added = {
            name: [one - direct for one, direct in zip(picked[name], picked[UPSTREAM], strict=True)]
            for name in bench.names
        }
        targets = {"reference": 0.99, "original": 5.8, "aim": 2.5} if share == 0.5 else {}
        rows.append(_row("small", f"Added wait of a small request, {how}, {label}", "ms", added, **targets))
    return rows


def bursts(bench: Bench) -> list[Row]:
    """CPU per streamed chunk, upstream sending as fast as it can."""
    sizes = bench.sizes
    found = bench.costs({"connections": sizes.burst_streams, "chunks": sizes.burst_chunks})
    cpu = {name: [cost.seconds_per_1000_chunks for cost in costs] for name, costs in found.items()}
    name = f"CPU per 1000 chunks, bursts, {sizes.burst_streams} streams"
    return [_row("bursts", name, "s", cpu, reference=0.0050, original=0.079, aim=0.010)]


def paced(bench: Bench) -> list[Row]:
    """CPU per streamed chunk where every chunk comes alone."""
    sizes = bench.sizes
    found = bench.costs({"connections": sizes.paced_streams, "chunks": sizes.paced_chunks, "every": sizes.pace})
    cpu = {name: [cost.seconds_per_1000_chunks for cost in costs] for name, costs in found.items()}
    name = f"CPU per 1000 chunks, {sizes.pace * 1000:.0f} ms apart, {sizes.paced_streams} streams"
    return [_row("paced", name, "s", cpu, reference=0.036, original=0.110, aim=0.054)]


def crowd(bench: Bench) -> list[Row]:
    """Many streams that all begin at once: when their first words come, when they are done, and how many are lost."""
    sizes = bench.sizes
    load = {"connections": sizes.crowd_streams, "chunks": sizes.crowd_chunks, "every": sizes.crowd_pace, "lossy": True}
    found = _rounds(bench, load)
    fresh = {
        name: [median(one.first) * 1000 for one in some]
        for name, some in _rounds(bench, load | {"fresh": True}).items()
    }
    offered = sizes.crowd_chunks * sizes.crowd_pace
    first = {name: [median(one.first) * 1000 for one in some] for name, some in found.items()}
    done = {name: [one.seconds for one in some] for name, some in found.items()}
    lost = {
        name: [sizes.crowd_streams - one.words / sizes.crowd_chunks for one in some] for name, some in found.items()
    }
    many = f"{sizes.crowd_streams} streams"
    return [
        _row("crowd", f"First text, {many} at once, median", "ms", first, reference=334, original=2480, aim=668),
        _row("crowd", "the same, on new connections", "ms", fresh, reference=334, original=2480, aim=668),
        _row(
            "crowd",
            f"{many} x {sizes.crowd_chunks} chunks offered in {offered:.1f} s, done in",
            "s",
            done,
            reference=2.45,
            original=7.3,
            aim=2.94,
        ),
        _row("crowd", "of these lost", "streams", lost, aim=0),
    ]


def rush(bench: Bench) -> list[Row]:
    """A thousand new streams at once: who is served, who is told to come again, and what memory they leave."""
    count = bench.sizes.rush_streams
    # What is loaded at the first calls, and a moment after the start, is no crowd's.
    for name in bench.names:
        run(bench.order(bench.servers[name], **_SHORT, rounds=3))
    time.sleep(bench.sizes.settle_seconds)
    before = {name: bench.servers[name].memory() for name in bench.names}
    found = _rounds(bench, _SHORT | {"connections": count, "lossy": True})
    time.sleep(bench.sizes.settle_seconds)
    after = {name: [(bench.servers[name].memory() - before[name]) / 2**20] for name in bench.names}
    failures: dict[str, Counter[str]] = {name: Counter() for name in found}
    for name, outcomes in found.items():
        for one in outcomes:
            failures[name].update(one.failed)
    told = {
        name: [sum(number for status, number in failed.items() if status != "503+retry-after") * 1.0]
        for name, failed in failures.items()
    }
    served = {name: [len(one.first) * 1.0 for one in some] for name, some in found.items()}
    seconds = {name: [one.seconds for one in some] for name, some in found.items()}
    return [
        _row("rush", f"Served of {count} new streams at once", "streams", served),
        _row("rush", "neither served nor told 503 with Retry-After", "streams", told, aim=0),
        _row("rush", "done in", "s", seconds),
        _row("rush", "Memory kept when they are over", "MB", after),
    ]


def _rounds(bench: Bench, load: Mapping[str, object]) -> dict[str, list[Outcome]]:
    """What the load saw of each server, in turns, after a first time that is not counted."""
    found: dict[str, list[Outcome]] = {name: [] for name in bench.names}
    for turn in range(bench.sizes.repeats + 1):
        for name in bench.names:
            bench.tell(f"{name}, {turn} of {bench.sizes.repeats}")
            outcome = bench.run(bench.order(bench.servers[name], **load))
            if turn:
                found[name].append(outcome)
    return found


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


def _row(part: str, name: str, unit: str, figures: Mapping[str, list[float]], **targets: float) -> Row:
    middle = {server: median(values) for server, values in figures.items()}
    return Row(
        part=part,
        name=name,
        unit=unit,
        raw=middle[RAW],
        baseline=middle[PASS_THROUGH],
        measured=middle[GATEWAY],
        others={server: value for server, value in middle.items() if server not in {RAW, PASS_THROUGH, GATEWAY}},
        rounds={server: list(values) for server, values in figures.items()},
        spread=spread(figures[GATEWAY]),
        reference=targets.get("reference"),
        original=targets.get("original"),
        aim=targets.get("aim"),
    )
