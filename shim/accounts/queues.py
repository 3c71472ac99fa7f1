"""Who is next: for each thing that is asked for (slugs, best first) the accounts that can serve it, longest unused
first.

    in line ──first, but can't serve now──> set aside: BUSY, COOLING, PARKED, EXPIRED
       ^                                        │ a turn ends, something happens to it, or its alarm rings (`stir`)
       └──────────── used (now last) ──────── back, among the others by when it was last used

Rules:
* whoever is used becomes the last in every line at once, so a line is always in order and its first is the one;
* who can't serve is noticed when it comes first, and is not looked at again until something about it has changed. So a
  lease takes a bounded number of steps on average, however many accounts can't serve.
"""

import enum
import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Mapping

import msgspec

from shim.accounts.account import EVERY_MODEL, Account, Condition
from shim.accounts.states import State, state_of, usable_from
from shim.protocol.models import AUTO

_MAX_QUEUES = 32  # each may hold every account


class Place(enum.Enum):
    """Where in a queue an account stands. All but QUEUED say why it is set aside."""

    QUEUED = "ready"
    BUSY = "busy"
    COOLING = "cooling"
    PARKED = "parked"
    EXPIRED = "expired"

    __hash__ = object.__hash__  # as in State


class Offer:
    """The slugs that some accounts have, shared by all that have the same; None where they are not known."""

    __slots__ = ("accounts", "slugs")

    def __init__(self, slugs: frozenset[str] | None) -> None:
        self.slugs = slugs
        self.accounts = 0

    def best(self, slugs: tuple[str, ...]) -> str | None:
        """The first of `slugs` that is had. Unknown offers are taken to have it; `auto` is always there."""
        if self.slugs is None:
            return slugs[0]
        for slug in slugs:
            if slug in self.slugs or slug == AUTO:
                return slug
        return None


class Entry:
    """One account in the pool. `renewing` is the version of the credentials being renewed, or None; `rank` orders by
    last use; `alarm` is when the pool looks at it again by itself."""

    __slots__ = ("account", "active", "alarm", "condition", "offer", "rank", "renewing")

    def __init__(self, account: Account, condition: Condition, offer: Offer, rank: tuple[float, int]) -> None:
        self.account = account
        self.condition = condition
        self.offer = offer
        self.rank = rank
        self.active = 0
        self.renewing: int | None = None
        self.alarm = math.inf

    def state(self, now: float) -> State:
        """The account's state at `now`."""
        return state_of(self.account, self.condition, self.renewing is not None, now)

    def usable_from(self, slug: str, now: float) -> float:
        """When a turn on `slug` may begin (`states.usable_from`)."""
        return usable_from(self.account, self.condition, self.renewing is not None, slug, now)

    def place(self, slug: str, now: float, limit: int) -> tuple[Place, float]:
        """(where it belongs, when that may change by time alone)."""
        start = self.usable_from(slug, now)
        if start <= now:
            return (Place.QUEUED if self.active < limit else Place.BUSY), math.inf
        if self.condition.parked is not None:
            return Place.PARKED, start
        if any(until > now for until in self._cooling(slug)):
            return Place.COOLING, start
        return Place.EXPIRED, start

    def _cooling(self, slug: str) -> Iterable[float]:
        cooling = self.condition.cooling
        return (cooling[key] for key in (slug, EVERY_MODEL) if key in cooling)


class Found(msgspec.Struct, frozen=True):
    """Who may take the turn, and with which slug."""

    entry: Entry
    slug: str


class Queue:
    """The accounts that can serve one of `slugs`: each in `_line`, in `_back` or in `_aside`."""

    def __init__(self, slugs: tuple[str, ...], entries: Iterable[Entry], limit: int) -> None:
        able = (entry for entry in entries if entry.offer.best(slugs) is not None)
        self.slugs = slugs
        self._limit = limit
        self._line = OrderedDict.fromkeys(sorted(able, key=lambda entry: entry.rank))
        self._back: set[Entry] = set()
        self._heap: list[tuple[float, int, Entry]] = []  # of those in `_back`, and some who are there no more
        self._aside: dict[Entry, Place] = {}
        self._counts: Counter[Place] = Counter()
        self._soonest: float | None = None

    def next(self, now: float, exclude: Collection[str], asleep: list[tuple[float, Entry]]) -> Found | None:
        """The longest unused that can serve now and is not in `exclude`. It keeps its place until it is used.

        Who is set aside until a time is added to `asleep`, for an alarm.
        """
        passed_over = []
        found = None
        while found is None and (entry := self._first()) is not None:
            found = self._judge(entry, now, asleep)
            if found is not None and entry.account.id in exclude:
                self._out(entry)
                passed_over.append(entry)
                found = None
        for entry in passed_over:
            self._return(entry)
        return found

    def used(self, entry: Entry) -> None:
        """`entry` has got a turn, here or in another queue: its rank is the highest now."""
        if entry in self._line:
            self._line.move_to_end(entry)
        elif entry in self._back:
            self._back.remove(entry)
            self._line[entry] = None

    def stir(self, entry: Entry) -> None:
        """Something about `entry` has changed: it is looked at again when its turn comes."""
        if entry in self._line or entry in self._back:
            return
        self._bring_in(entry)
        if entry.offer.best(self.slugs) is not None:
            self._return(entry)

    def freed(self, entry: Entry) -> None:
        """`entry` has a turn less, and may take another."""
        if self._aside.get(entry) is Place.BUSY:
            self.stir(entry)

    def forget(self, entry: Entry) -> None:
        """`entry` is not here any more."""
        self._out(entry)
        self._bring_in(entry)

    def counts(self) -> dict[str, int]:
        """How many are where."""
        counts = {place.value: number for place, number in self._counts.items() if number}
        ready = len(self._line) + len(self._back)
        return counts | {Place.QUEUED.value: ready} if ready else counts

    def is_busy(self, exclude: Iterable[Entry]) -> bool:
        """Whether anybody but `exclude` is at the limit."""
        return self._counts[Place.BUSY] > sum(self._aside.get(entry) is Place.BUSY for entry in exclude)

    def has_any(self) -> bool:
        """Whether anybody could serve who is not set aside for long."""
        return bool(self._line or self._back or self._counts[Place.BUSY])

    def soonest(self, now: float) -> float:
        """When the first of those set aside is usable by time alone; `math.inf` if none ever is.

        It looks at all of them, so the answer is kept until something changes.
        """
        if self._soonest is None:
            waiting = (entry for entry, place in self._aside.items() if place in {Place.COOLING, Place.EXPIRED})
            starts = (entry.usable_from(entry.offer.best(self.slugs) or "", now) for entry in waiting)
            self._soonest = min(starts, default=math.inf)
        return self._soonest

    def _first(self) -> Entry | None:
        """Whoever has been unused longest, of those in line and those who are back."""
        heap = self._heap
        while heap and (heap[0][2] not in self._back or heap[0][:2] != heap[0][2].rank):
            heapq.heappop(heap)
        first = next(iter(self._line), None)
        if heap and (first is None or heap[0][:2] < first.rank):
            return heap[0][2]
        return first

    def _judge(self, entry: Entry, now: float, asleep: list[tuple[float, Entry]]) -> Found | None:
        """`entry` with the slug it can serve now; else it is set aside."""
        slug = entry.offer.best(self.slugs)
        if slug is None:
            self._out(entry)
            return None
        place, until = entry.place(slug, now, self._limit)
        if place is Place.QUEUED:
            return Found(entry, slug)
        self._out(entry)
        self._aside[entry] = place
        self._counts[place] += 1
        self._soonest = None
        if until < math.inf:
            asleep.append((until, entry))
        return None

    def _return(self, entry: Entry) -> None:
        self._back.add(entry)
        heapq.heappush(self._heap, (*entry.rank, entry))

    def _out(self, entry: Entry) -> None:
        self._line.pop(entry, None)
        self._back.discard(entry)

    def _bring_in(self, entry: Entry) -> None:
        """It is not set aside any more."""
        place = self._aside.pop(entry, None)
        if place is not None:
            self._counts[place] -= 1
            self._soonest = None


class Queues:
    """The queues that are in use, the least recently asked for given up first, and the alarms of those set aside.

    `entries` are all there are: what changes in it is told by `stir` and `forget`.
    """

    def __init__(self, entries: Mapping[str, Entry], limit: int) -> None:
        self._entries = entries
        self._limit = limit
        self._queues: OrderedDict[tuple[str, ...], Queue] = OrderedDict()
        self._alarms: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._queues)

    def get(self, slugs: tuple[str, ...]) -> Queue:
        """The queue for `slugs`, made where there is none."""
        queue = self._queues.get(slugs)
        if queue is None:
            queue = self._queues[slugs] = Queue(slugs, self._entries.values(), self._limit)
            if len(self._queues) > _MAX_QUEUES:
                self._queues.popitem(last=False)
        else:
            self._queues.move_to_end(slugs)
        return queue

    def next(self, queue: Queue, now: float, exclude: Collection[str]) -> Found | None:
        """Who is next in `queue` (`Queue.next`), with alarms set for those who were passed by."""
        asleep: list[tuple[float, Entry]] = []
        found = queue.next(now, exclude, asleep)
        for until, entry in asleep:
            self._set_alarm(entry, until)
        return found

    def wake(self, now: float) -> None:
        """Stir those whose alarm has rung."""
        alarms = self._alarms
        while alarms and alarms[0][0] <= now:
            until, _, entry = heapq.heappop(alarms)
            if until == entry.alarm:  # else an earlier one took its place
                entry.alarm = math.inf
                self.stir(entry)

    def used(self, entry: Entry) -> None:
        """See `Queue.used`."""
        for queue in self._queues.values():
            queue.used(entry)

    def stir(self, entry: Entry) -> None:
        """See `Queue.stir`."""
        if self._entries.get(entry.account.id) is entry:
            for queue in self._queues.values():
                queue.stir(entry)

    def freed(self, entry: Entry) -> None:
        """See `Queue.freed`."""
        for queue in self._queues.values():
            queue.freed(entry)

    def forget(self, entry: Entry) -> None:
        """See `Queue.forget`."""
        for queue in self._queues.values():
            queue.forget(entry)

    def _set_alarm(self, entry: Entry, until: float) -> None:
        """One pending alarm an account is enough: at the first of its times everything is looked at again."""
        if until < entry.alarm:
            entry.alarm = until
            heapq.heappush(self._alarms, (until, next(self._numbers), entry))
