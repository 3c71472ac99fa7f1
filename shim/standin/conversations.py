"""The conversations the stand-in remembers, so that later turns can only continue what their caller began.

Rule: bounded; the oldest conversation is forgotten first. A temporary one keeps no message: only its caller, its files
and the ids a later call may name.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from shim.standin.conduits import NO_TOKEN
from shim.standin.failures import RefusedError, coded, refused
from shim.standin.memory import remember
from shim.standin.moved import Handoff
from shim.standin.steps import Json, Made, Start, Step, Turn, Typed
from shim.standin.tree import Recorder, Tree

MAX_CONVERSATIONS = 1000
MAX_REMEMBERED = 1000

StreamStatus = Literal["IS_STREAMING", "COMPLETE", "FAILURE"]


class Pending(msgspec.Struct):
    """What happens without anybody's stream, once it was looked for `polls` times (-1 = never).

    streaming: it is the answer itself, which somewhere is still being told.
    """

    steps: list[Step]
    polls: int
    streaming: bool
    recorder: Recorder


class Conversation(msgspec.Struct):
    """Whose it is, its newest message, the pieces a max_tokens answer kept back, and what can be fetched of it.

    tree: None for a temporary one. status, async_status: what a directive or a script makes it say.
    answers: ids of the assistant's messages. sandbox: path -> file id. files: ids of those made in it.
    notices: messages that come later in a temporary one, which only the socket tells (protocol.md 6.5).
    """

    id: str
    identity: str
    slug: str
    created: float
    updated: float
    tree: Tree | None = None
    last_message_id: str = ""
    rest: list[str] = []
    title: str = "New chat"
    gizmo_id: str | None = None
    is_archived: bool = False
    answers: dict[str, bool] = {}
    sandbox: dict[str, str] = {}
    files: list[str] = []
    notices: list[Json] = []
    textdocs: list[Json] = []
    pending: list[Pending] = []
    status: StreamStatus | None = None
    async_status: int | None = None
    is_starred: bool | None = None
    is_do_not_remember: bool = False
    ratings: dict[str, str] = {}

    @property
    def messages(self) -> Tree:
        """The tree of a saved one; a temporary one has none (404)."""
        if self.tree is None:
            raise refused("conversation_not_found")
        return self.tree

    @property
    def streaming(self) -> bool:
        """Whether an answer is still being told somewhere."""
        return any(waiting.streaming for waiting in self.pending)

    def look(self) -> None:
        """Somebody asks how far it is: what is due after enough looks happens now."""
        if not self.pending or self.pending[0].polls < 0:
            return
        if self.pending[0].polls:
            self.pending[0].polls -= 1
        else:
            self.happen()

    def happen(self) -> None:
        """The first pending steps take place."""
        due = self.pending.pop(0)
        for step in due.steps:
            due.recorder.record(step)

    def wait_for(self, turn: Turn, steps: list[Step], recorder: Recorder, *, streaming: bool = False) -> None:
        """Steps that happen later."""
        if self.tree is not None and steps:
            self.pending.append(Pending(steps, turn.polls, streaming, recorder))

    def note(self, step: Step) -> None:
        """The id of a message the assistant begins."""
        if isinstance(step, Start) and step.message["author"]["role"] == "assistant":
            remember(self.answers, step.message["id"], value=True, limit=MAX_REMEMBERED)


class Conversations:
    """Conversations by id (protocol.md 4.1: conversation_id, parent_message_id, action continue)."""

    def __init__(self, deposit: Callable[[str, Made], None], forget: Callable[[str], None]) -> None:
        self._known: dict[str, Conversation] = {}
        self._handoffs: dict[str, Handoff] = {}
        self._newest: dict[str, Handoff] = {}  # by conversation
        self._deposit, self._forget = deposit, forget

    def find(self, conversation_id: str, identity: str) -> Conversation:
        """The caller's own conversation; 404 for any other."""
        found = self._known.get(conversation_id)
        if found is None or found.identity != identity:
            raise refused("conversation_not_found")
        return found

    def saved(self, conversation_id: str, identity: str) -> Conversation:
        """The caller's own conversation that was saved; 404 in the words of GET conversation/{id} (protocol.md 7.5)."""
        found = self._known.get(conversation_id)
        if found is None or found.identity != identity or found.tree is None:
            told = f"Can't load conversation {conversation_id}"
            raise RefusedError(coded(404, "conversation_not_found", told))
        return found

    def saved_by(self, identity: str) -> list[Conversation]:
        """All saved conversations of a caller, the last changed first."""
        mine = (one for one in self._known.values() if one.identity == identity and one.tree is not None)
        return sorted(mine, key=lambda one: one.updated, reverse=True)

    def delete(self, conversation: Conversation) -> None:
        """Forget a conversation, and what was made in it."""
        self._known.pop(conversation.id, None)
        for id in conversation.files:
            self._forget(id)

    def take_rest(self, conversation_id: str, identity: str, parent_id: str) -> list[str]:
        """What is left to say after a cut answer; 422 when the parent is not that answer."""
        found = self.find(conversation_id, identity)
        if not found.rest or found.last_message_id != parent_id:
            raise refused("invalid_body")
        rest, found.rest = found.rest, []
        return rest

    def begin(self, identity: str, turn: Turn, history: list[Json], *, temporary: bool) -> Conversation:
        """The conversation of a turn, made when it is new; `history` are the messages before the user's newest.

        Whether it is temporary is decided when it begins.
        """
        found = self._known.get(turn.conversation_id)
        if found is None:
            tree = None if temporary else Tree(turn.new_id())
            found = Conversation(turn.conversation_id, identity, turn.slug, turn.now, turn.now, tree)
        found.updated, found.gizmo_id, found.slug = turn.now, turn.gizmo_id, turn.slug
        remember(self._known, turn.conversation_id, found, MAX_CONVERSATIONS)
        if found.tree is not None:
            for message in history:
                found.tree.add(turn.message("", {}, id=message["id"]) | message, turn.parent_id)
                turn.parent_id = message["id"]
        return found

    def told(self, conversation: Conversation, turn: Turn, steps: Iterator[Step], *, kept: bool) -> Iterator[Step]:
        """The same steps; what they say, make and promise is remembered before [DONE] can be read.

        kept: whether the messages of the stream belong into the tree (those of a handoff's are told elsewhere).
        """
        recorder = Recorder(conversation.tree) if conversation.tree is not None and kept else None
        try:
            for step in steps:
                self._collect(conversation, turn)
                conversation.note(step)
                if isinstance(step, Typed) and step.event.get("type") == "conversation_async_status":
                    conversation.async_status = step.event["async_status"]
                if recorder:
                    recorder.record(step)
                yield step
            self._collect(conversation, turn)
            if recorder:
                for later in [[step] for step in turn.later] if turn.one_by_one else [turn.later]:
                    conversation.wait_for(turn, later, recorder)
            elif turn.polls >= 0:
                conversation.notices = [step.message for step in turn.later if isinstance(step, Start)]
        finally:
            conversation.last_message_id, conversation.rest = turn.parent_id, turn.rest
            conversation.title = (recorder and recorder.title) or conversation.title

    def _collect(self, conversation: Conversation, turn: Turn) -> None:
        """Take over what the script has made so far."""
        while turn.made:
            made = turn.made.pop(0)
            conversation.files.append(made.id)
            self._deposit(conversation.identity, made)
        conversation.sandbox |= turn.sandbox
        conversation.textdocs += turn.textdocs
        turn.textdocs = []

    def hand_off(self, conversation: Conversation, token: str, handoff: Handoff, steps: list[Step]) -> None:
        """Keep an answer that is to be fetched with the resume token, on the socket, or looked for (protocol.md 5.6).

        Half of it is in the tree at once, as an answer that is being told would be.
        """
        self._collect(conversation, handoff.turn)
        self.resumable(conversation, token, handoff)
        for step in steps:
            conversation.note(step)
        if conversation.tree is None:
            return
        recorder, half = Recorder(conversation.tree), len(steps) // 2
        for step in steps[:half]:
            recorder.record(step)
        conversation.wait_for(handoff.turn, steps[half:], recorder, streaming=True)
        conversation.wait_for(handoff.turn, handoff.turn.later, recorder)

    def resumable(self, conversation: Conversation, token: str, handoff: Handoff) -> None:
        """Keep an answer whose stream can be opened again."""
        handoff.temporary = conversation.tree is None
        remember(self._handoffs, token, handoff, MAX_CONVERSATIONS)
        remember(self._newest, conversation.id, handoff, MAX_CONVERSATIONS)

    def handed_off(self, token: str, conversation_id: str, offset: int) -> Handoff:
        """The answer a resume belongs to; 404 when there is nothing to resume, 410 when it must be looked for. Without
        a token only its beginning can be had."""
        handoff = self._newest.get(conversation_id) if token in NO_TOKEN else self._handoffs.get(token)
        if handoff is None or handoff.turn.conversation_id != conversation_id:
            raise refused("not_found")
        directives = handoff.directives
        if not handoff.promise.resumable:
            raise refused("not_found" if directives.gone == 404 else "persisted_final_available")
        if directives.resume is not None:
            raise refused(directives.resume)
        handoff.resumed += 1
        if directives.resumes is not None and handoff.resumed > directives.resumes:
            raise refused("not_found")
        if handoff.temporary and directives.temporary_resume == "404":
            raise refused("not_found")
        if token in NO_TOKEN and offset:
            raise refused("tokenless_resume_unavailable")
        return handoff

    def resumed(self, identity: str, handoff: Handoff, offset: int) -> Iterator[bytes]:
        """The events of a resumed stream; told to the end, the whole answer is in the tree."""
        conversation = self.find(handoff.turn.conversation_id, identity)
        for frame in handoff.told_from(offset):
            yield frame
            if frame == handoff.frames[-1]:
                self.over(conversation)

    def over(self, conversation: Conversation) -> None:
        """An answer has been told to its end somewhere."""
        if conversation.streaming:
            conversation.happen()

    def find_of(self, handoff: Handoff) -> Conversation:
        """The conversation of an answer."""
        return self._known[handoff.turn.conversation_id]

    def with_notices(self, identity: str) -> list[Conversation]:
        """The caller's temporary conversations in which something comes later: told whenever somebody begins to listen,
        for nobody knows who has heard it."""
        return [one for one in self._known.values() if one.identity == identity and one.notices]

    def on_topic(self, topic_id: str, identity: str) -> tuple[Conversation, Handoff] | None:
        """The caller's own answer that a topic of the socket tells."""
        for handoff in self._newest.values():
            if handoff.topic_id == topic_id:
                found = self._known.get(handoff.turn.conversation_id)
                return (found, handoff) if found is not None and found.identity == identity else None
        return None

    def stop(self, conversation: Conversation) -> None:
        """POST stop_conversation (protocol.md 4.5): what is told elsewhere ends, what was said stays."""
        handoff = self._newest.get(conversation.id)
        if handoff is not None:
            handoff.stopped = True
        if conversation.tree is not None:
            newest = conversation.tree.message(conversation.tree.current)
            if conversation.streaming and newest is not None and newest["author"]["role"] == "assistant":
                newest["status"] = "finished_partial_completion"
                newest["metadata"]["finish_details"] = {"type": "interrupted"}
        conversation.pending.clear()
