"""What the stand-in has seen: counters, the last turns, and streams as they open and end.

Rule: numbers only go up until a reset; times are time.monotonic(), which tests on the same machine can compare.
"""

import time
from collections import Counter, deque
from typing import Any, Literal

import msgspec

StreamEnd = Literal["complete", "cut", "client_gone", "shutdown"]


class OpenStream(msgspec.Struct):
    """One answer on its way: who gets it, since when, and how many bytes have been handed over."""

    identity: str
    opened: float
    sent: int = 0


class TurnRecord(msgspec.Struct):
    """One accepted or refused turn as it came in; `headers` without credentials."""

    identity: str
    path: str
    headers: dict[str, str]
    conversation: Any


class EndedStream(msgspec.Struct):
    """How and when (monotonic seconds) a stream ended."""

    identity: str
    end: StreamEnd
    at: float
    sent: int


class Stats:
    """Counters of one stand-in; `report()` is what GET /standin/stats answers."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.turns: Counter[str] = Counter()
        self.proofs: Counter[str] = Counter(verified=0, refused=0, missing=0, user_agent_differs=0)
        self.exchanges: Counter[str] = Counter()  # by "refresh:NAME:GENERATION" or "session:NAME:GENERATION"
        self.conduits: Counter[str] = Counter(issued=0, presented=0, unknown=0)
        self.files: Counter[str] = Counter(announced=0, stored=0, stored_bytes=0, confirmed=0, attached=0, fetched=0)
        self.stops: Counter[str] = Counter()  # stop_conversation, by conversation
        self.sockets: Counter[str] = Counter(opened=0, refused=0)
        self.arkose: Counter[str] = Counter(issued=0, accepted=0)
        self.open: list[OpenStream] = []
        self.ended: deque[EndedStream] = deque(maxlen=1000)
        self.recent: deque[TurnRecord] = deque(maxlen=50)

    def open_stream(self, identity: str) -> OpenStream:
        """Note a stream that starts now."""
        stream = OpenStream(identity, time.monotonic())
        self.open.append(stream)
        return stream

    def end_stream(self, stream: OpenStream, end: StreamEnd) -> None:
        """Note how a stream ended."""
        # By identity: a reset may have dropped it, and two streams can be equal.
        self.open = [other for other in self.open if other is not stream]
        self.ended.append(EndedStream(stream.identity, end, time.monotonic(), stream.sent))

    def open_for(self, identity: str) -> int:
        """How many answers this caller is reading now."""
        return sum(stream.identity == identity for stream in self.open)

    def report(self) -> dict[str, Any]:
        """Everything as one JSON-ready object."""
        gone = [ended for ended in self.ended if ended.end == "client_gone"]
        return {
            "requests": dict(self.requests),
            "refusals": dict(self.refusals),
            "turns": dict(self.turns),
            "proofs": dict(self.proofs),
            "exchanges": dict(self.exchanges),
            "conduits": dict(self.conduits),
            "files": dict(self.files),
            "arkose": dict(self.arkose),
            "stops": dict(self.stops),
            "sockets": dict(self.sockets),
            "open_streams": len(self.open),
            "ended_streams": dict(Counter(ended.end for ended in self.ended)),
            "client_gone": msgspec.to_builtins(gone),
            "recent_turns": msgspec.to_builtins(list(self.recent)),
        }
