"""Scripts that only promise an answer, to be had elsewhere (protocol.md 5.6).

Rule: all tell the same in the stream; what becomes of the promise is in `HANDOFFS`. The answer is that of the
script that the directive `then` names.
"""

import msgspec

from shim.standin.scripts.saying import Steps, conversation_detail, here, plain
from shim.standin.steps import Turn, Typed


class Promise(msgspec.Struct, frozen=True):
    """How P/f/conversation/resume keeps it: whether it answers at all, and how often it breaks off first."""

    resumable: bool = True
    cuts: int = 0


HANDOFFS = {
    "handoff": Promise(),
    "handoff_poll": Promise(resumable=False),
    "handoff_cut": Promise(cuts=1),
    "handoff_late": Promise(),
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


def handoff_late(turn: Turn) -> Steps:
    """A Pro turn: first a message of its tool, then the handoff, then what else ends a stream (recorded 2026-07)."""
    yield turn.start(turn.message("tool", plain(""), name="a8km123", metadata={"model_slug": turn.slug}))
    yield _promise(turn)
    metadata = {"plan_type": turn.plan, "model_slug": turn.slug, "pro_mode_turn_topic_streaming": True}
    yield Typed({"type": "server_ste_metadata", "metadata": metadata, **here(turn)})
    yield Typed(conversation_detail() | here(turn))


def _promise(turn: Turn) -> Typed:
    topic = f"conversation-turn-{turn.exchange_id}"
    kinds = {
        "both": ("resume_sse_endpoint", "subscribe_ws_topic"),
        "resume": ("resume_sse_endpoint",),
        "socket": ("subscribe_ws_topic",),
        "none": (),
    }[turn.options]
    options = [{"type": kind, "topic_id": topic} for kind in kinds]
    event = {"type": "stream_handoff", **here(turn), "turn_exchange_id": turn.exchange_id, "options": options}
    return Typed(event)
