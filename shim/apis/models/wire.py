"""`/v1/models`: one model, and the list."""

from typing import Literal

import msgspec


class Model(msgspec.Struct, frozen=True):
    """One model. `created` is when this gateway learned of it, in seconds since 1970: upstream does not say more."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str = "openai"


class ModelList(msgspec.Struct, frozen=True):
    """Every model the account can use."""

    data: list[Model]
    object: Literal["list"] = "list"
