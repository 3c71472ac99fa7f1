"""Where an answer goes on when its stream does not: resumed, polled for, or continued (protocol.md 5.6, 6.5, 4.1).

Rule: the answer decides, this room builds the calls, the exchange performs them. A paused answer has `follow` set and
is not `ended`; whoever reads it does what `follow` says until it is None again:

    while not answer.ended:
        match answer.follow:
            case None:       events = answer.receive(chunk of the open stream, b"" at its end)
            case Poll():     events = answer.read_conversation(driver.run(poll(upstream, follow)))
            case Resume():   send driver.run(resume(upstream, follow)) as a stream
            case Continue(): shake hands anew (open_turn) for continuation(conversation, follow, new id), send that

A stream that opens (200, event stream): `answer.reopen()`, then `receive` its chunks. One that does not:
`answer.refused(reply)`. A GatewayError on the way: `answer.abort(error)`. All of these keep count, so that every loop
ends; `answer.abort(error, final=True)` ends it at once. Whoever feeds a paused answer on does not follow it: it fails.
"""

from typing import Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from shim.chatgpt.conversation import Conversation
from shim.protocol.commands import Handshake, HttpReply, HttpRequest, Send, Wait
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream


class Resume(msgspec.Struct, frozen=True):
    """Open the stream again. `offset` events of it have been read; `token` is the newest that upstream gave, and a
    secret."""

    conversation_id: str
    token: str
    offset: int
    attempt: int = 0

    def __repr__(self) -> str:
        return f"Resume({self.conversation_id!r}, offset={self.offset}, attempt={self.attempt})"


class Poll(msgspec.Struct, frozen=True):
    """Read the conversation until it holds the answer, or the picture that was promised."""

    conversation_id: str
    what: Literal["answer", "picture"]
    attempt: int = 0


class Continue(msgspec.Struct, frozen=True):
    """Ask for the rest of a message that was cut for its length."""

    conversation_id: str
    message_id: str


FollowUp = Resume | Poll | Continue


class Rhythm(msgspec.Struct, frozen=True):
    """Waits that grow: the first, what each is of the one before, the longest (seconds), and how many there are."""

    first: float
    growth: float
    longest: float
    attempts: int

    def wait(self, attempt: int) -> float:
        """How long to wait before this attempt (from 0)."""
        return min(self.longest, self.first * self.growth ** min(attempt, 64))


# The browser's policy for streams; for polls our own, within what 6.5 and 5.6 say: a picture is waited for some five
# minutes, an answer that thinks for some half an hour.
RESUMES = Rhythm(0.3, 1.5, 5.0, 12)
POLLS = {"picture": Rhythm(2.0, 1.5, 10.0, 33), "answer": Rhythm(2.0, 1.5, 5.0, 360)}

# What a refused resume, or a failed poll, means. Any other status is a refusal for good.
_PASSING = frozenset({408, 409, 425, 429, 502, 504})
_NOT_TO_BE_RESUMED = frozenset({404, 410, 500, 503})  # 410: persisted_final_available


def resume(upstream: Upstream, follow: Resume) -> Handshake[HttpRequest]:
    """The call that opens the stream again, when it is time. After a handoff there is nothing to wait for."""
    if follow.attempt:
        yield Wait(RESUMES.wait(follow.attempt - 1))
    body = _encode({"conversation_id": follow.conversation_id, "offset": follow.offset})
    return upstream.post("f/conversation/resume", body, {"x-conduit-token": follow.token}, stream=True)


def poll(upstream: Upstream, follow: Poll) -> Handshake[bytes]:
    """One look at the conversation, when it is time: its body, or nothing where there is nothing to read yet.

    An answer that is still being written is not read: the status is asked for first, which is small. Raises the
    GatewayError of a refusal that will not pass.
    """
    yield Wait(POLLS[follow.what].wait(follow.attempt))
    path = f"conversation/{quote(follow.conversation_id, safe='')}"
    if follow.what == "answer":
        status = yield Send(upstream.get(f"{path}/stream_status"))
        assert isinstance(status, HttpReply)  # noqa: S101  the driver's contract (commands.py)
        if status.status == 200 and b"IS_STREAMING" in status.body:
            return b""
    reply = yield Send(upstream.get(path))
    assert isinstance(reply, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    if reply.status == 200:
        return reply.body
    if reply.status in _PASSING:
        return b""
    raise refusal_of(reply.status, reply.headers, reply.body)


def continuation(conversation: Conversation, follow: Continue, websocket_request_id: str) -> Conversation:
    """The turn that asks for the rest: the same, without messages, below the message that was cut."""
    return msgspec.structs.replace(
        conversation,
        action="continue",
        messages=UNSET,
        parent_message_id=follow.message_id,
        conversation_id=follow.conversation_id,
        websocket_request_id=websocket_request_id,
    )


def again(follow: Resume | Poll) -> Resume | Poll | None:
    """The next attempt after a failed one: the last resort for a stream is to poll, and after that there is nothing."""
    attempt = follow.attempt + 1
    if isinstance(follow, Poll):
        return msgspec.structs.replace(follow, attempt=attempt) if attempt < POLLS[follow.what].attempts else None
    if attempt > RESUMES.attempts:
        return Poll(follow.conversation_id, "answer")
    return msgspec.structs.replace(follow, attempt=attempt)


def after_refusal(follow: Resume, status: int) -> Resume | Poll | None:
    """What comes after a resume that was answered with this status; None where nothing helps."""
    if status in _PASSING:
        return again(follow)
    return Poll(follow.conversation_id, "answer") if status in _NOT_TO_BE_RESUMED else None


_encode = msgspec.json.Encoder().encode
