"""The conversations the stand-in remembers, so that later turns can only continue what their caller began.

Rule: bounded; the oldest conversation is forgotten first.
"""

import msgspec

from .failures import refused
from .memory import remember
from .steps import Turn

MAX_CONVERSATIONS = 1000


class Conversation(msgspec.Struct):
    """Whose it is, its newest message, and the text a max_tokens answer kept back."""

    identity: str
    last_message_id: str
    rest: str | None = None


class Conversations:
    """Conversations by id (protocol.md 4.1: conversation_id, parent_message_id, action continue)."""

    def __init__(self) -> None:
        self._known: dict[str, Conversation] = {}
        self._handoffs: dict[str, Turn] = {}

    def find(self, conversation_id: str, identity: str) -> Conversation:
        """The caller's own conversation; 404 for any other."""
        found = self._known.get(conversation_id)
        if found is None or found.identity != identity:
            raise refused("conversation_not_found")
        return found

    def take_rest(self, conversation_id: str, identity: str, parent_id: str) -> str:
        """What is left to say after a cut answer; 422 when the parent is not that answer."""
        found = self.find(conversation_id, identity)
        if found.rest is None or found.last_message_id != parent_id:
            raise refused("invalid_body")
        rest, found.rest = found.rest, None
        return rest

    def keep(self, identity: str, turn: Turn) -> None:
        """Remember how far a conversation has come."""
        newest = Conversation(identity, turn.parent_id, turn.rest)
        remember(self._known, turn.conversation_id, newest, MAX_CONVERSATIONS)

    def hand_off(self, token: str, turn: Turn) -> None:
        """Keep a turn whose answer is to be fetched with the resume token (protocol.md 5.6)."""
        remember(self._handoffs, token, turn, MAX_CONVERSATIONS)

    def handed_off(self, token: str, conversation_id: str) -> Turn:
        """The turn a resume token belongs to; 404 when there is nothing to resume."""
        turn = self._handoffs.get(token)
        if turn is None or turn.conversation_id != conversation_id:
            raise refused("not_found")
        return turn
