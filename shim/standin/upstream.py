"""The whole stand-in behind the handlers: who calls, whether a turn is accepted, and the stream that answers it.

Rule: nothing here knows HTTP beyond headers and bytes; a refusal is a RefusedError.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import islice
from random import Random

import msgspec

from . import scripts
from .accounts import Accounts, Caller
from .chunks import CHUNKINGS, emit, with_pace
from .conversations import Conversations
from .directives import Directives, read_directives
from .encode import Deltas, Encoder, Encoding, Snapshots, encode
from .failures import RefusedError, refused
from .incoming import ConversationRequest, ResumeRequest, read_body, read_conversation
from .listings import is_thinking
from .logins import Logins
from .memory import remember
from .options import StandinOptions
from .sentinel import Sentinel
from .stats import Stats, StreamEnd, TurnRecord
from .steps import Pause, Step, Turn

# Never kept, not even for a test to look at.
CREDENTIALS = frozenset({"authorization", "cookie"})

# Streams kept with options.reuse.
MAX_MADE = 32


class Plan(msgspec.Struct, forbid_unknown_fields=True):
    """Directives for turns still to come: the next `times` turns, of one account or of anybody."""

    directives: Directives
    times: int = 1
    account: str | None = None


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
        self.conversations = Conversations()
        self.plans: deque[Plan] = deque()
        self._made: dict[str, list[bytes | Pause]] = {}

    def answer(self, caller: Caller, path: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[bytes]:
        """Accept a turn and return its stream, or refuse it (protocol.md 4, 9.1)."""
        _check_accept(headers)
        conversation = read_conversation(body, headers.get("content-type", ""))
        self._note(caller, path, headers, body)
        if len(body) > self.options.max_characters:
            raise refused("too_long")
        if self.options.require_sentinel:
            self.sentinel.admit(caller, headers)
        slug = caller.account.resolve_slug(conversation.model)
        self._check_limits(caller)
        directives, question = self._directives(caller, conversation)
        turn = self._begin(caller, conversation, slug, question, directives)
        steps = self._steps(caller, conversation, turn, directives)
        wanted: Encoding = "v1" if "v1" in conversation.supported_encodings else "snapshot"
        if self.options.reuse:
            return self._stream(caller, self._made_once(turn, steps, directives, wanted))
        return self._stream(caller, self._parts(turn, steps, directives, wanted))

    def resume(self, caller: Caller, headers: Mapping[str, str], body: bytes) -> AsyncIterator[bytes]:
        """The answer that a stream_handoff promised (protocol.md 5.6)."""
        asked = read_body(body, ResumeRequest)
        turn = self.conversations.handed_off(headers.get("x-conduit-token", ""), asked.conversation_id)
        steps = scripts.play("reasoning" if is_thinking(turn.slug) else "text", turn)
        return self._stream(caller, self._parts(turn, islice(steps, asked.offset, None), Directives(), "v1"))

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

    def _directives(self, caller: Caller, conversation: ConversationRequest) -> tuple[Directives, str]:
        """What steers this turn, and the question without the directives; refuses when they say so."""
        newest = conversation.last_user_message
        prompt = newest.content.text if newest else ""
        if not self.options.control:
            return Directives(), prompt
        directives, question = read_directives(prompt)
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
        rng = Random(self.rng.random() if directives.seed is None else directives.seed)  # noqa: S311
        conversation_id = str(conversation.conversation_id or "")
        if conversation_id:
            self.conversations.find(conversation_id, caller.identity)
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
            say=directives.say,
            stall=3600.0 if directives.stall is None else directives.stall,
        )
        turn.conversation_id = conversation_id or turn.new_id()
        self.stats.turns[caller.account.name] += 1
        return turn

    def _steps(
        self, caller: Caller, conversation: ConversationRequest, turn: Turn, directives: Directives
    ) -> Iterator[Step]:
        if conversation.action == "continue":
            told = self.conversations.take_rest(turn.conversation_id, caller.identity, conversation.parent_message_id)
            return self._remembered(caller, turn, scripts.rest(turn, told))
        name = directives.script or self.options.script
        if name == "auto":
            name = _fitting_script(conversation, turn, directives)
        if name == "handoff":
            self.conversations.hand_off(scripts.resume_token(turn), turn)
        return self._remembered(caller, turn, scripts.play(name, turn))

    def _remembered(self, caller: Caller, turn: Turn, steps: Iterator[Step]) -> Iterator[Step]:
        """The same steps; the conversation is remembered before [DONE] can be read."""
        try:
            yield from steps
        finally:
            self.conversations.keep(caller.identity, turn)

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
        self, turn: Turn, steps: Iterator[Step], directives: Directives, wanted: Encoding
    ) -> Iterator[bytes | Pause]:
        """The pieces of an equal earlier turn when there was one."""
        key = repr((turn.plan, turn.slug, wanted, directives, turn.question))
        if key not in self._made:
            remember(self._made, key, list(self._parts(turn, steps, directives, wanted)), MAX_MADE)
        return iter(self._made[key])

    def _parts(
        self, turn: Turn, steps: Iterator[Step], directives: Directives, wanted: Encoding
    ) -> Iterator[bytes | Pause]:
        """Steps, encoded, paced and cut into pieces, as the directives or else the options say."""
        options = self.options
        encoding = directives.encoding or options.encoding or wanted
        encoder: Encoder = (
            Deltas(turn.conversation_id, turn.rng) if encoding == "v1" else Snapshots(turn.conversation_id)
        )
        escapes = directives.escapes or options.escapes
        events = encode(steps, encoder, turn.rng, escapes=escapes, noise=options.noise)
        delay = options.delay if directives.delay is None else directives.delay
        paced = with_pace(events, delay) if delay > 0 else events
        return CHUNKINGS[directives.chunks or options.chunks](paced, turn.rng)


def _fitting_script(conversation: ConversationRequest, turn: Turn, directives: Directives) -> str:
    """The script a turn gets that did not ask for one."""
    if directives.words is not None:
        return "long"
    if directives.stall is not None:
        return "stall"
    if "search" in conversation.system_hints:
        return "citations"
    return "reasoning" if is_thinking(turn.slug) else "text"


def _check_accept(headers: Mapping[str, str]) -> None:
    """The turn's accept header names the event stream, or takes anything (protocol.md 1)."""
    accept = headers.get("accept", "*/*")
    if "text/event-stream" not in accept and "*/*" not in accept:
        raise refused("not_acceptable")
