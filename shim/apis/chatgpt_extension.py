"""`chatgpt`, our extension of OpenAI's APIs: what only the web backend can do."""

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from shim.apis.decoding import missing
from shim.errors import RequestError
from shim.protocol.prompt import Continues, Hint, Wishes


class ChatgptWishes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ours, the same in every API: what only the web backend can do (docs/parameters.md)."""

    temporary: bool | None = None
    memory: bool | None = None
    # `$` alone would allow a line end behind it.
    project: Annotated[str, Meta(pattern=r"^g-p-[A-Za-z0-9_-]{2,128}(\.[0-9a-f]{16}){0,8}$(?!\n)")] | None = None
    hints: Annotated[list[Literal["search", "picture", "research"]], Meta(max_length=3)] | None = None
    conversation_id: str | None = None
    parent_message_id: str | None = None


def wishes_of(asked: ChatgptWishes | None, *, hints: frozenset[Hint], store: bool | None, tier: str | None) -> Wishes:
    """The extension object together with the fields of the API that mean the same. Raises RequestError (400)."""
    asked = asked or ChatgptWishes()
    all_hints = hints | frozenset[Hint](asked.hints or ())
    # What is not to be stored is a temporary chat.
    stored = None if store is None else not store
    temporary = stored if asked.temporary is None else asked.temporary
    if asked.temporary and ("research" in all_hints or asked.memory is not None):
        raise RequestError(
            "Temporary chats have neither research nor a memory of their own.",
            param="chatgpt.temporary",
            code="invalid_value",
        )
    # The first two tiers ask for nothing else than what happens anyway.
    return Wishes(temporary, asked.memory, asked.project, all_hints, None if tier in {"auto", "default"} else tier)


class NamedPlace(Protocol):
    """Where a kept chat is gone on: below one of its messages."""

    @property
    def conversation_id(self) -> str | None: ...
    @property
    def parent_message_id(self) -> str | None: ...


def continued_by(asked: NamedPlace | None, within: str = "chatgpt.") -> Continues | None:
    """The kept chat that is gone on with, as the extension object says, or fields that stand `within` another. Raises
    RequestError (400)."""
    if asked is None or not asked.conversation_id:
        return None
    if not asked.parent_message_id:
        raise missing(f"{within}parent_message_id", "the 'message_id' that came with the conversation")
    return Continues(asked.conversation_id, asked.parent_message_id, f"{within}conversation_id")
