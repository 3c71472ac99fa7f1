"""`/v1/models`: one model, and the list."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType


class Model(msgspec.Struct, frozen=True):
    """One model. `created` is when this gateway learned of it, in seconds since 1970: upstream does not say more. What
    follows `owned_by` is ours, and there where upstream's list has it: `efforts` are upstream's words, `context_window`
    is in tokens, `preset_of` names the model that a preset means."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "openai"
    display_name: str | UnsetType = UNSET
    context_window: int | UnsetType = UNSET
    efforts: tuple[str, ...] | UnsetType = UNSET
    tools: tuple[str, ...] | UnsetType = UNSET
    preset_of: str | UnsetType = UNSET


class ModelList(msgspec.Struct, frozen=True):
    """Every model the account can use."""

    data: list[Model]
    object: Literal["list"] = "list"
