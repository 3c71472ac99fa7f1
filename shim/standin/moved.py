"""Answers that are not, or not only, told in the turn's own stream: handed off, or broken in the middle (5.6, 5.7).

Rule: an answer is encoded once. A resume goes on at the number of an event, and the socket tells the same events, so
that whoever counts or keeps state wrongly is found out.
"""

from collections.abc import Iterator

import msgspec

from shim.standin.directives import Directives
from shim.standin.encode import DONE
from shim.standin.scripts import Promise
from shim.standin.steps import Turn

ANNOUNCEMENT = b"event: delta_encoding\n"


class Handoff(msgspec.Struct):
    """An answer that can be had elsewhere: all its events as they are on the wire, how the promise is kept, and how
    often its streams still break off (in the middle of an event) before one of them comes to the end."""

    turn: Turn
    frames: list[bytes]
    promise: Promise
    directives: Directives
    breaks: int = 0
    temporary: bool = False
    stopped: bool = False
    resumed: int = 0

    @property
    def topic_id(self) -> str:
        """The topic of the socket it is told on."""
        return f"conversation-turn-{self.turn.exchange_id}"

    def told_from(self, offset: int) -> Iterator[bytes]:
        """The events from number `offset` on. The announcement of the encoding is number 0; comments, empty data lines
        and [DONE] have no number."""
        if self.directives.announce and offset:
            yield ANNOUNCEMENT + b'data: "v1"\n\n'
        frames, number = [], 0
        for frame in self.frames:
            if number >= offset:
                frames.append(frame)
            number += is_counted(frame)
        if not self.breaks:
            yield from frames
            return
        self.breaks -= 1
        half = max(1, len(frames) // 2)
        yield from frames[:half]
        if half < len(frames):
            yield frames[half][: len(frames[half]) // 2]


def is_counted(frame: bytes) -> bool:
    """Whether an event has a number: it says something, and that is not [DONE]."""
    said = [line[5:].strip() for line in frame.split(b"\n") if line.startswith(b"data:")]
    return any(said) and said != [DONE.encode()]
