"""The metrics of one gateway in one worker, and the text in which they are told."""

import asyncio
import resource
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from shim.accounts.states import AccountEvent, RenewalDropped, RenewalFailed, RenewalRefused, Renewed
from shim.background import Background
from shim.metrics.sharing import own_place, shared_folder
from shim.usage import CallRecord

# A line more for each counter, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]

_F = TypeVar("_F", Counter, Histogram)
_OTHER = "other"
# Of models, of accounts, of keys, and of words for what became of a call.
_MOST_NAMES = 200
# Of one metric, then those of MANY are not told apart: workers' files must not outgrow their room.
_MOST_SERIES = 1000
_MANY = ("model", "status")
# Of a value: upstream's names are as long as it likes.
_MOST_CHARACTERS = 80
# Answers take from a tenth of a second to TOTAL_TIMEOUT (30 minutes); bounds are closer where most of them are.
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
# Calls within a machine and to a near upstream: a loop that is late by 10 ms is felt by every stream.
_SHORT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LOOK_SECONDS = 1.0
_NAP_SECONDS = 0.05  # of which the loop's delay is what comes on top
_RENEWALS: dict[type[AccountEvent], str] = {
    Renewed: "renewed",
    RenewalFailed: "failed",
    RenewalRefused: "refused",
    RenewalDropped: "dropped",
}
_PAGES = Path("/proc/self/statm")  # in pages; not on macOS


class OpenCounts(msgspec.Struct, frozen=True):
    """What there is at one moment: calls that are open, those of them that wait for others to end, turns that wait for
    an account, accounts by state, background tasks that fail, and whether the store can be reached."""

    calls: int
    waiting: int
    turns_waiting: int
    accounts: Mapping[str, int]
    failing: int
    is_store_well: bool


class _Labels:
    """The values that each label may have: so many, and then `other`. A thousand accounts take no key's place."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def of(self, label: str, value: str) -> str:
        if value in {"", _OTHER}:
            return value
        value, known = value[:_MOST_CHARACTERS], self._known.setdefault(label, set())
        if value not in known:
            if len(known) >= _MOST_NAMES:
                return _OTHER
            known.add(value)
        return value


class _CallSums:
    """Calls of one kind that the library was not told of yet."""

    __slots__ = ("completion", "counted", "errors", "prompt", "requests", "tries")

    def __init__(self) -> None:
        self.requests = self.errors = self.tries = self.counted = self.prompt = self.completion = 0


class _Spread:
    """Times that a histogram of the library's was not told of yet."""

    __slots__ = ("bounds", "counts", "histogram", "total")

    def __init__(self, histogram: Histogram) -> None:
        self.histogram, self.bounds = histogram, histogram._upper_bounds
        self.clear()

    def clear(self) -> None:
        """Begin again."""
        self.counts, self.total = [0] * len(self.bounds), 0.0


class Metrics:
    """One for each gateway. What it is told costs microseconds and never fails. Calls and their times are added up
    here, and the library is told of them once a second and before it is asked: 2 us a request in the place of 11. Where
    workers read each other's files it is told at once (20 us), so that what one counted is not lost with it."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._labels = _Labels()
        self._children: defaultdict[object, dict[tuple[str, ...], Any]] = defaultdict(dict)
        self._sums: dict[tuple[str, str, str, int | None, str, str], _CallSums] = {}
        self._outcomes: dict[str, int] = {}  # of calls to upstream
        # By histogram and labels, which are APIs and outcomes of proofs: a handful.
        self._spreads: dict[tuple[Histogram, tuple[str, ...]], _Spread] = {}
        self._at_once = shared_folder() is not None
        self._names: dict[object, tuple[str, ...]] = {}  # of a metric's labels
        self._background = Background("the metrics")
        self._counts: Callable[[], OpenCounts] | None = None

        def counter(name: str, text: str, *labels: str) -> Counter:
            made = Counter(f"chat2api_{name}", text, labels, registry=registry)
            self._names[made] = labels
            return made

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            made = Histogram(f"chat2api_{name}", text, labels, buckets=buckets, registry=registry)
            self._names[made] = labels
            return made

        def gauge(name: str, text: str, *labels: str, over_workers: Literal["sum", "max", "min"] = "sum") -> Gauge:
            return Gauge(f"chat2api_{name}", text, labels, registry=registry, multiprocess_mode=over_workers)

        self._requests = counter(
            "requests", "Calls that are over, by what became of them", "api", "model", "status", "code"
        )
        self._errors = counter("errors", "Calls that failed", "api", "status", "code")
        self._tokens = counter("tokens", "Tokens, estimated", "api", "model", "kind")
        self._account_requests = counter("account_requests", "Calls by the account that served them", "account")
        self._account_errors = counter("account_errors", "Calls that failed, by account", "account")
        self._key_requests = counter("key_requests", "Calls by the key that made them", "key")
        self._key_errors = counter("key_errors", "Calls that failed, by key", "key")
        self._key_tokens = counter("key_tokens", "Tokens by key, estimated", "key", "kind")
        self._first = histogram("first_text_seconds", "From a request to its stream's first byte", _SECONDS, "api")
        self._whole = histogram("request_seconds", "From a request to the end of its answer", _SECONDS, "api")
        self._tries = counter("turns", "Turns that were tried for calls", "api")
        self._upstream = counter("upstream_calls", "Calls to upstream by status class or kind of failure", "outcome")
        self._upstream_head = histogram("upstream_head_seconds", "From a call to upstream to its answer's head", _SHORT)
        self._proofs = histogram("proof_seconds", "Proofs of work by what became of them", _SHORT, "outcome")
        self._renewals = counter("renewals", "Renewals of access tokens", "outcome")
        self._delay = histogram("event_loop_delay_seconds", "How late a worker's event loop is", _SHORT)
        self._open = gauge("open_requests", "Calls that are open")
        self._waiting = gauge("waiting_requests", "Of these, calls that wait for others to end (MAX_STREAMS)")
        self._turns_waiting = gauge("waiting_turns", "Turns that wait for an account that is busy (ACCOUNT_LIMIT)")
        # All workers know the same accounts and the same store.
        self._accounts = gauge("accounts", "Accounts of the pool by state", "state", over_workers="max")
        self._store = gauge("store_up", "1 where the store of accounts can be reached", over_workers="min")
        self._failing = gauge("background_failing", "Background tasks that failed when they last ran")
        self._memory = gauge("resident_memory_bytes", "Memory of a worker", "worker", over_workers="max")

    @property
    def failing(self) -> dict[str, str]:
        """The background tasks that failed when they last ran, and with which kind of error."""
        return self._background.failing

    def open(self, counts: Callable[[], OpenCounts]) -> None:
        """Begin to look at what `counts` tells, and at this process."""
        self._counts = counts
        self._look()
        self._background.repeat(_LOOK_SECONDS, "look", self._watch)

    async def close(self) -> None:
        """Nothing is open any more in this worker."""
        await self._background.close()
        self._tell_all()
        # Where workers share files these would go on to be told of a process that is no more.
        for one in (self._open, self._waiting, self._turns_waiting, self._failing):
            one.set(0)

    # --- what happens -----------------------------------------------------------------------------------------------

    def note(self, record: CallRecord, *, is_listed: bool, is_pooled: bool) -> None:
        """A call is over. `is_listed`: its model is on a list of upstream's; `is_pooled`: its account is the pool's."""
        model = "" if record.model is None else record.model if is_listed else _OTHER
        account = "" if record.account is None else record.account if is_pooled else _OTHER
        kind = record.api, model, record.status, record.code, record.key or "", account
        sums = self._sums.get(kind)
        if sums is None:
            sums = self._sums[kind] = _CallSums()
        sums.requests += 1
        sums.errors += record.failed
        sums.tries += record.tries
        if record.tokens is not None:
            sums.counted += 1
            sums.prompt += record.tokens[0]
            sums.completion += record.tokens[1]
        if record.first_ms is not None:
            self._time(record.first_ms / 1000, self._first, record.api)
        self._time(record.ms / 1000, self._whole, record.api)
        if self._at_once or len(self._sums) >= _MOST_SERIES:
            self._tell_calls()

    def called(self, outcome: str, seconds: float | None = None) -> None:
        """A call to upstream came to its answer's head, after `seconds`, or failed."""
        self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
        if seconds is not None:
            self._time(seconds, self._upstream_head)
        if self._at_once:
            self._tell_outcomes()

    def proved(self, outcome: str, seconds: float) -> None:
        """A proof of work was made, or not."""
        self._time(seconds, self._proofs, outcome)

    def heard(self, event: AccountEvent) -> None:
        """Something happened to an account: ends of renewals are counted, and no others."""
        outcome = _RENEWALS.get(type(event))
        if outcome is not None:
            self._child(self._renewals, outcome).inc()

    def _time(self, seconds: float, family: Histogram, *labels: str) -> None:
        """The library's own `observe` is seven calls of functions and 1.3 us, and a small request has five of them."""
        if self._at_once:
            self._child(family, *labels).observe(seconds)
            return
        spread = self._spreads.get((family, labels))
        if spread is None:
            spread = self._spreads[family, labels] = _Spread(self._child(family, *labels))
        spread.counts[bisect_left(spread.bounds, seconds)] += 1
        spread.total += seconds

    def _tell_all(self) -> None:
        self._tell_calls()
        self._tell_outcomes()
        for spread in self._spreads.values():
            if any(spread.counts):
                # Of many at once a histogram can only be told by its parts, which have no names of their own.
                for bucket, number in zip(spread.histogram._buckets, spread.counts, strict=True):
                    bucket.inc(number)
                spread.histogram._sum.inc(spread.total)
                spread.clear()

    def _tell_calls(self) -> None:
        """Give the library the calls that were added up."""
        of = self._labels.of
        for (api, asked, became, code, by, served), sums in self._sums.items():
            status, answered = of("status", became.partition(",")[0]), str(code or "")
            model, key, account = of("model", asked), of("key", by), of("account", served)
            self._child(self._requests, api, model, status, answered).inc(sums.requests)
            self._child(self._key_requests, key).inc(sums.requests)
            self._child(self._account_requests, account).inc(sums.requests)
            if sums.errors:
                self._child(self._errors, api, status, answered).inc(sums.errors)
                self._child(self._key_errors, key).inc(sums.errors)
                self._child(self._account_errors, account).inc(sums.errors)
            if sums.tries:
                self._child(self._tries, api).inc(sums.tries)
            if sums.counted:
                for kind, number in ("prompt", sums.prompt), ("completion", sums.completion):
                    self._child(self._tokens, api, model, kind).inc(number)
                    self._child(self._key_tokens, key, kind).inc(number)
        self._sums.clear()

    def _tell_outcomes(self) -> None:
        """The same of calls to upstream."""
        for outcome, number in self._outcomes.items():
            self._child(self._upstream, self._labels.of("outcome", outcome)).inc(number)
        self._outcomes.clear()

    def _child(self, family: _F, *values: str) -> _F:
        """That of a family with these labels: the library's own way there takes five times as long."""
        children = self._children[family]
        known = children.get(values)
        if known is None:
            if len(children) >= _MOST_SERIES:
                named = zip(self._names[family], values, strict=True)
                values = tuple(_OTHER if name in _MANY else value for name, value in named)
            known = children[values] = family.labels(*values) if values else family
        return known

    # --- what is told -----------------------------------------------------------------------------------------------

    async def text(self) -> bytes:
        """All of it, of all workers, in Prometheus' text format."""
        self._look()
        folder = shared_folder()
        if folder is None:
            return generate_latest(self._registry)
        return await asyncio.to_thread(_added_up, folder)

    async def _watch(self) -> None:
        clock = asyncio.get_running_loop().time
        due = clock() + _NAP_SECONDS
        await asyncio.sleep(_NAP_SECONDS)
        self._delay.observe(max(0.0, clock() - due))
        self._look()

    def _look(self) -> None:
        self._tell_all()
        if self._counts is None:
            return
        counts = self._counts()
        self._open.set(counts.calls)
        self._waiting.set(counts.waiting)
        self._turns_waiting.set(counts.turns_waiting)
        self._failing.set(counts.failing)
        self._store.set(float(counts.is_store_well))
        for state, number in counts.accounts.items():
            self._accounts.labels(state).set(number)
        if _PAGES.exists():
            self._memory.labels(own_place()).set(int(_PAGES.read_text().split()[1]) * resource.getpagesize())


def _added_up(folder: str) -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
