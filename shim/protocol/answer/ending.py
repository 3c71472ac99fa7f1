"""How an answer ends: what is known of its end, and what follows from that.

Upstream says that an answer is over in several ways, not all of them true, and may move it elsewhere on the way
(protocol.md 5.6, 6.5, 9.4). What is known of the end:

    reason      upstream has said that the answer is complete (`end_turn`, a length cut, `message_stream_complete`)
    said        something but reasoning was shown
    promised    a picture was promised that has not come
    handed off  the stream said that it is not all of the answer
    moved       upstream said that it goes on in the background
    failure     a picture failed, and nothing was said after it

and what may be asked of it, each answered by one table below:

    the stream says it is over     ELSEWHERE: does the answer go on somewhere? else it concludes
    the stream broke, or just ended   the same, and then BROKEN: can the stream be opened again? else it fails
    it concludes                   CONCLUSIONS: finished, or which failure it is

Rule: the tables are read from the top, and the first row that applies decides. Everything that can be repeated is
counted, so that every loop ends.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from shim.errors import GatewayError, UpstreamError
from shim.protocol.answer.follow_up import RESUMES, Continue, FollowUp, Poll, Resume, again
from shim.protocol.events import EndReason


class Ending(msgspec.Struct):
    """What is known of an answer's end. The display's share of it is brought up to date before a question is asked
    (`said`, `promised`, `message_id`, `pictures`)."""

    continue_times: int = 0
    resumable: bool = False  # upstream keeps this conversation, so that a lost stream can be opened again
    conversation_id: str | None = None
    message_id: str | None = None
    token: str | None = None  # for opening the stream again; the newest that upstream gave, and a secret
    reason: EndReason | None = None
    said: bool = False
    promised: bool = False
    pictures: int = 0  # how many were shown
    failure: GatewayError | None = None
    handed_off: bool = False
    offers_stream: bool = True  # whether the hand-off can be followed by opening a stream
    moved: bool = False
    draws: bool = False  # a tool that makes pictures was called, so what goes on in the background is a picture
    resumes: int = 0  # how often a stream was opened again

    def is_answer(self, reason: EndReason) -> bool:
        """Whether an answer that ends for `reason` is one: without text it has to have been stopped from outside."""
        return self.said or reason != "stop"

    @property
    def is_whole(self) -> bool:
        """Whether the answer has ended well, all of it."""
        return self.reason is not None and self.is_answer(self.reason) and not self.promised

    def hand_off(self, options: Any) -> None:
        """The stream is not all of the answer. `options` lists how the rest can be had; a list that is empty, or is
        none at all, rules nothing out."""
        self.handed_off = True
        listed = options if isinstance(options, list) else []
        self.offers_stream = not listed or any(
            isinstance(option, dict) and option.get("type") == "resume_sse_endpoint" for option in listed
        )
        self.resumable = self.resumable or self.offers_stream

    def elsewhere(self) -> FollowUp | None:
        """Where the answer goes on; None where this stream was all of it."""
        if self.conversation_id is None:
            return None
        return next((follow(self, self.conversation_id) for applies, follow in _ELSEWHERE if applies(self)), None)

    def after_break(self, under_way: FollowUp | None, offset: int) -> FollowUp | None:
        """Where to go on after a failure of the network, or a stream that just ended after `offset` events. What was
        `under_way` is tried again."""
        if isinstance(under_way, Continue):
            return None  # a turn of its own; what it had said so far can't be told from a second try
        if under_way is not None:
            return again(under_way)
        follow = self.elsewhere()
        if follow is None and self.reason is None and self.resumable and self.token and self.conversation_id:
            return self.resumption(self.conversation_id, offset)
        return follow

    def resumption(self, conversation_id: str, offset: int) -> Resume | Poll:
        """The stream again from `offset` on; or, where that can't be or has been tried too often, the conversation."""
        self.resumes += 1
        if self.token is None or self.resumes > RESUMES.attempts:
            return Poll(conversation_id, "answer")
        # After a hand-off there is nothing to wait for.
        return Resume(conversation_id, self.token, offset, self.resumes if offset else self.resumes - 1)

    def has_arrived(self, follow: Poll) -> bool:
        """Whether the conversation holds what was polled for."""
        if follow.what == "answer":
            return self.reason is not None
        ended = self.pictures > 0 or self.failure is not None or self.reason is not None
        return ended and not self.promised

    def conclusion(self) -> EndReason | GatewayError:
        """How an answer ends that goes on nowhere: its finish reason, or what it fails with."""
        return next(end(self) for applies, end in _CONCLUSIONS if applies(self))

    def cut(self) -> GatewayError:
        """What it means that the body just ended."""
        if self.said:
            return UpstreamError("Upstream's answer was cut off before its end", code="upstream_cut")
        return left_behind() if self.handed_off else nothing_said()


def left_behind() -> GatewayError:
    """It goes on where nobody followed."""
    return UpstreamError("Upstream moved this answer elsewhere, where it was not followed", code="stream_handoff")


def nothing_said() -> GatewayError:
    """Never an empty success."""
    return UpstreamError("Upstream ended the stream without an answer", code="empty_stream")


Applies = Callable[[Ending], bool]

_ELSEWHERE: tuple[tuple[Applies, Callable[[Ending, str], FollowUp]], ...] = (
    # A promised picture outweighs everything: the text may be whole long before it.
    (lambda end: end.promised, lambda _, id: Poll(id, "picture")),
    # A hand-off of an answer that is whole by now was overtaken by its own end.
    (
        lambda end: end.handed_off and not end.is_whole,
        lambda end, id: end.resumption(id, 0) if end.offers_stream else Poll(id, "answer"),
    ),
    # What was said before it moved may be all of it; only where nothing was, there has to be more.
    (lambda end: end.moved and not end.said, lambda end, id: Poll(id, "picture" if end.draws else "answer")),
    # Cut for its length, and the operator wants the rest (CONTINUE_TIMES).
    (
        lambda end: end.reason == "length" and end.continue_times > 0 and end.message_id is not None,
        lambda end, id: Continue(id, end.message_id or ""),
    ),
)

_CONCLUSIONS: tuple[tuple[Applies, Callable[[Ending], EndReason | GatewayError]], ...] = (
    (lambda end: end.failure is not None, lambda end: end.failure or nothing_said()),
    (lambda end: end.is_answer(end.reason or "stop"), lambda end: end.reason or "stop"),
    (lambda end: end.promised, lambda _: left_behind()),
    (lambda _: True, lambda _: nothing_said()),
)
