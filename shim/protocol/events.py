"""What the answer consists of, whichever encoding it came in: the pieces in the middle.

Rule: events are facts in the order they happened. They say nothing of OpenAI's format and nothing of ChatGPT's.
"""

from typing import Literal

import msgspec

from shim.errors import GatewayError

EndReason = Literal["stop", "length", "content_filter", "tool_calls"]


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


class FileRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file upstream holds: by its id (a picture), or by its path in the sandbox together with the message that links
    to it. `conversation_id` is where it came up."""

    conversation_id: str | None = None
    message_id: str | None = None
    file_id: str | None = None
    sandbox_path: str | None = None
    title: str | None = None


class Drawing(Event, frozen=True, gc=False):
    """The model has a tool make a picture. Whether one comes of it is still to be seen."""


class Preview(Event, frozen=True, gc=False):
    """A picture as far as it has been made: the `number`-th look at it, from 0. It may be looked at again, be followed
    by the finished one, or by nothing."""

    file: FileRef
    number: int


class Picture(Event, frozen=True, gc=False):
    """A picture the answer shows, finished. The size (pixels) is what upstream says of it, `prompt` is what its tool
    was asked for; both only where that is said."""

    file: FileRef
    width: int | None = None
    height: int | None = None
    prompt: str | None = None


class FileLink(Event, frozen=True, gc=False):
    """The target of a link in the answer's text, where upstream wrote `sandbox:/...`: it stands between two pieces of
    text, as an address does between the brackets of a Markdown link."""

    file: FileRef


class Link(msgspec.Struct, frozen=True):
    """A page that is cited."""

    title: str
    url: str


class Searched(Event, frozen=True, gc=False):
    """The model has searched the web by itself, for `query`; `found` are the pages, as far as upstream names them."""

    query: str
    found: tuple[Link, ...] = ()


class Citation(Event, frozen=True, gc=False):
    """A citation in the answer's text: what is shown in the marker's place, and the pages it names."""

    text: str
    links: tuple[Link, ...] = ()


class Called(Event, frozen=True, gc=False):
    """One tool call, whole and valid. `arguments` is JSON as text."""

    id: str
    name: str
    arguments: str


class Unusable(Event, frozen=True, gc=False):
    """The answer ended and is not what the client asked for. `answer` is what the model wrote, `complaint` what it is
    to be told for another try. An event for the exchange, never for the client."""

    answer: str
    complaint: str


class Finished(Event, frozen=True, gc=False):
    """The end, and the only good one. `stop` is the client's stop sequence that it came before."""

    reason: EndReason
    stop: str | None = None


class Failed(Event, frozen=True, gc=True):
    """The end, and a bad one: what goes to the client as a status before the first byte, in band after it."""

    # The collector has to see it, which has to be said, for gc=False is inherited: an exception holds its traceback,
    # that the frames, and these the event.

    error: GatewayError


Delta = TextDelta | ReasoningDelta | CodeDelta | ToolOutput
