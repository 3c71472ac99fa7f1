"""One choice of an answer: a turn's events through the filters that make them what the client asked for.

    turn ──events──> [pictures as data] ──> filters (shim.protocol.shaping) ──> events for the writer
       <──────────── one more turn, where the last filter says that the answer is unusable

Rule: it is pushed, and does no I/O. What it can't go on without is in `needs`; whoever drives it does that and answers:

    None          the stream's next chunk          receive(chunk), `b""` at its end; fail(error) where it breaks
    FollowUp      the answer goes on elsewhere     Turns.advance; or fail(error, final=True) where nobody can follow
    FetchPicture  a picture is wanted as data      fetched(data URL, or None: it stays a link)
    Repair        the answer is not what was asked repaired(another turn), or give_up(error)
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import get_args

import msgspec

from shim.errors import GatewayError, UpstreamError
from shim.exchange.live_turn import LiveTurn
from shim.protocol.answer.follow_up import FollowUp
from shim.protocol.events import Citation, Delta, Event, Failed, FileRef, Finished, Picture, Preview, Unusable
from shim.protocol.shaping.filter import Filter
from shim.protocol.shaping.stop import StopSequences
from shim.protocol.shaping.token_limit import TokenLimit
from shim.protocol.transcript import Transcript


class FetchPicture(msgspec.Struct, frozen=True):
    """The picture, or a preview of one, is wanted as data rather than as a link."""

    file: FileRef


class Repair(msgspec.Struct, frozen=True):
    """Another turn is wanted, which is told what was wrong with this one."""

    unusable: Unusable


# Told apart by type alone, as this is asked of each piece.
_SAID = frozenset({*get_args(Delta), Citation})
_LIMITS = frozenset({StopSequences, TokenLimit})
Need = FetchPicture | Repair | FollowUp
Link = Callable[[FileRef, LiveTurn], str]
"""(file, the turn it came up in) -> the address under which a client can have it"""


class Choice:
    """One choice. `inline`: pictures are wanted as data, and of each the first `previews` looks at it. `link` is asked
    for all other files, and for pictures that can't be fetched. An answer of more than `max_bytes` fails: an upstream
    that never ends would fill the memory."""

    def __init__(self, turn: LiveTurn, link: Link, *, max_bytes: int, inline: bool = False, previews: int = 0) -> None:
        self.turn = turn
        self.transcript = Transcript()
        self._link, self._inline, self._previews = link, inline, previews
        self._room = max_bytes
        self._filters: Sequence[Filter] = ()
        self._data: dict[FileRef, str] = {}  # pictures that were fetched, as data URLs
        self._waiting: deque[Event] = deque()  # what comes from the picture on that is being fetched
        self._need: FetchPicture | Repair | None = None
        self._as_upstream_has_it = self._repaired = False

    def set_filters(self, filters: Sequence[Filter]) -> None:
        """The filters of this choice; they may ask for its links, and so come after it."""
        self._filters = filters

    @property
    def needs(self) -> Need | None:
        """What it can't go on without; None: the stream's next chunk."""
        return self._need or self.turn.answer.follow

    @property
    def reads_on(self) -> bool:
        """Whether all it needs is its response's next chunk, however long that takes: nearly always. A forgetful turn
        needs upstream told as soon as its chat has a name."""
        turn = self.turn
        plain = self._need is None and not turn.reopened and not turn.forgetful
        return plain and turn.answer.follow is None and not turn.answer.seems_whole

    @property
    def ended(self) -> bool:
        """Whether its last event has been given."""
        return self.transcript.ended

    @property
    def is_as_upstream_has_it(self) -> bool:
        """Whether neither more nor less was given than stands upstream: nothing was cut off, and nothing repaired."""
        return self._as_upstream_has_it and not self._repaired

    def link(self, file: FileRef) -> str:
        """The address under which the client can have `file`: a data URL where that is wanted and could be had."""
        return self._data.get(file) or self._link(file, self.turn)

    # --- in -----------------------------------------------------------------------------------------------------------

    def begin(self) -> list[Event]:
        """The events that the turn came with."""
        # They were read before the head went out, since a failure among them had to become a status.
        first, self.turn.first = self.turn.first, []
        return self.take(first) if self._inline else self._shape(first)

    def receive(self, chunk: bytes) -> list[Event]:
        """The events for the writer that `chunk` completes. `b""` is the end of the stream."""
        events = self.turn.note(self.turn.answer.receive(chunk))
        # Only pictures that are wanted as data may hold up what comes after them.
        return self.take(events) if self._inline else self._shape(events)

    def fail(self, error: GatewayError, *, final: bool = False) -> list[Event]:
        """The same where the stream ends with a failure. An answer that was whole already stays so."""
        return self.take(self.turn.note(self.turn.answer.abort(error, final=final)))

    def fetched(self, data: str | None) -> list[Event]:
        """The picture that was needed, as a data URL; None: it stays a link."""
        assert isinstance(self._need, FetchPicture)  # noqa: S101  `needs` said so
        file, self._need = self._need.file, None
        if data is not None:
            self._data[file] = data
            self._room -= len(data)
        picture, rest = self._waiting.popleft(), list(self._waiting)
        self._waiting.clear()
        shaped = self._shape([picture])
        # As data it may be more than an answer may have, and nothing follows a failure.
        return shaped if self.ended else shaped + self.take(rest)

    def repaired(self, turn: LiveTurn) -> list[Event]:
        """The turn that was needed, at its head."""
        self.turn, self._need, self._repaired = turn, None, True
        for one in self._filters:
            one.restart()
        return self.begin()

    def give_up(self, error: GatewayError) -> list[Event]:
        """The turn that was needed can't be had."""
        self._need = None
        failed = Failed(error)
        self.transcript.add(failed)
        return [failed]

    def take(self, events: list[Event]) -> list[Event]:
        """What events of the turn come to. From a picture on that has to be fetched first, they wait."""
        if self._waiting:
            self._waiting += events
            return []
        if self._inline:
            for place, event in enumerate(events):
                match event:
                    case Preview(number=number) if number >= self._previews:
                        continue
                    case Picture(file=file) | Preview(file=file) if file not in self._data:
                        shaped = self._shape(events[:place])
                        self._waiting.extend(events[place:])
                        self._need = FetchPicture(file)
                        return shaped
        return self._shape(events)

    def close(self) -> None:
        """Let go of upstream and of the account; closing again does nothing."""
        self._filters = ()  # some know us: whatever goes in a circle costs a visit of the collector
        self.turn.close()

    # --- through ------------------------------------------------------------------------------------------------------

    def _shape(self, events: list[Event]) -> list[Event]:
        said = "".join([event.text for event in events if type(event) in _SAID])  # type: ignore[attr-defined]
        # In bytes, as the setting says; `isascii` is a flag of the string, so that most pieces are not encoded for it.
        self._room -= len(said) if said.isascii() else len(said.encode())
        if self._room < 0 and events and not isinstance(events[-1], Finished | Failed):
            text = "The answer is longer than MAX_ANSWER_BYTES allows"
            events = [*events, Failed(UpstreamError(text, code="upstream_too_large"))]
        # The end apart from the rest, for it shows whether a filter had decided before upstream ended.
        end = events[-1:] if events and type(events[-1]) is Finished else []
        shaped = events[:-1] if end else events
        for one in self._filters:
            shaped = one.receive(shaped)
        if end:
            cut_off = False
            for one in self._filters:
                # By any of them before upstream's own end; at it by a limit, while the others decide there as a rule.
                cut_off = cut_off or one.decided
                end = one.receive(end)
                cut_off = cut_off or (one.decided and type(one) in _LIMITS)
            self._as_upstream_has_it = not cut_off
            shaped = [*shaped, *end]
        if shaped and type(last := shaped[-1]) is Unusable:
            shaped.pop()
            self._need = Repair(last)
        add = self.transcript.add
        for event in shaped:
            add(event)
        return shaped
