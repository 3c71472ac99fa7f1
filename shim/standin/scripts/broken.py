"""Scripts that go wrong inside the stream (protocol.md 9.4)."""

from shim.standin.scripts.saying import Steps, some_text
from shim.standin.steps import Cut, StreamError, Turn


def error(turn: Turn) -> Steps:
    """An error after some text (protocol.md 9.4)."""
    yield from some_text(turn)
    yield StreamError("Something went wrong while generating the response.", "patched")


def error_object(turn: Turn) -> Steps:
    """The same with an object instead of a sentence, as a root of its own."""
    yield from some_text(turn)
    yield StreamError({"message": "The server had an error.", "code": "server_error"}, "root", "server_error")


def error_first(_: Turn) -> Steps:
    """An error before any output."""
    yield StreamError("Something went wrong. Please try again.", "root")


def error_limit(_: Turn) -> Steps:
    """A limit told inside the stream, before any output: a client should take it for 429 (protocol.md 9.4)."""
    yield StreamError("You have sent too many messages. Please try again later.", "detail")


def error_typed(_: Turn) -> Steps:
    """An error as a typed event, before any output."""
    yield StreamError({"message": "Internal error", "code": "internal_error"}, "typed")


def error_policy(_: Turn) -> Steps:
    """A refusal by content policy inside the stream."""
    yield StreamError({"message": "This may violate our content policies.", "code": "content_policy_violation"}, "root")


def cut(turn: Turn) -> Steps:
    """Some text, then the body just ends."""
    yield from some_text(turn)
    yield Cut()


def cut_first(_: Turn) -> Steps:
    """The body ends before any output."""
    yield Cut()
