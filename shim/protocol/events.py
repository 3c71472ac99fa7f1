"""What the answer consists of, whichever encoding it came in: the pieces in the middle.

Rule: events are facts in the order they happened. They say nothing of OpenAI's format and nothing of ChatGPT's.
"""

import msgspec

from shim.errors import GatewayError


class Event(msgspec.Struct, frozen=True, gc=False):
    """Base of all events; never made itself."""


class Started(Event, frozen=True, gc=False):
    """The assistant began: from here on the answer has a status of 200. `slug` is the model that really answers."""

    conversation_id: str | None
    message_id: str | None
    slug: str | None


class TextDelta(Event, frozen=True, gc=False):
    """More of the answer's text. `opens` marks the first piece of a message."""

    text: str
    opens: bool = False


class ReasoningDelta(Event, frozen=True, gc=False):
    """More of what the model shows of its thinking. Never part of the answer's text."""

    text: str
    opens: bool = False


class CodeDelta(Event, frozen=True, gc=False):
    """More of the code the model hands to a tool that runs code."""

    text: str
    language: str = ""
    opens: bool = False


class ToolOutput(Event, frozen=True, gc=False):
    """More of what a code tool printed."""

    text: str
    opens: bool = False


class Finished(Event, frozen=True, gc=False):
    """The end, and the only good one. `reason` is a finish_reason: stop, length or content_filter."""

    reason: str


class Failed(Event, frozen=True, gc=False):
    """The end, and a bad one: what goes to the client as a status before the first byte, in band after it."""

    error: GatewayError


Delta = TextDelta | ReasoningDelta | CodeDelta | ToolOutput
