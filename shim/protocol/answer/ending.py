"""How an answer ends: what is known of its end, and what follows from that.

Upstream says that an answer is over in several ways, not all of them true, and may move it elsewhere on the way
(protocol.md 5.6, 6.5, 9.4). What is known of the end:

    reason      upstream has said that the answer is complete (`end_turn`, a length cut, `message_stream_complete`)
    said        something but reasoning was shown
    promised    a picture was promised that has not come
    handed off  the stream said that it is not all of the answer, and by which ways the rest can be had
    moved       upstream said that it goes on in the background
    failure     a picture failed, and nothing was said after it

and what may be asked of it, each answered by one table below:

    the stream says it is over     ELSEWHERE: does the answer go on somewhere? else it concludes
    the stream broke, or just ended   the same, and then: can the stream be opened again? else it fails
    it concludes                   CONCLUSIONS: finished, or which failure it is

Rule: the tables are read from the top, and the first row that applies decides. Everything that can be repeated is
counted, so that every loop ends.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from shim.chatgpt.stream import Message
from shim.errors import GatewayError, UpstreamError
from shim.protocol.answer.content_types import asks_user, is_answer
from shim.protocol.answer.follow_up import RESUMES, Continue, FollowUp, Poll, Resume, Socket
from shim.protocol.events import EndReason

Way = Literal["resume", "socket", "poll"]

# finish_details.type -> finish_reason. What is not here (also "interrupted") is a stop.
_FINISH_REASONS: dict[str, EndReason] = {"max_tokens": "length"}
_MOST_BREAKS = 60  # of streams within one answer, which lasts minutes
_MAX_HANDOFFS = 12  # within one answer; more have not been seen, and each leads to a call


class Ending(msgspec.Struct):
    """What is known of an answer's end. The display's share of it is brought up to date before a question is asked
    (`said`, `promised`, `message_id`, `pictures`)."""

    continue_times: int = 0
    kept: bool = True  # upstream keeps this chat, so that it can be read; a temporary one can't
    conversation_id: str | None = None
    message_id: str | None = None
    token: str | None = None  # for opening the stream again; the newest that upstream gave, and a secret
    reason: EndReason | None = None
    said: bool = False
    promised: bool = False
    pictures: int = 0  # how many were shown
    failure: GatewayError | None = None
    handed_off: bool = False
    ways: tuple[Way, ...] = ()  # how what was handed off can still be had, best first
    topic_id: str | None = None
    turn_id: str | None = None
    handoffs: int = 0
    moved: bool = False
    draws: bool = False  # a tool that makes pictures was called, so what goes on in the background is a picture
    followed: bool = False  # the open stream is one of those ways
    research: bool = False  # what was said is only that it has begun
    reported: bool = False
    asks: bool = False  # the model asked its user for input, which can't be given through an API
    asked: str = ""  # the words of that question, where they are not shown as an answer
    failures: int = 0  # of opening the stream again, in a row
    breaks: int = 0  # of all its streams

    def __post_init__(self) -> None:
        self.ways = ("poll",) if self.kept else ()  # an answer whose stream is lost for good can still be looked for

    def is_answer(self, reason: EndReason) -> bool:
        """Whether an answer that ends for `reason` is one: without text it has to have been stopped from outside."""
        return self.said or reason != "stop"

    @property
    def is_whole(self) -> bool:
        """Whether the answer has ended well, all of it."""
        under_way = self.promised or (self.research and not self.reported)
        return self.reason is not None and self.is_answer(self.reason) and not under_way

    def note(self, message: Message, *, shown: bool, answers: bool) -> None:
        """What a message of the assistant says of the end. `shown` tells whether anything of it is, `answers` whether
        that is text of the answer."""
        details = message.metadata.finish_details
        kind = details.get("type") if isinstance(details, dict) else None
        reason = _FINISH_REASONS.get(kind) if isinstance(kind, str) else None
        if asks_user(message):
            self.asks = True
            if not shown and message.content.content_type in ("text", "multimodal_text"):
                parts = message.content.parts if isinstance(message.content.parts, list) else []
                self.asked = "".join(part for part in parts if isinstance(part, str))
            self.reason = self.reason or ("stop" if message.end_turn is True else None)
        # A message that was cut for its length has no `end_turn`, and one that only calls a tool ends nothing.
        if (message.end_turn is True and is_answer(message)) or (reason is not None and answers):
            self.reason = reason or "stop"

    def hand_off(self, options: Any, turn_id: Any) -> None:
        """The stream is not all of the answer. `options` lists how the rest can be had; a list that is empty, or is
        none at all, rules nothing out. The stream that it led to may say the same again, which means nothing."""
        turn_id = turn_id if isinstance(turn_id, str) else None
        if (turn_id is not None and turn_id == self.turn_id) or self.handoffs >= _MAX_HANDOFFS:
            return
        self.handed_off, self.turn_id = True, turn_id
        self.handoffs += 1
        listed = [one for one in options if isinstance(one, dict)] if isinstance(options, list) else []
        topics = [one.get("topic_id") for one in listed if one.get("type") == "subscribe_ws_topic"]
        self.topic_id = next((topic for topic in topics if isinstance(topic, str)), None)
        resumed = not listed or any(one.get("type") == "resume_sse_endpoint" for one in listed)
        ways: list[tuple[Way, bool]] = [("resume", resumed), ("socket", self.topic_id is not None), ("poll", self.kept)]
        self.ways = tuple(way for way, offered in ways if offered)

    def elsewhere(self) -> FollowUp | None:
        """Where the answer goes on; None where this stream was all of it."""
        if self.conversation_id is None:
            return None
        return next((follow(self, self.conversation_id) for applies, follow in _ELSEWHERE if applies(self)), None)

    def next_way(self) -> FollowUp | None:
        """The best way that has not been tried of having what was handed off."""
        while self.ways and self.conversation_id is not None:
            way, *left = self.ways
            self.ways, self.failures = tuple(left), 0
            match way:
                case "resume":
                    return Resume(self.conversation_id, self.token, 0)
                case "socket":
                    return Socket(self.conversation_id, self.topic_id, self.turn_id)
                case "poll":
                    return Poll(self.conversation_id, "answer")
        return None

    def in_background(self, what: Literal["answer", "picture"]) -> FollowUp | None:
        """Where to wait for what upstream makes without a stream. Of a temporary chat only the socket tells."""
        if self.conversation_id is None:
            return None
        return Poll(self.conversation_id, what) if self.kept else Socket(self.conversation_id)

    def resumption(self, offset: int) -> FollowUp | None:
        """The stream again from `offset` on; where that can't be, or has failed too often in a row, another way."""
        self.failures += 1
        self.breaks += 1  # never reset: each new stream may bring something and break off again, without an end
        tired = self.failures > RESUMES.attempts or self.breaks > _MOST_BREAKS
        if self.conversation_id is None or tired or (self.token is None and offset):
            return self.next_way()
        return Resume(self.conversation_id, self.token, offset, self.failures)

    def conclusion(self) -> EndReason | GatewayError:
        """How an answer ends that goes on nowhere: its finish reason, or what it fails with."""
        return next(end(self) for applies, end in _CONCLUSIONS if applies(self))

    def left_behind(self) -> GatewayError:
        """It goes on where nobody followed, or nobody can."""
        sentence = "Upstream moved this answer elsewhere, where it was not followed"
        if not self.kept:
            sentence += (
                ". Temporary chats can't be read there: KEPT_FOR_HANDOFF=true asks models that do this in a kept chat, "
                "which is deleted afterwards, HISTORY_DISABLED=false keeps all chats"
            )
        return UpstreamError(sentence, code="stream_handoff")

    def cut(self) -> GatewayError:
        """What it means that the body just ended."""
        if self.said:
            return UpstreamError("Upstream's answer was cut off before its end", code="upstream_cut")
        return self.left_behind() if self.handed_off or self.followed else nothing_said()


def nothing_said() -> GatewayError:
    """Never an empty success."""
    return UpstreamError("Upstream ended the stream without an answer", code="empty_stream")


Applies = Callable[[Ending], bool]

_ELSEWHERE: tuple[tuple[Applies, Callable[[Ending, str], FollowUp | None]], ...] = (
    (lambda end: end.research and not end.reported, lambda end, id: Poll(id, "research")),
    # A promised picture outweighs everything: the text may be whole long before it.
    (lambda end: end.promised, lambda end, _: end.in_background("picture")),
    # A hand-off of an answer that is whole by now was overtaken by its own end.
    (lambda end: end.handed_off and not end.is_whole, lambda end, _: end.next_way()),
    # What was handed off is not where it was to be had.
    (lambda end: end.followed and not end.said and end.reason in {None, "stop"}, lambda end, _: end.next_way()),
    # What was said before it moved may be all of it; only where nothing was, there has to be more.
    (
        lambda end: end.moved and not end.said,
        lambda end, _: end.in_background("picture" if end.draws else "answer"),
    ),
    # Cut for its length, and the operator wants the rest (CONTINUE_TIMES).
    (
        lambda end: end.reason == "length" and end.continue_times > 0 and end.message_id is not None,
        lambda end, id: Continue(id, end.message_id or ""),
    ),
)

_CONCLUSIONS: tuple[tuple[Applies, Callable[[Ending], EndReason | GatewayError]], ...] = (
    (lambda end: end.failure is not None, lambda end: end.failure or nothing_said()),
    (lambda end: end.is_answer(end.reason or "stop"), lambda end: end.reason or "stop"),
    (lambda end: end.promised or end.handed_off or end.followed or end.moved, lambda end: end.left_behind()),
    (lambda _: True, lambda _: nothing_said()),
)
