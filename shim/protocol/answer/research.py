"""Deep research (protocol.md 7.14): its state is JSON in a tool message of the conversation, and at last the report.

Rule: tolerant, like the stream. A state that can't be read is no state.
"""

from typing import Any

import msgspec

from shim.chatgpt.stream import Message

# Guesses, for only "completed" has been met: where none of them comes, the looks run out (7.14).
FAILED = frozenset({"failed", "error", "cancelled", "canceled"})


class Step(msgspec.Struct, frozen=True):
    """One step of the plan."""

    id: Any = None
    text: Any = None
    status: Any = None


class Plan(msgspec.Struct, frozen=True):
    """What is going to be done."""

    steps: list[Step] = []


class ResearchState(msgspec.Struct, frozen=True):
    """How far a research is."""

    status: Any = None
    plan: Plan | None = None
    report_message: Message | None = None

    @property
    def begun(self) -> list[tuple[str, str]]:
        """(id, text) of the steps that are under way or done."""
        steps = self.plan.steps if self.plan is not None else []
        return [(str(step.id), step.text) for step in steps if step.status != "pending" and isinstance(step.text, str)]


def research_state(turn: list[Message]) -> ResearchState | None:
    """The newest state in a turn's messages."""
    # Each state is the whole of it, so that the newest says all.
    for message in reversed(turn):
        kept = message.metadata.chatgpt_sdk
        text = kept.get("widget_state") if isinstance(kept, dict) and message.author.role == "tool" else None
        if isinstance(text, str):
            try:
                return _decoder.decode(text)
            except (ValueError, RecursionError):
                continue
    return None


_decoder = msgspec.json.Decoder(ResearchState)
