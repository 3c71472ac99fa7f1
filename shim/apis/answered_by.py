"""Which model and effort really answered, as every API tells it: an object `chatgpt` beside the usage."""

import msgspec
from msgspec import UNSET, UnsetType

from shim.protocol.api import AnswerInfo


class AnsweredByChatgpt(msgspec.Struct, frozen=True):
    """Ours: what really answered, in the web backend's words. Only what it said is there."""

    slug: str | UnsetType = UNSET
    effort: str | UnsetType = UNSET
    auto_switched: bool | UnsetType = UNSET
    conversation_id: str | UnsetType = UNSET


def answered_by(answer: AnswerInfo, choice: int = 0) -> AnsweredByChatgpt | UnsetType:
    """What upstream has said by now of who answers a choice; UNSET where it has said nothing."""
    told = {
        key: value for key, value in msgspec.structs.asdict(answer.answered_by(choice)).items() if value is not None
    }
    return AnsweredByChatgpt(**told) if told else UNSET
