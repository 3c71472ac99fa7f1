"""Recording the next exchanges that are like one of the log: for a bug report, when somebody asks for it.

    an operator's order ──notes──> every worker ──> a call that may fit is taped ──> it fits ──> scrubbed ──> notes

Nothing that was said is kept of other calls, so a call of the past can't be had: it is made again while an order
stands.

Rules:
* an order has an end by time and by number, over all workers and gateways on one store: each cassette takes one of its
  numbers, and a number is given once;
* what is kept has been scrubbed, texts too, and ends by itself;
* a call waits for the store a moment at most, and goes on without a tape where that is away.
"""

import asyncio
import gzip
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from shim.background import Background
from shim.cassettes.taping import Tape
from shim.notes import Notes, NotesError
from shim.usage import CallRecord

log = logging.getLogger("chat2api")

# A page shows them all; recordings are for looking at one fault, not for keeping an eye on everybody.
MOST_ORDERS = 20
MOST_MINUTES = 60
MOST_CASSETTES = 10  # of one order
_KEPT_SECONDS = 86400.0
_CASSETTE_BYTES = 2 * 1024 * 1024  # packed
_MOST_KEPT = 50  # cassettes
_MOST_TAPES = 4  # of one worker at once, each of them some megabytes
_FRESH_SECONDS = 1.0  # a worker knows the orders of others so late
# A call waits for it, and for most calls nothing is ordered: rather no recording than a slower answer.
_WAIT_SECONDS = 0.25
_PAUSE_SECONDS = 10.0  # until a store that was away is asked again


class RecordingOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to record: calls that have these fields in the log, None: any. `until` is in seconds since 1970, `count` how
    many of them. `failed`: only those that fail, or only those that don't."""

    id: str
    until: float
    count: int = 1
    key: str | None = None
    account: str | None = None
    model: str | None = None
    api: str | None = None
    failed: bool | None = None

    def may_fit(self, key: str | None, api: str) -> bool:
        """By what is known as a call begins."""
        return self.key in {None, key} and self.api in {None, api}

    def fits(self, record: CallRecord) -> bool:
        """By all that is known at its end."""
        same = (getattr(self, name) in {None, getattr(record, name)} for name in ("key", "account", "model", "api"))
        return all(same) and self.failed in {None, record.failed}


class TakenRecording(msgspec.Struct, frozen=True):
    """A cassette of an order: the call it is of, how many calls upstream are in it, and how many were too many."""

    call: CallRecord
    interactions: int
    left_out: int
    bytes: int


class Tapes:
    """Those of one worker. `clock` gives seconds since 1970."""

    def __init__(self, notes: Notes, *, clock: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._orders_shelf = notes.shelf("recordingorders", most=MOST_ORDERS)
        self._taken_shelf = notes.shelf("recordings", most=MOST_ORDERS * MOST_CASSETTES)
        self._numbers = notes.shelf("recordingnumbers", most=MOST_ORDERS * MOST_CASSETTES)
        self._cassettes = notes.shelf("cassettes", most=_MOST_KEPT, largest=_CASSETTE_BYTES)
        self._clock, self._new_id = clock, new_id
        self._standing: list[RecordingOrder] = []
        self._filled: set[str] = set()  # ids of orders that have all they asked for
        self._fresh_until = 0.0  # by `time.monotonic`
        self._open: set[Tape] = set()
        self._background = Background("the recordings")

    # --- for calls ----------------------------------------------------------------------------------------------------

    async def begin(self, key: str | None, api: str) -> Tape | None:
        """A tape that listens in this context from now on, where an order stands that the call may fit."""
        if time.monotonic() >= self._fresh_until:
            self._fresh_until = time.monotonic() + _PAUSE_SECONDS  # nobody else waits meanwhile
            with suppress(NotesError, TimeoutError):
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self.orders()
        if not self._standing:  # nearly always
            return None
        now = self._clock()
        if len(self._open) >= _MOST_TAPES or not any(
            order.until > now and order.may_fit(key, api) for order in self._standing
        ):
            return None
        tape = Tape()
        tape.begin()
        self._open.add(tape)
        return tape

    def end(self, tape: Tape, record: CallRecord) -> None:
        """The call is over: what was taped is kept where an order wants it, and is gone otherwise."""
        tape.end()
        now = self._clock()
        wanted = [order for order in self._standing if order.until > now and order.fits(record)]
        if wanted and len(tape):
            self._background.spawn(self._keep(tape, record, wanted))
        else:
            self._open.discard(tape)

    async def _keep(self, tape: Tape, record: CallRecord, wanted: list[RecordingOrder]) -> None:
        try:
            packed = await asyncio.to_thread(lambda: gzip.compress(tape.cassette(), mtime=0))
            for order in wanted:
                await self._take(order, record, tape, packed)
        except NotesError as error:
            log.warning("a recording was not kept: %s", error)
        except Exception as error:  # noqa: BLE001  whatever it says may quote what was taped, so only its kind is told
            log.error("a recording could not be made: %s", type(error).__name__)  # noqa: TRY400
        finally:
            self._open.discard(tape)

    async def _take(self, order: RecordingOrder, record: CallRecord, tape: Tape, packed: bytes) -> None:
        for number in range(order.count):
            mine = f"{order.id}:{number:02}"
            if await self._numbers.add(mine, b"", _KEPT_SECONDS):
                break
        else:  # others were faster
            self._filled.add(order.id)
            self._standing = [one for one in self._standing if one.id != order.id]
            return
        try:  # the cassette first: what is listed can be had
            await self._cassettes.put(f"{order.id}:{record.id}", packed, _KEPT_SECONDS)
        except NotesError:  # mostly: it is too large. Another call may have the number
            await self._numbers.delete(mine)
            raise
        taken = TakenRecording(record, len(tape), tape.left_out, len(packed))
        await self._taken_shelf.put(f"{order.id}:{record.id}", msgspec.json.encode(taken), _KEPT_SECONDS)

    async def close(self) -> None:
        """Keep what is being kept."""
        await self._background.close()

    # --- for operators ------------------------------------------------------------------------------------------------

    async def order(self, wanted: RecordingOrder) -> RecordingOrder:
        """Record the next calls that are as wanted; its id is made here. Raises NotesError."""
        order = msgspec.structs.replace(wanted, id=self._new_id())
        await self._orders_shelf.put(order.id, msgspec.json.encode(order), _KEPT_SECONDS)
        self._standing.append(order)
        return order

    async def orders(self) -> list[RecordingOrder]:
        """All orders of the last day, those that are over too. Raises NotesError."""
        notes = await self._orders_shelf.page(limit=MOST_ORDERS)
        orders = [msgspec.json.decode(note.value, type=RecordingOrder) for note in notes]
        now = self._clock()
        self._filled &= {order.id for order in orders}
        self._standing = [order for order in orders if order.until > now and order.id not in self._filled]
        self._fresh_until = time.monotonic() + _FRESH_SECONDS
        return sorted(orders, key=lambda order: -order.until)

    async def taken(self, order: str) -> list[TakenRecording]:
        """What was recorded for an order so far. Raises NotesError."""
        notes = await self._taken_shelf.page(f"{order}:", limit=MOST_CASSETTES)
        taken = [msgspec.json.decode(note.value, type=TakenRecording) for note in notes]
        return sorted(taken, key=lambda one: one.call.place)

    async def cassette(self, order: str, call: str) -> bytes | None:
        """The file of a cassette; None where there is none (any more). Raises NotesError."""
        packed = await self._cassettes.get(f"{order}:{call}")
        return None if packed is None else await asyncio.to_thread(gzip.decompress, packed)

    async def forget(self, order: str) -> bool:
        """Forget an order and what was recorded for it; whether there was one. Raises NotesError."""
        for note in await self._taken_shelf.page(f"{order}:", limit=MOST_CASSETTES):
            call = msgspec.json.decode(note.value, type=TakenRecording).call.id
            await self._cassettes.delete(f"{order}:{call}")
            await self._taken_shelf.delete(note.key)
        known = await self._orders_shelf.delete(order)
        self._standing = [one for one in self._standing if one.id != order]
        return known
