"""Answers that go on without their client: started, looked at, ended; and taken over where their gateway is gone.

    start ──record: queued──> task ──beats, progress, events──> notes ──the end──> record
    look  ──here──> as it is
       └────elsewhere──> beat is fresh: as it is; beat is old: taken over ──kept chat──> read there
                                                                     └───temporary──> failed

Rule: whoever answers for one writes a beat, and no job outlives its beats: the next one who looks takes it over, or
ends it. Nothing that is written holds a credential, so only its own client can have it taken over.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import msgspec

from shim.accounts.credentials import Caller
from shim.errors import DeadlineError, GatewayError, RequestError, UnavailableError, UpstreamError
from shim.exchange.clock import Clock
from shim.exchange.exchange import ClientCall, Exchange
from shim.exchange.kept import KeptAnswers
from shim.exchange.live_turn import LiveTurn
from shim.notes import Notes, NotesError, needed
from shim.protocol.api import BackgroundKeeping, JobState

T = TypeVar("T")

BEAT = 1.0
"""Seconds between two beats"""
STALE = 10.0
"""Seconds after which a beat tells that whoever wrote it is gone"""
KEPT_SECONDS = 86400.0
# Half of what a request may have: it is read and written as a whole, by a store that others wait for.
LARGEST_REQUEST = 16 * 1024 * 1024
MOST_REQUESTS = 1_000
"""Jobs of one worker, and requests that are noted: more would lose what the oldest could be taken over by"""
LARGEST_EVENTS = 4 * 1024 * 1024
_SOON = 0.3  # seconds between two looks at a job of another gateway
_END = b"\n\n"  # of an event
_MOST_EVENTS = 1000  # pieces of a stream that are read at once

log = logging.getLogger("chat2api")

Opener = Callable[[ClientCall], Awaitable[Exchange]]
"""Opens the exchange of a call, which it also closes when the job is over"""


class Beat(msgspec.Struct, frozen=True):
    """A sign of life (seconds since 1970): where the answer can be found without us, and how many events were told."""

    at: float
    id: str
    created: int
    conversation: str | None = None
    passing: bool = False
    events: int = 0


class Job:
    """One that runs here. `size` is that of its request in bytes, which no connection of a client's bounds."""

    def __init__(self, call: ClientCall, owner: str, keeping: BackgroundKeeping, size: int = 0) -> None:
        assert call.id is not None and call.created is not None  # noqa: S101, PT018  `Jobs.start` has set both
        self.call, self.owner, self.keeping, self.size = call, owner, keeping, size
        self.id, self.created = call.id, call.created
        self.name = keeping.known_as(call.id)
        self.pieces: list[bytes] = []
        self.first = self.count = 0  # events before them, and with them
        self.unsaved: list[bytes] = []
        self.written = -1  # how much had been said when the record was written
        self.exchange: Exchange | None = None
        self.over = self.cancelled = False
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.error: GatewayError | None = None

    @property
    def turn(self) -> LiveTurn | None:
        """The turn upstream, as soon as it was taken."""
        return self.exchange.choices[0].turn if self.exchange is not None else self.call.attempted.live

    async def hear(self, data: bytes) -> None:
        """More of the stream."""
        if data and self.keeping.streamed:
            self.pieces.append(data)
            self.unsaved.append(data)
            self.count += data.count(_END)
        self.wake()

    def wake(self) -> None:
        """Whoever follows looks again."""
        self.changed.set()
        self.changed = asyncio.Event()

    def when_over(self, then: Callable[[], None]) -> None:
        """Call it once the job is over, however that comes."""
        assert self.task is not None  # noqa: S101  `Jobs.start` has set it
        self.task.add_done_callback(lambda _task: then())

    def under_way(self, state: JobState = "in_progress", error: GatewayError | None = None) -> bytes:
        """The record as it is now."""
        return self.keeping.without_end(self.id, self.created, state, answer=self.exchange, error=error)


class Jobs:
    """Made once per worker, whose jobs may have `most_bytes` of requests together, and take `longest` seconds each."""

    def __init__(self, kept: KeptAnswers, notes: Notes, clock: Clock, *, most_bytes: int, longest: float) -> None:
        self._kept, self._clock, self._most_bytes, self._longest = kept, clock, most_bytes, longest
        self._requests = notes.shelf("requests", most=MOST_REQUESTS, largest=LARGEST_REQUEST)
        self._beats = notes.shelf("beats", most=4_000)
        self._events = notes.shelf("events", largest=LARGEST_EVENTS)
        self._jobs: dict[str, Job] = {}
        self._closing = False

    # --- from outside -------------------------------------------------------------------------------------------------

    async def start(self, call: ClientCall, keeping: BackgroundKeeping, request: bytes, opener: Opener) -> Job:
        """Begin; it is queued when this returns. `request` is what the call was read from. Raises UnavailableError
        where the store is away, for then nobody could ask for it, and where there are too many already; RequestError
        (413) for a request that is too long."""
        held = sum(job.size for job in self._jobs.values()) + len(request)
        if len(self._jobs) >= MOST_REQUESTS or held > self._most_bytes:
            raise UnavailableError(
                "Too many answers go on in the background just now; try again in a moment",
                code="too_many_in_background",
                retry_after=10.0,
            )
        id, created = self._clock.new_id().replace("-", ""), int(self._clock.now())
        call = msgspec.structs.replace(call, id=id, created=created)
        job = Job(call, call.caller.scope, keeping, len(request))
        key = _key(job.owner, job.name)
        if len(request) > LARGEST_REQUEST:
            raise RequestError(
                f"A request that goes on in the background may have {LARGEST_REQUEST} bytes, and this one has "
                f"{len(request)}: leave 'background' out, or name files by their id.",
                status=413,
                param="background",
                code="request_too_large",
            )
        await _needed(self._requests.put(key, request, KEPT_SECONDS))
        await _needed(self._beats.put(key, _encode(self._beat(job)), KEPT_SECONDS))
        # The record comes last: whoever finds it finds beat and request as well, and takes nothing for abandoned.
        record = job.under_way("queued")
        await _needed(self._kept.must_write(job.owner, job.name, record))
        await job.hear(keeping.told(record, 0))
        self._run(job, opener)
        return job

    async def request_of(self, caller: Caller, name: str) -> bytes | None:
        """The request of a job whose gateway is gone, for whoever may take it over: only one who asks gets it. None
        where all is well, or nothing can be done. Raises UnavailableError."""
        owner = caller.scope
        key = _key(owner, name)
        if key in self._jobs:
            return None
        beat = await self._last_beat(key)
        if beat is not None and self._clock.now() < beat.at + STALE:
            return None
        if not await _needed(self._beats.add(_claim(key, beat), b"{}", KEPT_SECONDS)):
            return None
        request = await _needed(self._requests.get(key))
        return request or b""

    async def leave(self, caller: Caller, name: str) -> None:
        """Give back what `request_of` gave: the next one who looks gets it. Raises UnavailableError."""
        key = _key(caller.scope, name)
        await _needed(self._beats.delete(_claim(key, await self._last_beat(key))))

    async def take_over(
        self, call: ClientCall, keeping: BackgroundKeeping, name: str, rejoin: "Callable[[ClientCall, Beat], Opener]"
    ) -> Job | None:
        """Go on with a job whose gateway is gone; one that can't be found anywhere ends as failed. None where it is
        over meanwhile."""
        owner = call.caller.scope
        beat = await self._last_beat(_key(owner, name))
        if beat is None:
            return None
        job = Job(msgspec.structs.replace(call, id=beat.id, created=beat.created), owner, keeping)
        job.first = job.count = beat.events
        await _needed(self._beats.put(_key(owner, name), _encode(self._beat(job, beat)), KEPT_SECONDS))
        self._run(job, rejoin(job.call, beat) if beat.conversation else _lost, beat)
        return job

    async def cancel(self, caller: Caller, name: str) -> None:
        """End one, here or elsewhere; it is over when this returns, or will be as soon as its gateway hears of it."""
        owner = caller.scope
        key = _key(owner, name)
        if (job := self._jobs.get(key)) is not None:
            job.cancelled = True
            if job.task is not None:
                job.task.cancel()
                await asyncio.wait({job.task})
            return
        await _needed(self._beats.put(f"{key}:cancel", b"{}", KEPT_SECONDS))
        # For as long as a beat may be old: after that its gateway is gone, and nothing is left to be ended.
        for _ in range(int(STALE / _SOON)):
            beat = await self._last_beat(key)
            if beat is None or self._clock.now() > beat.at + STALE:
                return
            await asyncio.sleep(_SOON)

    async def follow(
        self, caller: Caller, name: str, after: int, over: Callable[[], Awaitable[bool]]
    ) -> AsyncGenerator[bytes]:
        """The events of a job behind the one that is numbered `after`, until it is over, of which `over` tells where it
        runs elsewhere. Raises UnavailableError."""
        key = _key(caller.scope, name)
        seen, last = 0, ""  # events, and the key of the last note that was read
        while True:
            job = self._jobs.get(key)
            if job is not None and seen >= job.first:
                async for event in _heard(job, seen, after):
                    yield event
                return
            ended = job is None and await over()
            notes = await _needed(self._events.page(f"{key}:", after=last or None, limit=_MOST_EVENTS))
            for note in notes:
                seen, last = int(note.key.rpartition(":")[2]), note.key
                for event in note.value.split(_END)[:-1]:
                    if seen > after:
                        yield event + _END
                    seen += 1
            if not notes:
                if ended:
                    return
                await asyncio.sleep(_SOON)

    async def close(self) -> None:
        """Let go of all that run here: they are left to whoever looks next."""
        self._closing = True
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one ----------------------------------------------------------------------------------------------------------

    def _run(self, job: Job, opener: Opener, beat: Beat | None = None) -> None:
        self._jobs[_key(job.owner, job.name)] = job
        job.task = asyncio.get_running_loop().create_task(self._whole(job, opener, beat))

    async def _whole(self, job: Job, opener: Opener, taken: Beat | None) -> None:
        """From its opening to its end, whatever that is."""
        key = _key(job.owner, job.name)
        answering = asyncio.ensure_future(self._answer(job, opener, taken))
        try:
            await self._watch(job, answering, taken)
        except asyncio.CancelledError:
            if job.turn is not None and not job.cancelled:
                job.turn.handed_on = True
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            if not job.cancelled:  # this gateway ends: whoever looks next goes on at once
                await self._save_events(job, key)
                await _tried(self._beats.put(key, _encode(self._beat(job, taken, at=0.0)), KEPT_SECONDS))
                raise
            await self._last_words(job, job.under_way("cancelled"))
        except GatewayError as error:
            job.error = error
            await self._last_words(job, job.under_way("failed", error))
        except Exception:  # the outermost edge of what nobody waits for: whoever asks is told that it has failed
            log.exception("an answer in the background failed")
            await self._last_words(job, job.under_way("failed", UpstreamError("The gateway failed on this request")))
        finally:
            await self._save_events(job, key)
            # A gateway that ends leaves them, for the next one goes on by them.
            if not self._closing or job.cancelled:
                for shelf in (self._beats, self._requests):
                    await _tried(shelf.delete(key))
            job.over = True
            self._jobs.pop(key, None)
            job.wake()

    async def _watch(self, job: Job, answering: "asyncio.Future[None]", taken: Beat | None) -> None:
        """Give signs of life until the answer is over, or is wanted no more. Raises DeadlineError where it takes too
        long, over all gateways that had it."""
        while not answering.done():
            await asyncio.wait({answering}, timeout=BEAT)
            if not answering.done():
                await self._live_on(job, _key(job.owner, job.name), taken)
                if job.cancelled:
                    answering.cancel()
                elif self._clock.now() > job.created + self._longest:
                    answering.cancel()
                    await asyncio.gather(answering, return_exceptions=True)
                    raise DeadlineError("The answer took longer than BACKGROUND_TIMEOUT allows")
        await answering

    async def _answer(self, job: Job, opener: Opener, taken: Beat | None) -> None:
        job.exchange = exchange = await opener(job.call)
        try:
            await self._live_on(job, _key(job.owner, job.name), taken)
            if taken is None:
                await job.hear(await exchange.run(job.hear))
                return
            # What was told before can't be told again, so that the rest is told by the end.
            await exchange.run()
            if (record := await self._kept.record(job.owner, job.name)) is not None:
                await job.hear(job.keeping.told(record, job.count))
        finally:
            exchange.close()

    async def _live_on(self, job: Job, key: str, taken: Beat | None) -> None:
        await self._save_events(job, key)
        await _tried(self._beats.put(key, _encode(self._beat(job, taken)), KEPT_SECONDS))
        if (exchange := job.exchange) is not None and not exchange.ended:
            # A model that thinks for minutes says nothing, and its record is as it was.
            said = sum(one.size + len(one.asides) for one in exchange.transcripts)
            if said != job.written:
                job.written = said
                await self._kept.write(job.owner, job.name, job.under_way())
        if await _tried(self._beats.get(f"{key}:cancel")) is not None:
            job.cancelled = True

    async def _save_events(self, job: Job, key: str) -> None:
        if not job.unsaved:
            return
        pieces, job.unsaved = b"".join(job.unsaved), []
        first = job.count - pieces.count(_END)
        await _tried(self._events.put(f"{key}:{first:08}", pieces, KEPT_SECONDS))

    async def _last_words(self, job: Job, record: bytes) -> None:
        await self._kept.write(job.owner, job.name, record)
        await job.hear(job.keeping.told(record, job.count))

    def _beat(self, job: Job, taken: Beat | None = None, *, at: float | None = None) -> Beat:
        now = self._clock.now() if at is None else at
        conversation, passing = (taken.conversation, taken.passing) if taken is not None else (None, False)
        if (turn := job.turn) is not None:
            conversation, passing = turn.found_under or conversation, turn.passing
        unsaved = sum(piece.count(_END) for piece in job.unsaved)  # events that another gateway could not read yet
        return Beat(now, job.id, job.created, conversation, passing, job.count - unsaved)

    async def _last_beat(self, key: str) -> Beat | None:
        found = await _needed(self._beats.get(key))
        return None if found is None else _decoder.decode(found)


async def _heard(job: Job, seen: int, after: int) -> AsyncGenerator[bytes]:
    """The events of a job that runs here, behind those that were seen."""
    number, place = job.first, 0
    while True:
        changed = job.changed
        for piece in job.pieces[place:]:
            place += 1
            for event in piece.split(_END)[:-1]:
                if number >= seen and number > after:
                    yield event + _END
                number += 1
        if job.over and place == len(job.pieces):
            return
        if changed is job.changed:
            await changed.wait()


async def _lost(_call: ClientCall) -> Exchange:
    raise UnavailableError("The gateway that was answering this has ended, and the chat was a temporary one")


async def _needed(step: Awaitable[T]) -> T:
    with needed("Answers can't go on in the background just now"):
        return await step


async def _tried(step: Awaitable[T]) -> T | None:
    try:
        return await step
    except NotesError as error:
        log.warning("what an answer in the background has come to is not noted: %s", error)
        return None


def _claim(key: str, beat: Beat | None) -> str:
    """The note that exactly one of those who look can write: the job, with its last sign of life."""
    return f"{key}:{beat.at if beat else 0}"


def _key(owner: str, name: str) -> str:
    return f"{owner}:{name}"


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Beat)
