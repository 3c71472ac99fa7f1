"""The whole stand-in behind the handlers: who calls, whether a turn is accepted, and the stream that answers it.

Rule: nothing here knows HTTP beyond headers and bytes; a refusal is a RefusedError.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from random import Random

import msgspec

from shim.standin import scripts
from shim.standin.accounts import Accounts, Caller
from shim.standin.chunks import CHUNKINGS, compressed, emit, with_pace
from shim.standin.conduits import Conduits
from shim.standin.conversations import Conversation, Conversations
from shim.standin.directives import Directives, read_directives
from shim.standin.encode import Deltas, Encoder, Encoding, Snapshots, encode
from shim.standin.failures import RefusedError, refused
from shim.standin.files import Files
from shim.standin.incoming import ConversationRequest, ResumeRequest, read_body, read_conversation
from shim.standin.listings import is_thinking
from shim.standin.logins import Logins
from shim.standin.memory import remember
from shim.standin.moved import Handoff
from shim.standin.options import StandinOptions
from shim.standin.scripts.lately import RESEARCH
from shim.standin.sentinel import Sentinel
from shim.standin.socket import Sockets
from shim.standin.stats import Stats, StreamEnd, TurnRecord
from shim.standin.steps import Json, Pause, Step, Turn, Typed
from shim.standin.wishes import read_wish

WORK_FALLBACK = "gpt-5-6"
# Never kept, not even for a test to look at.
CREDENTIALS = frozenset({"authorization", "cookie"})

# The mark around a function call as a prompt teaches it, and as a test writes it (also where a gateway escaped it).
_TAUGHT_MARK = re.compile(r"^<tool_call(_\w+)>$", re.MULTILINE)
_WRITTEN_MARK = re.compile(r"<\\?(/?)tool_call>")

# Streams kept with options.reuse.
MAX_MADE = 32


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """Directives for turns still to come: the next `times` turns, of one account or of anybody."""

    directives: Directives
    times: int = 1
    account: str | None = None


class Told(msgspec.Struct):
    """A stream on its way: its bytes, and whether they are gzip."""

    parts: AsyncIterator[bytes]
    gzip: bool
    headers: dict[str, str] = {}


class Upstream:
    """One stand-in's state and the turns it answers."""

    def __init__(self, options: StandinOptions) -> None:
        self.options = options
        self.closing = False
        self.reset()

    def reset(self) -> None:
        """Forget everything but the options."""
        self.stats = Stats()
        self.rng = Random(self.options.seed)  # noqa: S311  chance for scripts, not for secrets
        self.accounts = Accounts(self.options.accounts, self.options.clock)
        self.logins = Logins(self.accounts, self.stats, self.options.clock)
        self.sentinel = Sentinel(self.options, self.rng, self.stats)
        self.files = Files(self.accounts, self.stats, self.options.clock)
        self.conduits = Conduits(self.options.clock, self.stats)
        self.conversations = Conversations(self.files.deposit, self.files.forget)
        self.sockets = Sockets(self.options.clock)
        self.plans: deque[Plan] = deque()
        self._made: dict[str, list[bytes | Pause]] = {}

    def answer(self, caller: Caller, path: str, headers: Mapping[str, str], body: bytes) -> Told:
        """Accept a turn and return its stream, or refuse it (protocol.md 4, 9.1)."""
        _check_accept(headers)
        conversation = read_conversation(body, headers.get("content-type", ""))
        self._note(caller, path, headers, body)
        if len(body) > self.options.max_characters:
            raise refused("too_long")
        if self.options.require_sentinel:
            self.sentinel.admit(caller, headers)
        if caller.account.refused:
            raise refused("sentinel")
        slug = caller.account.resolve_slug(conversation.model)
        if conversation.thinking_effort and conversation.thinking_effort not in caller.account.efforts(slug):
            raise refused("invalid_body")
        if RESEARCH in conversation.system_hints and conversation.history_and_training_disabled:
            raise refused("bad_request")
        if slug.endswith("-wm") and conversation.history_and_training_disabled:
            slug = WORK_FALLBACK  # silently (protocol.md 4.3)
        self.conduits.present(headers.get("x-conduit-token", ""))
        self._check_limits(caller)
        self.files.check(caller.account, conversation.messages or [])
        directives, question = self._directives(caller, conversation, slug)
        turn = self._begin(caller, conversation, slug, question, directives)
        steps = self._steps(caller, conversation, turn, directives)
        token = scripts.resume_token(turn)
        shown = {"x-conduit-token": token} if directives.token in {"header", "both"} else {}
        if directives.token in {"header", "neither"}:
            steps = (step for step in steps if not _is_token(step))
        wanted: Encoding = "v1" if "v1" in conversation.supported_encodings else "snapshot"
        gzip = self._compresses(headers, directives)
        if directives.breaks and (directives.script or "") not in scripts.HANDOFFS:
            return Told(
                self._stream(caller, self._breaking(caller, turn, steps, directives, token)), gzip=False, headers=shown
            )
        made = self._made_once if self.options.reuse else self._parts
        return Told(self._stream(caller, made(turn, steps, directives, wanted, gzip=gzip)), gzip, shown)

    def resume(self, caller: Caller, headers: Mapping[str, str], body: bytes) -> Told:
        """The answer that a stream_handoff promised, or whose stream broke (protocol.md 5.6)."""
        asked = read_body(body, ResumeRequest)
        self.conversations.find(asked.conversation_id, caller.identity)
        token = headers.get("x-conduit-token", "")
        handoff = self.conversations.handed_off(token, asked.conversation_id, asked.offset)
        frames = self.conversations.resumed(caller.identity, handoff, asked.offset)
        gzip = self._compresses(headers, handoff.directives)
        parts = self._paced(frames, handoff.turn, handoff.directives, gzip=gzip)
        return Told(self._stream(caller, _until_stopped(parts, handoff)), gzip)

    def stop(self, caller: Caller, conversation_id: str) -> None:
        """POST stop_conversation: it is counted, and whatever goes on elsewhere ends (protocol.md 4.5)."""
        self.stats.stops[conversation_id] += 1
        self.conversations.stop(self.conversations.find(conversation_id, caller.identity))

    def _breaking(
        self, caller: Caller, turn: Turn, steps: Iterator[Step], directives: Directives, token: str
    ) -> Iterator[bytes | Pause]:
        """A turn whose own stream breaks off, to be opened again."""
        frames = self._frames(turn, steps, directives)
        handoff = Handoff(turn, frames, scripts.Promise(), directives, directives.breaks or 1)
        self.conversations.resumable(self.conversations.find(turn.conversation_id, caller.identity), token, handoff)
        return self._paced(handoff.told_from(0), turn, directives, gzip=False)

    def _frames(self, turn: Turn, steps: Iterable[Step], directives: Directives) -> list[bytes]:
        escapes = directives.escapes or self.options.escapes
        events = encode(
            steps, Deltas(turn.conversation_id, turn.rng), turn.rng, escapes=escapes, noise=self.options.noise
        )
        return [event for event in events if isinstance(event, bytes)]

    def _paced(
        self, events: Iterable[bytes | Pause], turn: Turn, directives: Directives, *, gzip: bool
    ) -> Iterator[bytes | Pause]:
        delay = self.options.delay if directives.delay is None else directives.delay
        events = compressed(events) if gzip else events
        paced = with_pace(events, delay) if delay > 0 else events
        return CHUNKINGS[directives.chunks or self.options.chunks](paced, turn.rng)

    def _compresses(self, headers: Mapping[str, str], directives: Directives) -> bool:
        wanted = self.options.gzip if directives.gzip is None else directives.gzip
        return wanted and "gzip" in headers.get("accept-encoding", "")

    def _note(self, caller: Caller, path: str, headers: Mapping[str, str], body: bytes) -> None:
        shown = {name: value for name, value in headers.items() if name not in CREDENTIALS}
        self.stats.recent.append(TurnRecord(caller.identity, path, shown, msgspec.json.decode(body)))

    def _check_limits(self, caller: Caller) -> None:
        """Planned failures and parallel turns of this account."""
        if failure := caller.account.take_failure("turn"):
            raise failure
        limit = caller.account.max_parallel
        if limit and self.stats.open_for(caller.identity) >= limit:
            raise refused("one_at_a_time")

    def _directives(self, caller: Caller, conversation: ConversationRequest, slug: str) -> tuple[Directives, str]:
        """What steers this turn, and the question without the directives; refuses when they say so."""
        newest = conversation.last_user_message
        prompt = newest.content.text if newest else ""
        if not self.options.control:
            return Directives(), prompt
        directives, question = read_directives(prompt)
        if self.options.understands and directives == Directives():
            directives = directives.over(read_wish(question, slug, conversation))
        directives = directives.over(self._take_plan(caller))
        if failure := directives.refusal():
            raise RefusedError(failure)
        return directives, question

    def _take_plan(self, caller: Caller) -> Directives | None:
        for plan in self.plans:
            if plan.account in (None, caller.account.name):
                plan.times -= 1
                if plan.times <= 0:
                    self.plans.remove(plan)
                return plan.directives
        return None

    def _begin(
        self, caller: Caller, conversation: ConversationRequest, slug: str, question: str, directives: Directives
    ) -> Turn:
        rng = Random(self.rng.random() if directives.seed is None else directives.seed)  # noqa: S311  chance for scripts
        conversation_id = str(conversation.conversation_id or "")
        if conversation_id:
            found = self.conversations.find(conversation_id, caller.identity)
            if found.tree is not None and found.tree.full:
                raise refused("conversation_too_large")
        if conversation.gizmo_id and conversation.gizmo_id not in caller.account.gizmos:
            raise refused("gizmo_not_found")
        newest = conversation.last_user_message
        turn = Turn(
            question=question,
            slug=slug,
            plan=caller.account.plan,
            conversation_id=conversation_id,
            parent_id=conversation.parent_message_id,
            user_message=msgspec.to_builtins(newest) if newest else None,
            rng=rng,
            now=self.options.clock(),
            words=self.options.words if directives.words is None else directives.words,
            say=directives.say and _as_taught(directives.say, conversation),
            stall=3600.0 if directives.stall is None else directives.stall,
            parts=directives.parts or 2,
            polls=2 if directives.polls is None else directives.polls,
            pictures=directives.pictures or 4,
            asked_slug=conversation.model,
            effort=conversation.thinking_effort,
            gizmo_id=conversation.gizmo_id,
        )
        turn.conversation_id = conversation_id or turn.new_id()
        turn.forgetful = (
            bool(conversation_id) and self.conversations.find(conversation_id, caller.identity).is_do_not_remember
        )
        self.stats.turns[caller.account.name] += 1
        return turn

    def _steps(
        self, caller: Caller, conversation: ConversationRequest, turn: Turn, directives: Directives
    ) -> Iterator[Step]:
        if conversation.action == "continue":
            told = self.conversations.take_rest(turn.conversation_id, caller.identity, conversation.parent_message_id)
            turn.rest = told
            return self._told(caller, conversation, turn, scripts.rest(turn))
        name = directives.script or self.options.script
        if name == "auto":
            name = _fitting_script(conversation, turn, directives)
        if name in scripts.HANDOFFS:
            return self._promised(caller, conversation, turn, directives, name)
        return self._told(caller, conversation, turn, scripts.play(name, turn))

    def _told(
        self, caller: Caller, conversation: ConversationRequest, turn: Turn, steps: Iterator[Step]
    ) -> Iterator[Step]:
        """The same steps; the conversation begins with the first of them."""
        begun = self._begun(caller, conversation, turn)
        yield from self.conversations.told(begun, turn, steps, kept=True)

    def _promised(
        self, caller: Caller, conversation: ConversationRequest, turn: Turn, directives: Directives, name: str
    ) -> Iterator[Step]:
        """The steps of a handoff; what it promises is made at once and told elsewhere."""
        begun = self._begun(caller, conversation, turn)
        then = directives.then or _fitting_script(conversation, turn, directives)
        promise = scripts.HANDOFFS[name]
        turn.options = directives.options or "both"
        opening: list[Step] = list(scripts.play(name, turn))
        steps: list[Step] = [step for step in scripts.play(then, turn) if not isinstance(step, Pause)]
        whole = [*(opening if directives.repeat else ()), *steps]
        breaks = promise.cuts if directives.breaks is None else directives.breaks
        handoff = Handoff(turn, self._frames(turn, whole, directives), promise, directives, breaks)
        begun.status = directives.state
        self.conversations.hand_off(begun, scripts.resume_token(turn), handoff, steps)
        yield from self.conversations.told(begun, turn, iter(opening), kept=False)

    def _begun(self, caller: Caller, conversation: ConversationRequest, turn: Turn) -> Conversation:
        newest = conversation.last_user_message
        earlier = [message for message in conversation.messages or [] if message is not newest]
        history: list[Json] = msgspec.to_builtins(earlier)
        temporary = conversation.history_and_training_disabled
        return self.conversations.begin(caller.identity, turn, history, temporary=temporary)

    async def _stream(self, caller: Caller, parts: Iterator[bytes | Pause]) -> AsyncIterator[bytes]:
        """The bytes of one answer; leaving it early counts as the client being gone."""
        stream = self.stats.open_stream(caller.identity)
        end: StreamEnd = "complete"
        try:
            async for part in emit(parts, lambda: self.closing):
                stream.sent += len(part)
                yield part
            end = "shutdown" if self.closing else "complete"
        except (asyncio.CancelledError, GeneratorExit):
            end = "client_gone"
            raise
        finally:
            self.stats.end_stream(stream, end)

    def _made_once(
        self, turn: Turn, steps: Iterator[Step], directives: Directives, wanted: Encoding, *, gzip: bool
    ) -> Iterator[bytes | Pause]:
        """The pieces of an equal earlier turn when there was one."""
        key = repr((turn.plan, turn.slug, wanted, gzip, directives, turn.question))
        if key not in self._made:
            remember(self._made, key, list(self._parts(turn, steps, directives, wanted, gzip=gzip)), MAX_MADE)
        return iter(self._made[key])

    def _parts(
        self, turn: Turn, steps: Iterator[Step], directives: Directives, wanted: Encoding, *, gzip: bool
    ) -> Iterator[bytes | Pause]:
        """Steps, encoded, paced and cut into pieces, as the directives or else the options say."""
        options = self.options
        encoding = directives.encoding or options.encoding or wanted
        encoder: Encoder = (
            Deltas(turn.conversation_id, turn.rng) if encoding == "v1" else Snapshots(turn.conversation_id)
        )
        escapes = directives.escapes or options.escapes
        events = encode(steps, encoder, turn.rng, escapes=escapes, noise=options.noise)
        return self._paced(events, turn, directives, gzip=gzip)


def _fitting_script(conversation: ConversationRequest, turn: Turn, directives: Directives) -> str:
    """The script a turn gets that did not ask for one."""
    if directives.words is not None:
        return "long"
    if directives.stall is not None:
        return "stall"
    hints = conversation.hints
    if RESEARCH in hints:
        return "research"
    if "picture_v2" in hints:
        return "image_gen"
    if "search" in hints or conversation.force_use_search:
        return "citations"
    return "reasoning" if is_thinking(turn.slug) else "text"


def _is_token(step: Step) -> bool:
    return isinstance(step, Typed) and step.event.get("type") == "resume_conversation_token"


def _until_stopped(parts: Iterator[bytes | Pause], handoff: Handoff) -> Iterator[bytes | Pause]:
    """What is told elsewhere ends where it was stopped (protocol.md 4.5)."""
    for part in parts:
        if handoff.stopped:
            return
        yield part


def _check_accept(headers: Mapping[str, str]) -> None:
    """The turn's accept header names the event stream, or takes anything (protocol.md 1)."""
    accept = headers.get("accept", "*/*")
    if "text/event-stream" not in accept and "*/*" not in accept:
        raise refused("not_acceptable")


def _as_taught(say: str, conversation: ConversationRequest) -> str:
    """What is to be said, with its `<tool_call>` marks as the conversation teaches them, as a model would."""
    told = [message.content.text for message in conversation.messages or () if message.author.role == "system"]
    taught = _TAUGHT_MARK.findall("\n".join(told))
    return _WRITTEN_MARK.sub(rf"<\1tool_call{taught[-1]}>", say) if taught else say
