"""Looks at a conversation: what reading it again and again has shown of an answer that upstream makes without a stream.

Rule: protocol.md 5.3, 5.8 and 6.5. Looks are counted, so that every wait ends.
"""

import msgspec

from shim.chatgpt.stream import Message
from shim.chatgpt.tree import Tree
from shim.protocol.answer.ending import Ending
from shim.protocol.answer.follow_up import LOOKS_APART, POLLS, Look, Poll
from shim.protocol.answer.pictures import promise_in
from shim.protocol.answer.research import ResearchState
from shim.protocol.events import Event, ReasoningDelta

RESEARCH_LOOKS = 5  # minutes until a research that shows no state has not begun
_STREAMING = 3  # an async_status (5.3); 4 says that nothing is under way any more
_UNREAD = 4
# Looks at a finished conversation that has no answer in it, until there is none.
_EMPTY_LOOKS = 3
_LONGEST_INTERVAL = 60.0  # seconds
# Looks (two minutes of them) until words that follow a promise are taken for the tool's failure to keep it.
_PATIENT_LOOKS = 14


class Looks(msgspec.Struct, eq=False):
    """The looks at one conversation, for one answer."""

    _last: frozenset[str] | None = None  # the pictures of the last look after which all seemed to be there
    _empty: int = 0
    _steps: set[str] = set()  # those of a research that were told

    def has_arrived(
        self, turn: list[Message], tree: Tree, follow: Poll, known: Ending, pictures: frozenset[str]
    ) -> bool:
        """Whether the conversation holds what was polled for. `pictures` are those that it has shown so far."""
        # Whatever there is now is not the end (5.8).
        if tree.async_status == _STREAMING:
            return False
        if follow.what == "answer":
            # A look has read the messages before it asks, so that the machine knows whether one of them ends the turn.
            return known.reason is not None
        if known.failure is not None:
            return True
        newest = turn[-1] if turn else None
        over = newest is not None and newest.end_turn is True and promise_in(newest) is None
        if known.pictures:
            # There may be more of them than were promised, and under other names.
            over = over or not known.promised or tree.async_status == _UNREAD
        else:
            over = over and known.reason is not None and (not known.promised or follow.attempt >= _PATIENT_LOOKS)
        # One more look has to show the same: the next picture may be in the making.
        before, self._last = self._last, pictures if over else None
        return over and before == self._last

    def is_empty_for_good(self) -> bool:
        """Whether one more look at a finished conversation without an answer is one too many: it may be written to
        late."""
        self._empty += 1
        return self._empty >= _EMPTY_LOOKS

    def wait(self, look: Look, turn: list[Message]) -> float:
        """Seconds until the next look: as upstream asks, in the conversation or beside it."""
        wanted = (message.metadata.poll_interval_ms for message in turn)
        asked = (min(ms / 1000, _LONGEST_INTERVAL) for ms in wanted if isinstance(ms, int | float))
        return max(look.later, LOOKS_APART if self._last else 0.0, *asked)

    def new_steps(self, state: ResearchState) -> list[Event]:
        """The steps of a research that were begun since the last look."""
        new = [(id, text) for id, text in state.begun if id not in self._steps]
        self._steps.update(id for id, _ in new)
        return [ReasoningDelta(text, opens=True) for _, text in new]


def again(follow: Poll, wait: float = 0.0) -> Poll | None:
    """The next look, if there is another."""
    attempt = follow.attempt + 1
    if attempt >= POLLS[follow.what].attempts:
        return None
    return msgspec.structs.replace(follow, attempt=attempt, wait=wait)
