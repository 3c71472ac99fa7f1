"""Scripts that only promise an answer, to be had elsewhere (protocol.md 5.6).

Rule: all three tell the same in the stream; what becomes of the promise is in `HANDOFFS`. The answer is that of the
script that the directive `then` names.
"""

import msgspec

from shim.standin.steps import Turn, Typed

from .saying import Steps, here


class Promise(msgspec.Struct, frozen=True):
    """How P/f/conversation/resume keeps it: whether it answers at all, and how often it breaks off first."""

    resumable: bool = True
    cuts: int = 0


HANDOFFS = {
    "handoff": Promise(),
    "handoff_poll": Promise(resumable=False),
    "handoff_cut": Promise(cuts=1),
}


def handoff(turn: Turn) -> Steps:
    """The answer is to be had from P/f/conversation/resume."""
    yield _promise(turn)


def handoff_poll(turn: Turn) -> Steps:
    """There is nothing to resume: the answer appears in GET conversation/{id} after `polls` looks."""
    yield _promise(turn)


def handoff_cut(turn: Turn) -> Steps:
    """The first resume breaks off in the middle; the second goes on at its offset."""
    yield _promise(turn)


def _promise(turn: Turn) -> Typed:
    topic = f"conversation-turn-{turn.exchange_id}"
    options = [{"type": kind, "topic_id": topic} for kind in ("resume_sse_endpoint", "subscribe_ws_topic")]
    event = {"type": "stream_handoff", **here(turn), "turn_exchange_id": turn.exchange_id, "options": options}
    return Typed(event)
