"""The answer as a state machine: stream bytes in, events out.

    WAITING ──assistant message──> ANSWERING ──[DONE], end of input, block──> ENDED
       └────────error, [DONE] or end of input with nothing shown─────────────────┘

Rules (protocol.md 5, 6.5 and 9.4):
* a message is shown once, as it grows; text already given is never taken back, so of a rewritten message what follows
  the common beginning is given;
* `[DONE]` or an `end_turn` proves the answer whole; a body that just ends is a cut answer, and a failure;
* an answer that shows nothing is a failure, never an empty success; a picture is something;
* an answer that goes on elsewhere pauses: `follow` says where, and the room `following` how;
* after the end nothing counts any more.
"""

import enum
from collections import Counter
from typing import Any

import msgspec

from shim.chatgpt.stream import Message, StreamItem, decode_item, decode_operation, item_of
from shim.chatgpt.tree import decode_tree, newest_turn
from shim.errors import DeadlineError, GatewayError, RequestError, UpstreamError
from shim.protocol.answer.canvas import Canvas
from shim.protocol.answer.content_types import Reading, is_progress, read_message
from shim.protocol.answer.follow_up import RESUMES, Continue, FollowUp, Poll, Resume, after_refusal, again
from shim.protocol.answer.patch import Patcher, PatchError
from shim.protocol.answer.pictures import Gallery, Sight, is_maker, promise_in, sights_in
from shim.protocol.answer.sse import ServerSentEvent, SSEDecoder
from shim.protocol.answer.text_filter import SPECIAL, Prose, Sieve, Verbatim
from shim.protocol.commands import HttpReply
from shim.protocol.events import (
    CodeDelta,
    EndReason,
    Event,
    Failed,
    FileRef,
    Finished,
    Picture,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolOutput,
)
from shim.protocol.refusals import failure_of, refusal_of

# finish_details.type -> finish_reason. What is not here (also "interrupted") is a stop.
_FINISH_REASONS: dict[str, EndReason] = {"max_tokens": "length"}
_MAX_IGNORED_KINDS = 64
_MAX_KIND_LENGTH = 64
_find_special = SPECIAL.search


class Phase(enum.Enum):
    """Where the answer is. Only `ENDED` is final; in each of the others it may be paused."""

    WAITING = enum.auto()
    ANSWERING = enum.auto()
    ENDED = enum.auto()


class _Shown:
    """One message being shown: its raw text so far, and the sieve that makes events of it."""

    __slots__ = ("canvas", "kind", "pieces", "sieve", "text")

    def __init__(self, reading: Reading, file: FileRef, *, joins: bool) -> None:
        self.kind, self.canvas = reading.kind, reading.canvas
        self.text = ""
        self.pieces: list[str] = []
        self.sieve = self._sieve(reading, file, joins=joins)

    def so_far(self) -> str:
        """All raw text so far, joined only when it is asked for."""
        if self.pieces:
            self.text = "".join([self.text, *self.pieces])
            self.pieces.clear()
        return self.text

    def is_like(self, reading: Reading) -> bool:
        """Whether `reading` is the same message read in the same way."""
        return self.kind is reading.kind and self.canvas is reading.canvas

    def _sieve(self, reading: Reading, file: FileRef, *, joins: bool) -> Sieve:
        if reading.canvas:
            return Canvas()
        if reading.kind is CodeDelta:
            return Verbatim(CodeDelta("", reading.language, opens=True))
        if reading.kind is ToolOutput:
            return Verbatim(ToolOutput("", opens=True))
        if reading.kind is ReasoningDelta:
            return Prose(ReasoningDelta)
        return Prose(TextDelta, file, length=lambda: len(self.so_far()), opened=joins)


class Answer:
    """One answer. Feed it with `receive`; it is over when `ended`, and elsewhere while `follow` is not None.

    `continue_times` is how often a message cut for its length is asked to go on. `resumable` says that upstream keeps
    this conversation, so that a lost stream can be opened again.
    """

    def __init__(self, *, continue_times: int = 0, resumable: bool = False) -> None:
        self.phase = Phase.WAITING
        self.ignored: Counter[str] = Counter()
        self.follow: FollowUp | None = None
        self._otherwise: GatewayError | None = None  # what the answer fails with where nobody follows
        self._sse = SSEDecoder()
        self._patcher = Patcher()
        self._shown: dict[tuple[Any, Any], _Shown] = {}
        self._live_root: Any = None
        self._live_path: str | None = None
        self._live: _Shown | None = None
        self._conversation_id: str | None = None
        self._message_id: str | None = None
        self._reason: EndReason | None = None
        self._something_said = False
        self._done = False
        self._gallery = Gallery()
        self._draws = False  # a tool that makes pictures was called
        self._failure: GatewayError | None = None  # of a picture, as long as nothing was said after it
        self._failed: set[Any] = set()
        self._continue_times = continue_times
        self._joins = False  # the next text goes on with the last one
        self._resumable = resumable
        self._resumes = 0
        self._token: str | None = None
        self._offset = 0  # events of the stream that have been read; neither pings nor the encoding count (5.6)
        self._handed_off = False
        self._can_resume = True  # whether the handoff offers a stream
        self._moved = False  # upstream said that it goes on in the background

    @property
    def ended(self) -> bool:
        """Whether the last event has been given."""
        return self.phase is Phase.ENDED

    @property
    def conversation_id(self) -> str | None:
        """The conversation this answer is part of, as far as upstream has said."""
        return self._conversation_id

    @property
    def message_id(self) -> str | None:
        """The message that answers: the last one of which text or a picture was shown."""
        return self._message_id

    @property
    def done(self) -> bool:
        """Whether upstream itself said `[DONE]`, so that nothing but the end of the body can follow."""
        return self._done

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. `b""` is the end of input. A paused answer that is fed on is not followed:
        it ends."""
        events: list[Event] = []
        if self.ended:
            return events
        if self._otherwise is not None:
            return self.abort(self._otherwise, final=True)
        try:
            arrived = self._sse.decode(chunk)
        except OverflowError as error:
            self._break_off(
                events, UpstreamError(f"Upstream's answer can't be read: {error}", code="upstream_too_large")
            )
            return events
        self._offset += len(arrived)
        for sse in arrived:
            self._on_sse(sse, events, unfinished=not chunk)
            if self.phase is Phase.ENDED or self.follow is not None:  # this stream has nothing more to say
                return events
        if not chunk:
            self._on_end_of_input(events)
        return events

    def abort(self, error: GatewayError, *, final: bool = False) -> list[Event]:
        """The transport failed or a deadline passed. What was already whole stays whole; what can be had elsewhere is
        followed there, a bounded number of times, unless this is `final`."""
        events: list[Event] = []
        if self.ended:
            return events
        follow = self._instead() if isinstance(error, UpstreamError) and not final else None
        self._go_on(follow, events, error)
        return events

    def reopen(self) -> None:
        """The stream that `follow` asked for is open: a new stream of the same answer begins."""
        follow, self.follow, self._otherwise = self.follow, None, None
        self._sse = SSEDecoder()
        self._offset = follow.offset if isinstance(follow, Resume) else 0
        if not self._offset:
            self._patcher = Patcher()  # else the operations may go on with what is there
        if isinstance(follow, Continue):
            self._continue_times -= 1
            self._joins = True
        self._live_root, self._reason, self._done = None, None, False

    def refused(self, reply: HttpReply) -> list[Event]:
        """Upstream did not open the stream that `follow` asked for."""
        events: list[Event] = []
        follow = after_refusal(self.follow, reply.status) if isinstance(self.follow, Resume) else None
        error = (
            UpstreamError("Upstream did not answer with an event stream", code="upstream_content_type")
            if reply.status == 200
            else refusal_of(reply.status, reply.headers, reply.body)
        )
        if not self.ended:
            self._go_on(follow, events, error)
        return events

    def read_conversation(self, body: bytes) -> list[Event]:
        """What is new in the conversation that `follow` asked for (`b""` where there was nothing to read yet)."""
        events: list[Event] = []
        follow = self.follow
        if not isinstance(follow, Poll):
            return events
        tree = decode_tree(body)
        if tree is not None:
            self._reason = None
            for message in newest_turn(tree):
                self._on_message(message, events, None)
                if self.ended:
                    return events
        if self._has_arrived(follow):
            self.follow, self._otherwise = None, None
            self._finish(events)
        else:
            late = DeadlineError(f"Upstream did not finish the {follow.what} in time")
            self._go_on(again(follow), events, late)
        return events

    # --- one server-sent event --------------------------------------------------------------------------------------

    def _on_sse(self, sse: ServerSentEvent, events: list[Event], *, unfinished: bool) -> None:
        """`unfinished`: it ended with the input, without its blank line, so it may be half an event."""
        handler = _BY_NAME.get(sse.name)
        try:
            if sse.data == b"[DONE]":
                self._done = True
                self._finish(events)
            elif handler is not None:
                handler(self, sse.data, events)
            else:
                self._offset -= sse.name == b"ping"
                self._ignore(sse.name.decode(errors="replace"))
        except PatchError as error:
            self._break_off(
                events, UpstreamError(f"Upstream sent a delta that does not fit: {error}", code="upstream_delta")
            )
        except (ValueError, RecursionError):  # nested deeper than can be read is as good as not JSON
            self._offset -= 1
            if not unfinished:
                self._break_off(events, UpstreamError("Upstream sent an event that is not JSON", code="upstream_json"))

    def _on_encoding(self, data: bytes, events: list[Event]) -> None:
        self._offset -= 1  # each stream, resumed or not, has its own
        if data != b"v1" and msgspec.json.decode(data) != "v1":
            self._break_off(
                events, UpstreamError("Upstream speaks an unknown delta encoding", code="upstream_encoding")
            )
        self._patcher.restart()

    def _on_operation(self, data: bytes, events: list[Event]) -> None:
        operation = decode_operation(data)
        if operation is None:
            self._ignore("malformed delta")
            return
        root, appended_at = self._patcher.apply(operation)
        if appended_at is not None and appended_at == self._live_path and root is self._live_root:
            self._grow(operation.v, events)
            return
        item = item_of(root)
        if item is None:
            self._ignore("delta without a message" if root is None else "malformed message")
        else:
            self._on_stream_item(item, events, root)

    def _on_object(self, data: bytes, events: list[Event]) -> None:
        item = decode_item(data)
        if item is None:
            self._ignore("malformed object")
        else:
            self._on_stream_item(item, events, None)

    def _on_stream_item(self, item: StreamItem, events: list[Event], root: Any) -> None:
        """A snapshot, the view of a delta root, or a typed event: told apart by what is there."""
        if isinstance(item.conversation_id, str):
            self._conversation_id = item.conversation_id
        if item.error or item.detail:
            self._break_off(events, failure_of(item.error or item.detail, item.error_code))
        elif item.moderation_response is not None:
            self._on_moderation(item, events)
        elif isinstance(item.message, Message) and item.type is None:
            self._on_message(item.message, events, root)
        else:
            self._on_typed(item, events)

    def _on_moderation(self, item: StreamItem, events: list[Event]) -> None:
        """Only `blocked` matters (protocol.md 10)."""
        verdict = item.moderation_response
        if not isinstance(verdict, dict) or verdict.get("blocked") is not True:
            return
        if self.phase is Phase.WAITING:
            self._fail(events, failure_of(None, "content_policy_violation"))  # still in time to be a status (9.2)
        else:
            self._reason = "content_filter"
            self._conclude(events)

    def _on_typed(self, item: StreamItem, events: list[Event]) -> None:
        match item.type:
            case "message_stream_complete":
                self._reason = self._reason or "stop"
            case "resume_conversation_token" if isinstance(item.token, str):
                self._token = item.token
            case "stream_handoff":
                self._handed_off = True
                self._can_resume = _offers_a_stream(item.options)
                self._resumable = self._resumable or self._can_resume
            case "conversation_async_status" if item.async_status is not None:
                self._moved = True
            case "error":
                self._break_off(events, failure_of(item.message if isinstance(item.message, str) else None))
            case _:
                self._ignore(item.type if isinstance(item.type, str) else "untyped")

    def _ignore(self, kind: str) -> None:
        kind = kind[:_MAX_KIND_LENGTH]
        if kind in self.ignored or len(self.ignored) < _MAX_IGNORED_KINDS:
            self.ignored[kind] += 1

    # --- one message ------------------------------------------------------------------------------------------------

    def _on_message(self, message: Message, events: list[Event], root: Any) -> None:
        self._live_root = None
        reading, sights = read_message(message), sights_in(message, self._conversation_id)
        if self.phase is Phase.WAITING and (reading is not None or sights or is_progress(message)):
            self._start(message, events)
        if reading is not None:
            self._show(message, reading, events, root)
        match message.author.role:
            case "assistant":
                self._draws = self._draws or is_maker(message.recipient)
                self._note_finish(message, reading)
            case "tool":
                self._on_tool(message, sights, events)

    def _start(self, message: Message, events: list[Event]) -> None:
        self.phase = Phase.ANSWERING
        slug = message.metadata.resolved_model_slug or message.metadata.model_slug
        events.append(
            Started(
                self._conversation_id,
                message.id if isinstance(message.id, str) else None,
                slug if isinstance(slug, str) else None,
            )
        )

    def _show(self, message: Message, reading: Reading, events: list[Event], root: Any) -> None:
        key = (message.id if isinstance(message.id, str) else None, message.author.role)
        if reading.kind is TextDelta:
            self._message_id = key[0]
        shown = self._shown.get(key)
        if shown is None or not shown.is_like(reading):
            shown = self._open(key, reading, events)
        before, new = shown.so_far(), ""
        if not before.startswith(reading.text):  # else it is old news, or text taken back, which can't be
            new, shown.text = _after(before, reading.text), reading.text
        shown.sieve.learn(message.metadata)
        self._give(shown.sieve.grow(new), events)
        grows = bool(reading.text) and len(shown.text) == len(reading.text)
        self._live, self._live_root, self._live_path = shown, root, reading.grows_at if grows else None

    def _open(self, key: tuple[str | None, Any], reading: Reading, events: list[Event]) -> _Shown:
        """A message begins, so that no other is waited for any more."""
        self._give_the_rest(events)
        joins = self._joins and reading.kind is TextDelta
        if joins:
            self._joins = False
        shown = self._shown[key] = _Shown(reading, FileRef(self._conversation_id, key[0]), joins=joins)
        return shown

    def _grow(self, text: str, events: list[Event]) -> None:
        """The hot path: an append to the message that is being shown, with nothing else to look at."""
        live = self._live
        if live is None or not text:
            return
        live.pieces.append(text)
        if live.sieve.clear and _find_special(text) is None:
            events.append(live.kind(text))
        else:
            self._give(live.sieve.grow(text), events)

    def _give(self, made: list[Event], events: list[Event]) -> None:
        """Hand out what a sieve made. Reasoning alone is no answer."""
        if made and not isinstance(made[0], ReasoningDelta):
            self._something_said = True
            self._failure = None
        events += made

    def _give_the_rest(self, events: list[Event]) -> None:
        for shown in self._shown.values():
            self._give(shown.sieve.rest(), events)

    def _note_finish(self, message: Message, reading: Reading | None) -> None:
        details = message.metadata.finish_details
        kind = details.get("type") if isinstance(details, dict) else None
        reason = _FINISH_REASONS.get(kind) if isinstance(kind, str) else None
        ends_cut = reason is not None and reading is not None and reading.kind is TextDelta
        if message.end_turn is True or ends_cut:
            self._reason = reason or "stop"

    # --- pictures ---------------------------------------------------------------------------------------------------

    def _on_tool(self, message: Message, sights: list[Sight], events: list[Event]) -> None:
        """What a tool made, promised or failed to make."""
        promise = promise_in(message)
        if promise is not None and not any(sight.finished for sight in sights):
            self._gallery.promise(promise)
        self._hang(self._gallery.hang(sights, promise), events)
        if message.content.content_type == "system_error":
            self._on_tool_error(message, events)

    def _hang(self, pictures: list[Picture], events: list[Event]) -> None:
        if not pictures:
            return
        self._give_the_rest(events)
        events += pictures
        self._something_said, self._failure = True, None
        self._message_id = pictures[-1].file.message_id or self._message_id

    def _on_tool_error(self, message: Message, events: list[Event]) -> None:
        """A refusal for the content's sake ends the answer (6.5). A picture that failed does so unless something comes
        after it: upstream mostly explains. The message may be heard more than once."""
        key = message.id if isinstance(message.id, str) else None
        if key in self._failed:
            return
        self._failed.add(key)
        failure = failure_of(message.content.text, message.content.name)
        if isinstance(failure, RequestError) and failure.code == "content_policy_violation":
            self._gallery.forget()
            self._reason = None
            self._break_off(events, failure)
        elif is_maker(message.author.name):
            self._gallery.forget()
            self._failure = failure

    # --- elsewhere --------------------------------------------------------------------------------------------------

    def _elsewhere(self) -> FollowUp | None:
        """Where the answer goes on, where upstream has said that this stream is not all of it."""
        id = self._conversation_id
        if id is None:
            return None
        if self._gallery.waits:
            return Poll(id, "picture")
        if self._handed_off and not self._is_whole():
            return self._resumption(id, 0) if self._can_resume else Poll(id, "answer")
        if self._moved and not self._something_said:
            return Poll(id, "picture" if self._draws else "answer")
        if self._reason == "length" and self._continue_times > 0 and self._message_id is not None:
            return Continue(id, self._message_id)
        return None

    def _resumption(self, id: str, offset: int) -> Resume | Poll:
        """The stream again from `offset` on; or, where that can't be or has been tried too often, the conversation."""
        self._resumes += 1
        if self._token is None or self._resumes > RESUMES.attempts:
            return Poll(id, "answer")
        # After a handoff there is nothing to wait for.
        return Resume(id, self._token, offset, self._resumes if offset else self._resumes - 1)

    def _instead(self) -> FollowUp | None:
        """Where to go on after a failure of the network."""
        if isinstance(self.follow, Continue):
            return None
        if self.follow is not None:
            return again(self.follow)
        id = self._conversation_id
        follow = self._elsewhere()
        if follow is None and self._reason is None and self._resumable and self._token and id is not None:
            return self._resumption(id, self._offset)
        return follow

    def _go_on(self, follow: FollowUp | None, events: list[Event], error: GatewayError) -> None:
        """Pause, to go on there; or, where there is nowhere to go, fail."""
        if follow is None:
            self._break_off(events, error)
            return
        self.follow, self._otherwise = follow, error
        self._handed_off = self._moved = False

    def _has_arrived(self, follow: Poll) -> bool:
        """Whether the conversation holds what was polled for."""
        if follow.what == "answer":
            return self._reason is not None
        ended = self._gallery.shown > 0 or self._failure is not None or self._reason is not None
        return ended and not self._gallery.waits

    # --- the end ----------------------------------------------------------------------------------------------------

    def _on_end_of_input(self, events: list[Event]) -> None:
        if self._reason is not None:
            self._finish(events)
            return
        follow = self._instead()
        if follow is None:
            self._give_the_rest(events)
        self._go_on(follow, events, self._cut())

    def _finish(self, events: list[Event]) -> None:
        """Upstream says that this is all, or that it goes on elsewhere."""
        follow = self._elsewhere()
        if follow is not None:
            self._go_on(follow, events, self._left_behind())
        else:
            self._conclude(events)

    def _conclude(self, events: list[Event]) -> None:
        reason = self._reason or "stop"
        self._give_the_rest(events)
        self._hang(self._gallery.leftovers(), events)
        if self._failure is not None:
            self._fail(events, self._failure)
        elif not self._says_something(reason):
            self._fail(events, self._left_behind() if self._gallery.waits else self._nothing_said())
        else:
            self.phase = Phase.ENDED
            events.append(Finished(reason))

    def _says_something(self, reason: str) -> bool:
        """Whether an answer that ends for `reason` is one: without text it has to have been stopped from outside."""
        return self._something_said or reason != "stop"

    def _is_whole(self) -> bool:
        """Whether the answer has ended well, all of it."""
        return self._reason is not None and self._says_something(self._reason) and not self._gallery.waits

    def _break_off(self, events: list[Event], error: GatewayError) -> None:
        """Something failed; an answer that had already ended well keeps its end."""
        self.follow = None
        self._give_the_rest(events)
        if self._is_whole():
            self._conclude(events)
        else:
            self._fail(events, error)

    def _fail(self, events: list[Event], error: GatewayError) -> None:
        self.phase = Phase.ENDED
        self.follow = None
        events.append(Failed(error))

    def _cut(self) -> GatewayError:
        """What it means that the body just ended."""
        if self._something_said:
            return UpstreamError("Upstream's answer was cut off before its end", code="upstream_cut")
        return self._left_behind() if self._handed_off else self._nothing_said()

    def _left_behind(self) -> GatewayError:
        return UpstreamError("Upstream moved this answer elsewhere, where it was not followed", code="stream_handoff")

    def _nothing_said(self) -> GatewayError:
        return UpstreamError("Upstream ended the stream without an answer", code="empty_stream")


def _after(before: str, now: str) -> str:
    """The text of `now` that has not been given yet, where `before` has."""
    if now.startswith(before):
        return now[len(before) :]
    both = enumerate(zip(before, now, strict=False))
    return now[next((place for place, (old, new) in both if old != new), len(now)) :]


def _offers_a_stream(options: Any) -> bool:
    """Whether a handoff can be followed without a socket. One that lists nothing may be."""
    if not isinstance(options, list) or not options:
        return True
    return any(isinstance(option, dict) and option.get("type") == "resume_sse_endpoint" for option in options)


_BY_NAME = {
    b"delta": Answer._on_operation,
    b"delta_encoding": Answer._on_encoding,
    b"message": Answer._on_object,
    b"error": Answer._on_object,
}
