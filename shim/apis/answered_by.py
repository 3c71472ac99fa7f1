"""Which model and effort really answered, as every API tells it: an object `chatgpt` beside the usage."""

import msgspec
from msgspec import UNSET, UnsetType

from shim.protocol.api import AnsweredBy, AnswerInfo


class AnsweredByChatgpt(msgspec.Struct, frozen=True):
    """Ours: what really answered, in the web backend's words. Only what it said is there."""

    slug: str | UnsetType = UNSET
    effort: str | UnsetType = UNSET
    auto_switched: bool | UnsetType = UNSET
    conversation_id: str | UnsetType = UNSET


def answered_by(answer: AnswerInfo, choice: int = 0) -> AnsweredByChatgpt | UnsetType:
    """What upstream has said by now of who answers a choice; UNSET where it has said nothing."""
    by = answer.answered_by(choice)
    if by == _NOBODY:
        return UNSET
    return AnsweredByChatgpt(
        UNSET if by.slug is None else by.slug,
        UNSET if by.effort is None else by.effort,
        UNSET if by.auto_switched is None else by.auto_switched,
        UNSET if by.conversation_id is None else by.conversation_id,
    )


_NOBODY = AnsweredBy()
