"""Where an answer goes on when its stream does not: resumed, on the socket, polled for, or continued (protocol.md 4.1,
5.6 to 5.8, 6.5).

Rule: the answer decides, this room builds the calls, the exchange performs them. A paused answer has `follow` set and
is not `ended`; whoever reads it does what `follow` says until it is None again:

    while not answer.ended:
        match answer.follow:
            case None:       events = answer.receive(chunk of the open stream, b"" at its end)
            case Poll():     events = answer.read_conversation(driver.run(poll(upstream, follow)))
            case Resume():   send driver.run(resume(upstream, follow, chance)) as a stream
            case Socket():   open the account's socket and read the turn's topic as a stream (`socket`)
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
from shim.protocol.commands import Handshake, HttpReply, HttpRequest, Wait, ask
from shim.protocol.refusals import refusal_of
from shim.protocol.upstream import Upstream

StreamState = Literal["streaming", "complete", "failed", "unknown"]


class Resume(msgspec.Struct, frozen=True):
    """Open the stream again. `offset` events of it have been read; `token` is the newest that upstream gave, and a
    secret. Without one only the beginning can be asked for."""

    conversation_id: str
    token: str | None
    offset: int
    attempt: int = 0

    def __repr__(self) -> str:
        return f"Resume({self.conversation_id!r}, offset={self.offset}, attempt={self.attempt})"


class Socket(msgspec.Struct, frozen=True):
    """Read the answer on the account's socket (5.7): the topic of the turn, or, where there is none (a picture that was
    promised in a temporary chat), what is told of the conversation."""

    conversation_id: str
    topic_id: str | None = None
    turn_id: str | None = None


class Poll(msgspec.Struct, frozen=True):
    """Read the conversation until it holds the answer, the pictures that were promised, or the report. `wait` is how
    long upstream asked to be left alone, or how long two looks have to be apart; seconds, and never less than the
    rhythm says."""

    conversation_id: str
    what: Literal["answer", "picture", "research"]
    attempt: int = 0
    wait: float = 0.0


class Continue(msgspec.Struct, frozen=True):
    """Ask for the rest of a message that was cut for its length."""

    conversation_id: str
    message_id: str


FollowUp = Resume | Socket | Poll | Continue


class Look(msgspec.Struct, frozen=True):
    """What one look at a conversation showed. `body` is empty where there was nothing to read yet; `gone` says that
    upstream has no such conversation, `later` in how many seconds it wants to be asked again."""

    state: StreamState = "unknown"
    body: bytes = b""
    gone: bool = False
    later: float = 0.0


class Rhythm(msgspec.Struct, frozen=True):
    """Waits that grow: the first, what each is of the one before, the longest (seconds), how many there are, and how
    long each is once ten minutes have passed."""

    first: float
    growth: float
    longest: float
    attempts: int
    late: float = 0.0

    def wait(self, attempt: int) -> float:
        """How long to wait before this attempt (from 0)."""
        grown = min(self.longest, self.first * self.growth ** min(attempt, 64))
        return self.late if self.late and attempt * self.longest > _TEN_MINUTES else grown


_TEN_MINUTES = 600.0
# The browser's policy for streams (5.6: min(300 * 1.5^n, 5000) ms, n from 1). For polls ours (5.8): once a minute after
# ten minutes, because reading too often is answered with 429, and that hits the account's owner, too. TOTAL_TIMEOUT
# ends an answer long before its attempts do. A picture is waited for some five minutes.
RESUMES = Rhythm(0.45, 1.5, 5.0, 12)
POLLS = {
    "picture": Rhythm(2.0, 1.5, 10.0, 33),
    "answer": Rhythm(2.0, 1.5, 30.0, 360, late=60.0),
    "research": Rhythm(20.0, 3.0, 60.0, 240),  # half an hour is normal; once a minute at most
}
LOOKS_APART = 5.0
"""Seconds between the two looks that have to show the same pictures (6.5)."""
SILENCE = 60.0
"""Seconds without a byte after which a stream that was opened again, or a socket, counts as lost."""

# What a refused resume means: it is tried again, or there is nothing to resume. Any other status is a refusal for good.
_PASSING = frozenset({408, 409, 425, 429, 502, 504})
_NOT_TO_BE_RESUMED = frozenset({404, 410, 500, 503})  # 410: persisted_final_available
# A conversation that can't be read now. The plural read was added later, and either has been missing (5.8).
_LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504, *range(520, 525)})
_MISSING = frozenset({404, 405})
_STATES: dict[str, StreamState] = {"IS_STREAMING": "streaming", "COMPLETE": "complete", "FAILURE": "failed"}
_MAX_LATER = 300.0


def resume(upstream: Upstream, follow: Resume, chance: float = 1.0) -> Handshake[HttpRequest]:
    """The call that opens the stream again, when it is time. After a handoff there is nothing to wait for. `chance`
    (0 to 1) spreads the waits, so that clients that were lost together do not come back together."""
    if follow.attempt:
        yield Wait(RESUMES.wait(follow.attempt - 1) * (0.5 + chance / 2))
    body = _encode({"conversation_id": follow.conversation_id, "offset": follow.offset})
    headers = {"x-conduit-token": follow.token} if follow.token else {}
    return upstream.post("f/conversation/resume", body, headers, stream=True)


def poll(upstream: Upstream, follow: Poll) -> Handshake[Look]:
    """One look at the conversation, when it is time.

    An answer that is still being written is not read: the status is asked for first, which is small. Raises the
    GatewayError of a refusal that will not pass.
    """
    yield Wait(max(POLLS[follow.what].wait(follow.attempt), follow.wait))
    id = quote(follow.conversation_id, safe="")
    status = yield from ask(upstream.get(f"conversation/{id}/stream_status"))
    if status.status in _LATER:
        return Look(later=_retry_after(status))
    if status.status not in {200, *_MISSING}:
        raise refusal_of(status.status, status.headers, status.body)
    state: StreamState = "unknown"
    if status.status == 200:
        try:
            state = _STATES.get(_status_decoder.decode(status.body).status, "unknown")
        except (ValueError, RecursionError):
            state = "unknown"  # what can't be read says as little as a state that nobody knows
    if state == "streaming":
        return Look(state)
    reply = yield from ask(upstream.get(f"conversation/{id}"))
    if reply.status in _MISSING:
        reply = yield from ask(upstream.get(f"conversations/{id}?include_has_versions=true&num_turns=10"))
    if reply.status == 200:
        return Look(state, reply.body)
    if reply.status in _MISSING:
        return Look(state, gone=True)
    if reply.status in _LATER:
        return Look(state, later=_retry_after(reply))
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


def is_passing(status: int) -> bool:
    """Whether a resume that was answered with this status is worth another try."""
    return status in _PASSING


def has_nothing_to_resume(status: int) -> bool:
    """Whether this status says that the answer has to be had in another way."""
    return status in _NOT_TO_BE_RESUMED


def _retry_after(reply: HttpReply) -> float:
    """What upstream asks for: it is obeyed, but an answer is not kept waiting for more than some minutes."""
    after = reply.headers.get("retry-after", "")
    return min(float(after), _MAX_LATER) if after.isdecimal() else 0.0


class _Status(msgspec.Struct):
    status: str = ""


_status_decoder = msgspec.json.Decoder(_Status)
_encode = msgspec.json.Encoder().encode
