"""`/v1/completions`: the request, and the completion, which is also each line of a stream.

Rule: a request field that is declared here is honoured, or refused by name where honouring it can't be done; one that
is not declared is reported as ignored.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from shim.apis.answered_by import AnsweredByChatgpt
from shim.apis.chatgpt_extension import ChatgptWishes
from shim.apis.openai_usage import CompletionUsage
from shim.errors import Field

FIELDS = {Field.PROMPT: "prompt", Field.MODEL: "model", Field.EFFORT: "model"}
"""What this API calls the fields that the core knows. It has none for the effort, which only an alias, so the model's
name, can set."""


class UsageOptions(msgspec.Struct, frozen=True):
    """What a streaming client asks for on top."""

    include_usage: bool | None = None


class TextCompletionRequest(msgspec.Struct, frozen=True):
    """A completion request. `prompt` is text, or a list of one; tokens are read in order to be refused by name, as is
    `suffix`."""

    model: str
    prompt: str | list[str | int | list[int]]
    stream: bool | None = None
    stream_options: UsageOptions | None = None
    echo: bool | None = None
    # As in chat: each is a turn of its own upstream.
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=4)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    suffix: str | None = None
    chatgpt: ChatgptWishes | None = None
    # Accepted, as the real API does, and without effect on the answer.
    user: str | None = None


class WithoutPurpose(msgspec.Struct, frozen=True):
    """Fields of the published schema that have no effect here: what they may be."""

    # The published bounds: what the real API would refuse is a mistake here too, and the client should hear of it.
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None


class TextChoice(msgspec.Struct, frozen=True):
    """One answer, or a piece of it. Only its last piece has a finish reason."""

    text: str
    index: int = 0
    finish_reason: Literal["stop", "length", "content_filter"] | None = None
    logprobs: None = None


class TextCompletion(msgspec.Struct, frozen=True):
    """The whole answer in one body, or a line of a streamed one. `usage` is on a line (as null but in the last one)
    only when asked for, `chatgpt` on that which ends a choice."""

    id: str
    created: int
    model: str
    choices: list[TextChoice]
    object: Literal["text_completion"] = "text_completion"
    usage: CompletionUsage | UnsetType | None = UNSET
    chatgpt: AnsweredByChatgpt | UnsetType = UNSET
