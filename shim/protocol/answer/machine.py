"""The answer as a state machine: stream bytes in, events out.

    WAITING ──assistant message──> ANSWERING ──[DONE], end of input, block──> ENDED
       └────────error, [DONE] or end of input with nothing shown─────────────────┘

    bytes ──reader──> what upstream said ──machine──> display: what is shown ──> events
                                              └──────> ending: what is known of the end ──> Finished | Failed | follow

Rules (protocol.md 5, 6.5 and 9.4):
* `[DONE]` or the `end_turn` of an answer proves it whole; a body that just ends is a cut answer, and a failure;
* an answer that shows nothing is a failure, never an empty success; a picture is something;
* an answer that goes on elsewhere pauses: `follow` says where, and the room `follow_up` how;
* after the end nothing counts any more.
"""

import enum
from collections import Counter
from typing import Any

import msgspec

from shim.chatgpt.stream import Message, StreamItem
from shim.chatgpt.tree import decode_tree, newest_turn
from shim.errors import About, DeadlineError, GatewayError, RequestError, UpstreamError
from shim.protocol.answer.content_types import (
    before_recap,
    final_answer,
    is_progress,
    read_message,
)
from shim.protocol.answer.display import Display
from shim.protocol.answer.ending import Ending, nothing_said
from shim.protocol.answer.follow_up import (
    Continue,
    FollowUp,
    Look,
    Poll,
    Resume,
    Socket,
    has_nothing_to_resume,
    is_passing,
)
from shim.protocol.answer.looks import RESEARCH_LOOKS, Looks, again
from shim.protocol.answer.pictures import Sight, is_maker, promise_in, sights_in
from shim.protocol.answer.reader import Arrived, Broken, Done, Grown, Heard, Reader, Unread, view_of
from shim.protocol.answer.research import FAILED, research_state
from shim.protocol.answer.searches import Searches
from shim.protocol.commands import HttpReply
from shim.protocol.events import Drawing, Event, Failed, Finished, ReasoningDelta, Searched, Started, TextDelta
from shim.protocol.refusals import failure_of, refusal_of

# Kinds are upstream's own words, and any stream may bring new ones: a long answer must not grow by them.
_MAX_IGNORED_KINDS = 64
_MAX_KIND_LENGTH = 64
_ASKED = "The model asked its user for input, which this API can't give. Answer it with another message."


class Phase(enum.Enum):
    """Where the answer is. Only `ENDED` is final; in each of the others it may be paused."""

    WAITING = enum.auto()
    ANSWERING = enum.auto()
    ENDED = enum.auto()


class Observed(msgspec.Struct):
    """What upstream said of an answer beside it: the slug that really answers and its effort, whether `auto` turned to
    a model that thinks, and how much of the account's quotas is left (as it came)."""

    slug: str | None = None
    effort: str | None = None
    switched: bool | None = None
    limits: list[Any] | None = None


class Answer:
    """One answer. Feed it with `receive`; it is over when `ended`, and elsewhere while `follow` is not None.

    `continue_times` is how often a message cut for its length is asked to go on. `kept` says that upstream keeps this
    chat, so that it can be read; `named` that it is one the client itself named. `token` came with the response's head
    and may open its stream again. `research`: what is said at first is progress, and the answer is the report.
    """

    def __init__(
        self,
        *,
        continue_times: int = 0,
        kept: bool = True,
        named: bool = False,
        token: str | None = None,
        research: bool = False,
    ) -> None:
        self.phase = Phase.WAITING
        self.ignored: Counter[str] = Counter()
        self.follow: FollowUp | None = None
        self.done = False
        """Whether upstream itself said `[DONE]`, so that nothing but the end of the body can follow"""
        self._reader = Reader()
        self._display, self._searches = Display(), Searches()
        self._searched: list[Searched] = []  # before the answer has started
        self.observed = Observed()
        self._ending = Ending(continue_times=continue_times, kept=kept, token=token, research=research)
        self._looks = Looks()
        self._named = named
        self._opened_by: FollowUp | None = None  # what the open stream was asked for
        self._furthest = 0  # how many events of it have ever been read
        self._otherwise: GatewayError | None = None  # what a paused answer fails with where nobody follows
        self._failed_tools: set[Any] = set()  # messages of tools that failed; the same may be heard more than once

    @classmethod
    def rejoined(cls, conversation_id: str, *, research: bool) -> "Answer":
        """The newest answer of a kept chat that somebody else had begun to read: it is looked for there."""
        answer = cls(named=True, research=research)
        answer._ending.conversation_id = conversation_id
        lost = UpstreamError("The answer can't be found any more", code="upstream_lost")
        answer._go_on(Poll(conversation_id, "research" if research else "answer"), [], lost)
        return answer

    @property
    def ended(self) -> bool:
        """Whether the last event has been given."""
        return self.phase is Phase.ENDED

    @property
    def seems_whole(self) -> bool:
        """Whether upstream has said that the answer is complete, though its stream goes on (a title may follow)."""
        return self._ending.reason is not None and self._known().is_whole

    @property
    def is_elsewhere(self) -> bool:
        """Whether upstream goes on with it although nobody reads its stream."""
        moved = self.follow is not None or self._opened_by is not None
        return not self.ended and (
            moved or self._ending.handed_off or self._ending.moved or self._display.gallery.waits
        )

    @property
    def conversation_id(self) -> str | None:
        """The conversation this answer is part of, as far as upstream has said."""
        return self._ending.conversation_id

    @property
    def message_id(self) -> str | None:
        """The message that answers: the last one of which text or a picture was shown."""
        return self._display.message_id

    # --- in ---------------------------------------------------------------------------------------------------------

    def receive(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. `b""` is the end of input. A paused answer that is fed on is not followed:
        it ends."""
        events: list[Event] = []
        if self.phase is Phase.ENDED:
            return events
        if self._otherwise is not None:
            return self.abort(self._otherwise, final=True)
        try:
            arrived = self._reader.sse.receive(chunk)
        except OverflowError as error:
            self._break_off(
                events, UpstreamError(f"Upstream's answer can't be read: {error}", code="upstream_too_large")
            )
            return events
        for event in arrived:
            heard = self._reader.read(event, unfinished=not chunk)
            # Nearly all of a stream: text behind text, which is no end of anything.
            if type(heard) is Grown and (grown := self._display.grow(heard.root, heard.path, heard.text)) is not None:
                if self._ending.failure is None:
                    events += grown
                else:
                    self._say(grown, events)
            elif heard is not None:
                self._on_heard(heard, events)
                if self.ended or self.follow is not None:  # this stream has nothing more to say
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
        followed = isinstance(error, UpstreamError) and not final
        follow = self._after_break() if followed else None
        if follow is None and followed and self._ending.followed and isinstance(self._opened_by or self.follow, Socket):
            error = self._ending.left_behind()  # how the socket failed is of no use to anybody
        self._go_on(follow, events, error)
        return events

    def learn_token(self, token: str | None) -> None:
        """The head of a response that was opened for this answer has the newest token (protocol.md 1)."""
        self._ending.token = token or self._ending.token

    def reopen(self) -> None:
        """The stream that `follow` asked for is open: a new stream of the same answer begins."""
        self._note_progress()
        follow, self.follow, self._otherwise = self.follow, None, None
        self._opened_by = follow
        offset = follow.offset if isinstance(follow, Resume) else 0
        self._reader.reopen(offset)
        self._furthest = max(self._furthest, offset)
        if isinstance(follow, Continue):
            self._ending.continue_times -= 1
            self._display.joins = True
        self._display.detach()
        self._ending.reason, self.done = None, False

    def refused(self, reply: HttpReply) -> list[Event]:
        """Upstream did not open the stream that `follow` asked for."""
        events: list[Event] = []
        follow: FollowUp | None = None
        if isinstance(self.follow, Resume) and is_passing(reply.status):
            follow = self._after_break()
        elif isinstance(self.follow, Socket) or has_nothing_to_resume(reply.status):
            follow = None if isinstance(self.follow, Continue) else self._ending.next_way()
        if has_nothing_to_resume(reply.status) and self._otherwise is not None:
            # That it can't be followed is no news: what it fails with is what made it go elsewhere.
            error: GatewayError = self._ending.left_behind() if self._ending.followed else self._otherwise
        elif reply.status == 200:
            error = UpstreamError("Upstream did not answer with an event stream", code="upstream_content_type")
        else:
            error = refusal_of(reply.status, reply.headers, reply.body)
        if not self.ended:
            self._go_on(follow, events, error)
        return events

    def read_conversation(self, look: Look) -> list[Event]:
        """What is new in the conversation that `follow` asked for."""
        events: list[Event] = []
        follow = self.follow
        if not isinstance(follow, Poll):
            return events
        if look.gone:
            gone = RequestError("Upstream does not know this conversation", status=404, code="conversation_not_found")
            # Whoever named it is told so; who did not can't do anything with that.
            self._go_on(None, events, gone if self._named else self._ending.left_behind())
            return events
        tree = decode_tree(look.body) if look.body else None
        turn = newest_turn(tree) if tree is not None else []
        if follow.what == "research":
            self._read_research(turn, look, follow, events)
            return events
        if tree is not None:
            self._show_turn(turn, events)
            if self.ended:
                return events
        pictures = frozenset(self._display.gallery.files)
        if tree is not None and self._looks.has_arrived(turn, tree, follow, self._known(), pictures):
            self._display.gallery.forget()  # what was promised and has not come by now won't
            self.follow, self._otherwise = None, None
            self._finish(events)
        elif look.state == "failed":
            self._go_on(None, events, UpstreamError("Upstream failed to finish this answer", code="upstream_failed"))
        elif look.state == "complete" and follow.what == "answer" and self._looks.is_empty_for_good():
            known = self._known()
            self._go_on(None, events, known.cut() if known.said else nothing_said())
        else:
            late = DeadlineError(f"Upstream did not finish the {follow.what} in time")
            self._go_on(again(follow, self._looks.wait(look, turn)), events, late)
        return events

    def _read_research(self, turn: list[Message], look: Look, follow: Poll, events: list[Event]) -> None:
        """Tell the steps of a research as reasoning, and its report as the answer."""
        state = research_state(turn)
        if state is not None:
            events += self._looks.new_steps(state)
        if state is not None and state.report_message is not None:
            self._ending.reported = True
            self._on_message(state.report_message, events, None)
            self._ending.reason = self._ending.reason or "stop"
            self.follow, self._otherwise = None, None
            self._finish(events)
            return
        failed = look.state == "failed" or (state is not None and state.status in FAILED)
        if failed or (state is None and follow.attempt >= RESEARCH_LOOKS):
            error = UpstreamError("Upstream's research ended without a report", code="research_failed")
            self._go_on(None, events, error)
        else:
            late = DeadlineError("Upstream did not finish the research in time")
            self._go_on(again(follow, look.later), events, late)

    def _show_turn(self, turn: list[Message], events: list[Event]) -> None:
        """What a conversation that was read holds of this turn. What was known of the end before is out of date."""
        self._ending.reason = None
        passed_over = before_recap(turn)
        for message in turn:
            if message not in passed_over:
                self._on_message(message, events, None)
            if self.ended:
                return
        if final_answer(turn) is None and self._ending.reason == "stop" and not self._ending.asks:
            self._ending.reason = None

    def _after_break(self) -> FollowUp | None:
        """Where to go on after a failure of the network, or a stream that just ended."""
        self._note_progress()
        ending = self._known()
        # A socket that was read and lost has come back by itself as often as is worth it.
        lost = self._opened_by if isinstance(self._opened_by, Socket) and not ending.is_whole else None
        match self.follow or lost:
            case Continue():
                return None  # a turn of its own; what it had said so far can't be told from a second try
            case Poll() as follow:
                return again(follow)
            case Socket():
                return ending.next_way()
            case Resume(offset=offset):
                return ending.resumption(offset)
        if ending.reason is not None or ending.handed_off or ending.promised or ending.moved:
            return ending.elsewhere()
        return ending.resumption(self._reader.offset)

    def _note_progress(self) -> None:
        """A stream that has brought something new has not failed."""
        if self._reader.offset > self._furthest:
            self._furthest, self._ending.failures = self._reader.offset, 0

    # --- what upstream said -----------------------------------------------------------------------------------------

    def _on_heard(self, heard: Heard, events: list[Event]) -> None:
        match heard:
            case Arrived(item=item, root=root):
                self._on_item(item, events, root)
            case Grown(root=root):  # not where the message that is shown grows
                self._on_heard(view_of(root), events)
            case Done():
                self.done = True
                if isinstance(self._opened_by, Socket) and self._opened_by.topic_id is None:
                    self._display.gallery.forget()  # its task is over: what has not come by now won't
                self._finish(events)
            case Broken(error=error):
                self._break_off(events, error)
            case Unread(kind=kind):
                kind = kind[:_MAX_KIND_LENGTH]
                if kind in self.ignored or len(self.ignored) < _MAX_IGNORED_KINDS:
                    self.ignored[kind] += 1

    def _on_item(self, item: StreamItem, events: list[Event], root: Any) -> None:
        """A snapshot, the view of a delta root, or a typed event: told apart by what is there."""
        ending = self._ending
        if isinstance(item.conversation_id, str):
            ending.conversation_id = item.conversation_id
        if item.error or item.detail:
            self._break_off(events, failure_of(item.error or item.detail, item.error_code))
        elif item.moderation_response is not None:
            verdict = item.moderation_response
            if not isinstance(verdict, dict) or verdict.get("blocked") is not True:
                return  # only `blocked` matters (protocol.md 10)
            if self.phase is Phase.WAITING:
                self._fail(events, failure_of(None, "content_policy_violation"))  # still in time to be a status (9.2)
            else:
                self._ending.reason = "content_filter"
                self._conclude(events)
        elif isinstance(item.message, Message) and item.type is None:
            self._on_message(item.message, events, root)
        else:
            self._on_typed(item, events)

    def _on_typed(self, item: StreamItem, events: list[Event]) -> None:
        ending = self._ending
        match item.type:
            case "message_stream_complete":
                ending.reason = ending.reason or "stop"
            case "resume_conversation_token" if isinstance(item.token, str):
                ending.token = item.token
            case "stream_handoff":
                ending.hand_off(item.options, item.turn_exchange_id)
            case "conversation_async_status" if item.async_status is not None:
                ending.moved = True
            case "server_ste_metadata" if isinstance(item.metadata, dict):
                switched = item.metadata.get("did_auto_switch_to_reasoning")
                self.observed.switched = switched if isinstance(switched, bool) else None
            case "conversation_detail_metadata" if isinstance(item.limits_progress, list):
                self.observed.limits = item.limits_progress
            case "error":
                self._break_off(events, failure_of(item.message if isinstance(item.message, str) else None))
            case _:
                self._on_heard(Unread(item.type if isinstance(item.type, str) else "untyped"), events)

    def _on_message(self, message: Message, events: list[Event], root: Any) -> None:
        display, ending, role = self._display, self._ending, message.author.role
        reading = read_message(message)
        # Which model really answers. While `auto` decides, a name of its own stands in its place (4.3).
        slug = message.metadata.resolved_model_slug or message.metadata.model_slug
        slug = slug.replace("-auto-thinking", "-thinking") if isinstance(slug, str) else None
        sights = sights_in(message, ending.conversation_id) if role == "tool" else []
        if reading is not None and reading.kind is TextDelta and ending.research and not ending.reported:
            reading = msgspec.structs.replace(reading, kind=ReasoningDelta)
        if self.phase is Phase.WAITING and (reading is not None or sights or is_progress(message)):
            self.phase = Phase.ANSWERING
            id = message.id if isinstance(message.id, str) else None
            events.append(Started(ending.conversation_id, id, slug))
        self._searched += self._searches.heard(message, root)
        if self._searched and self.phase is not Phase.WAITING:
            events += self._searched
            self._searched = []
        if reading is None:
            display.detach()
        else:
            self._say(display.show(message, reading, ending.conversation_id, root), events)
        if role == "assistant":
            if is_maker(message.recipient) and not ending.draws:
                ending.draws = True
                events.append(Drawing())
            self.observed.slug = slug or self.observed.slug
            effort = message.metadata.thinking_effort
            self.observed.effort = effort if isinstance(effort, str) else self.observed.effort
            ending.note(message, answers=reading is not None and reading.kind is TextDelta, shown=reading is not None)
        elif role == "tool":
            self._on_tool(message, sights, events)

    def _on_tool(self, message: Message, sights: list[Sight], events: list[Event]) -> None:
        """What a tool made, promised or failed to make."""
        gallery = self._display.gallery
        promise = promise_in(message)
        if promise is not None and not any(sight.finished for sight in sights):
            gallery.promise(promise)
        events += gallery.looks(sights)
        self._say(self._display.hang(gallery.hang(sights, promise)), events)
        key = message.id if isinstance(message.id, str) else None
        if message.content.content_type != "system_error" or key in self._failed_tools:
            return
        # A refusal for the content's sake ends the answer (6.5). A picture that failed does so unless something comes
        # after it: upstream mostly explains.
        self._failed_tools.add(key)
        failure = failure_of(message.content.text, message.content.name)
        if failure.about is About.CONTENT:
            self._display.gallery.forget()
            self._ending.reason = None
            self._break_off(events, failure)
        elif is_maker(message.author.name):
            self._display.gallery.forget()
            self._ending.failure = failure

    def _say(self, shown: list[Event], events: list[Event]) -> None:
        if self._ending.failure is not None and shown and not isinstance(shown[0], ReasoningDelta):
            self._ending.failure = None  # what was said after it explains it
        events += shown

    # --- the end ----------------------------------------------------------------------------------------------------

    def _known(self) -> Ending:
        """What is known of the end, with what the display knows of it."""
        ending, display = self._ending, self._display
        ending.said, ending.message_id = display.says_something, display.message_id
        ending.promised, ending.pictures = display.gallery.waits, display.gallery.shown
        return ending

    def _on_end_of_input(self, events: list[Event]) -> None:
        if self._ending.reason is not None:
            self._finish(events)
            return
        follow = self._after_break()
        if follow is None:
            self._say(self._display.rest(), events)
        self._go_on(follow, events, self._known().cut())

    def _finish(self, events: list[Event]) -> None:
        """Upstream says that this is all, or that it goes on elsewhere."""
        follow = self._known().elsewhere()
        if follow is not None:
            self._go_on(follow, events, self._ending.left_behind())
        elif self._ending.handed_off and not self._ending.is_whole:
            self._break_off(events, self._ending.left_behind())
        else:
            self._conclude(events)

    def _go_on(self, follow: FollowUp | None, events: list[Event], error: GatewayError) -> None:
        """Pause, to go on there; or, where there is nowhere to go, fail."""
        if follow is None:
            self._break_off(events, error)
            return
        self.follow, self._otherwise = follow, error
        self._ending.followed = self._ending.followed or self._ending.handed_off
        self._ending.handed_off = self._ending.moved = False  # said of the stream that is left now

    def _break_off(self, events: list[Event], error: GatewayError) -> None:
        """Something failed; an answer that had already ended well keeps its end."""
        self.follow = None
        self._say(self._display.rest(), events)
        if self._known().is_whole:
            self._conclude(events)
        else:
            self._fail(events, error)

    def _conclude(self, events: list[Event]) -> None:
        display = self._display
        self._say(display.rest(), events)
        self._say(display.hang(display.gallery.leftovers()), events)
        if self._ending.asks and not display.says_something:
            display.says_something = True
            self._say([TextDelta("\n\n".join(filter(None, (self._ending.asked, _ASKED))), opens=True)], events)
        conclusion = self._known().conclusion()
        if isinstance(conclusion, GatewayError):
            self._fail(events, conclusion)
        else:
            self.phase = Phase.ENDED
            events.append(Finished(conclusion))

    def _fail(self, events: list[Event], error: GatewayError) -> None:
        self.phase = Phase.ENDED
        self.follow = None
        events.append(Failed(error))
