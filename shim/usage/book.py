"""The book that calls are noted in."""

import logging
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

import msgspec

from shim.background import Background
from shim.notes import Notes, NotesError
from shim.usage.record import CallRecord

log = logging.getLogger("chat2api")

DAYS = 90
_DAY = 86400.0  # seconds
# What a worker that is killed loses.
_WRITE_SECONDS = 2.0
_MOST_ROWS = 2000
"""Of one worker's day: models and keys that clients make up must not fill the store. What is beyond is `other`."""
_MOST_WAITING = 2000  # calls of one batch; of more in two seconds the oldest are not kept one by one
_BATCH_CALLS = 200  # calls in one note, which stays below 100 KB
# Calls are for finding a fault, which is looked for within days; sums stay (`DAYS`).
_CALL_DAYS = 7
_BATCH_SECONDS = (
    60.0  # between the ends of a batch's first and last call, at most: so a page of calls knows where to begin
)
_PAGE_BATCHES = 20  # that are in memory at once, as somebody looks for a call
# Of all workers. Beyond it the oldest go, before their days are over.
_MOST_BATCHES = 10_000
# Room for _MOST_ROWS rows, of names that are as long as may be.
_ROW_BYTES = 2 * 1024 * 1024

Dimension = Literal["day", "api", "key", "account", "model"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)


class UsageRow(msgspec.Struct, omit_defaults=True):
    """Sums of calls. `first_ms` adds up the milliseconds to the first byte of `streams` calls that had one."""

    day: str = ""
    api: str = ""
    key: str = ""
    account: str = ""
    model: str = ""
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    streams: int = 0
    first_ms: float = 0.0

    def add(self, other: "UsageRow") -> None:
        """Add the sums of another row."""
        self.requests += other.requests
        self.errors += other.errors
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.streams += other.streams
        self.first_ms += other.first_ms


def add_up(rows: Iterable[UsageRow], by: Sequence[Dimension]) -> list[UsageRow]:
    """One row for each combination of the dimensions in `by`, in their order; the others are empty."""
    sums: dict[tuple[str, ...], UsageRow] = {}
    for row in rows:
        place = tuple(getattr(row, name) for name in by)
        sums.setdefault(place, UsageRow(**dict(zip(by, place, strict=True)))).add(row)
    return [sums[place] for place in sorted(sums)]


class CallBook:
    """One of these a process."""

    def __init__(
        self,
        notes: Notes,
        *,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex[:12],
    ) -> None:
        self._sums_shelf = notes.shelf("usage", largest=_ROW_BYTES)
        self._calls_shelf = notes.shelf("calls", most=_MOST_BATCHES, largest=_ROW_BYTES)
        self._clock, self._worker, self._batch = clock, new_id(), 0
        self._day, self._day_number = "", -1.0  # since 1970, by UTC
        self._sums: dict[tuple[str, str, str, str], UsageRow] = {}
        self._ended: list[tuple[str, list[UsageRow]]] = []  # days that are over and not written yet
        self._changed = False
        self._waiting: deque[CallRecord] = deque(maxlen=_MOST_WAITING)
        self._background = Background("the usage")

    def note(self, record: CallRecord) -> None:
        """A call is over."""
        # By its number, for the name of a day costs a call of a small request four calls of functions.
        number = record.at // _DAY
        if number != self._day_number:
            if self._changed:
                self._ended.append((self._day, list(self._sums.values())))
            self._day_number, self._day, self._sums = number, _day_of(record.at), {}
        place = (record.api, record.key or "", record.account or "", record.model or "")
        if place not in self._sums and len(self._sums) >= _MOST_ROWS:
            place = (record.api, "other", "other", "other")
        row = self._sums.get(place)
        if row is None:
            # A row that keeps the strings of its call is half as large again, and a day may have 2,000 in each worker.
            api, key, account, model = map(sys.intern, place)
            row = self._sums[api, key, account, model] = UsageRow(self._day, api, key, account, model)
        row.requests += 1
        row.errors += record.failed
        if record.tokens is not None:
            row.prompt_tokens += record.tokens[0]
            row.completion_tokens += record.tokens[1]
        if record.first_ms is not None:
            row.streams += 1
            row.first_ms += record.first_ms
        self._changed = True
        self._waiting.append(record)

    async def usage(self, days: int) -> list[UsageRow]:
        """The sums of the last `days` days, today's too, of all workers. Raises NotesError."""
        await self.write()
        first = _day_of(self._clock() - (min(days, DAYS) - 1) * _DAY)
        after: str | None = None
        rows: list[UsageRow] = []
        day = first
        while day <= _day_of(self._clock()):
            page = await self._sums_shelf.page(f"{day}:", after=after, limit=100)
            for note in page:
                rows += msgspec.json.decode(note.value, type=list[UsageRow])
            after = page[-1].key if len(page) == 100 else None
            if after is None:
                day = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
        return rows

    async def calls(
        self,
        limit: int,
        wanted: Mapping[str, str],
        failed: bool | None = None,
        *,
        text: str = "",
        before: tuple[float, str] | None = None,
    ) -> list[CallRecord]:
        """The last calls, the newest first, of those whose fields are as `wanted`; `failed` tells of which kind, `text`
        is in one of their fields (in any case), and `before` is the place (end, id) of the last one of the page before.
        Raises NotesError."""
        await self.write()
        found: list[CallRecord] = []
        # A batch goes by the end of its last call, so what is before a moment may be in a batch that ended after it.
        after = f"{before[0] + _BATCH_SECONDS:017.6f}:" if before is not None else None
        while True:
            page = await self._calls_shelf.page("", after=after, limit=_PAGE_BATCHES, backwards=True)
            for note in page:
                found += [
                    record
                    for record in msgspec.json.decode(note.value, type=list[CallRecord])
                    if (before is None or record.place < before)
                    and (failed is None or record.failed is failed)
                    and all(str(getattr(record, name) or "") == value for name, value in wanted.items())
                    and (not text or record.mentions(text))
                ]
            found = sorted(found, key=lambda record: record.place, reverse=True)[:limit]
            # Batches still to come have nothing newer than the end of the last one.
            if len(page) < _PAGE_BATCHES or (len(found) == limit and found[-1].at >= float(page[-1].key[:17])):
                return found
            after = page[-1].key

    async def write(self) -> None:
        """Write down what was noted. What can't be written stays, and is tried again. Raises NotesError."""
        while self._ended:
            day, rows = self._ended[0]
            await self._sums_shelf.put(f"{day}:{self._worker}", msgspec.json.encode(rows), DAYS * _DAY)
            self._ended.pop(0)
        if self._changed:
            self._changed = False
            try:
                # What is noted while this is written counts as changed again, and is written the next time.
                today = msgspec.json.encode(list(self._sums.values()))
                await self._sums_shelf.put(f"{self._day}:{self._worker}", today, DAYS * _DAY)
            except NotesError:
                self._changed = True
                raise
        while self._waiting:
            batch = [self._waiting.popleft()]
            until = batch[0].at + _BATCH_SECONDS
            while self._waiting and len(batch) < _BATCH_CALLS and self._waiting[0].at < until:
                batch.append(self._waiting.popleft())
            self._batch += 1
            # By time, so that the newest are read first; the worker's name and number keep two apart.
            key = f"{batch[-1].at:017.6f}:{self._worker}:{self._batch}"
            try:
                await self._calls_shelf.put(key, msgspec.json.encode(batch), _CALL_DAYS * _DAY)
            except NotesError:
                self._waiting.extendleft(reversed(batch))
                raise

    def open(self) -> None:
        """Begin to write by itself."""
        self._background.repeat(_WRITE_SECONDS, "write", self.write, NotesError)

    async def close(self) -> None:
        """Write what is left."""
        await self._background.close()
        with suppress(NotesError):
            await self.write()

    @property
    def failing(self) -> dict[str, str]:
        """The background tasks that failed when they last ran, and with which kind of error."""
        return self._background.failing


def _day_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


@asynccontextmanager
async def open_book(notes: Notes, *, clock: Callable[[], float] = time.time) -> AsyncIterator[CallBook]:
    """A book that writes by itself while the block runs."""
    book = CallBook(notes, clock=clock)
    book.open()
    try:
        yield book
    finally:
        await book.close()
