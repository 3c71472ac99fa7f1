"""`/v1/chat/completions`: the request, the completion and the chunk.

Rule: a request field that is declared here is honoured; one that is not is reported as ignored, never silently eaten.
An output field is here because the real API sends it, with the value the real API gives when it has nothing to say.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]

# --- request ----------------------------------------------------------------------------------------------------------


class TextPart(msgspec.Struct, frozen=True, tag="text"):
    """`{"type": "text", "text": ...}`"""

    text: str


class RefusalPart(msgspec.Struct, frozen=True, tag="refusal"):
    """An assistant's earlier refusal, sent back as history."""

    refusal: str


class ImagePart(msgspec.Struct, frozen=True, tag="image_url"):
    """`{"type": "image_url", "image_url": {"url": ...}}`"""

    image_url: msgspec.Raw


class AudioPart(msgspec.Struct, frozen=True, tag="input_audio"):
    """`{"type": "input_audio", ...}`"""

    input_audio: msgspec.Raw


class FilePart(msgspec.Struct, frozen=True, tag="file"):
    """`{"type": "file", "file": {...}}`"""

    file: msgspec.Raw


ContentPart = TextPart | RefusalPart | ImagePart | AudioPart | FilePart


class ChatMessage(msgspec.Struct, frozen=True):
    """One message of the history. `content` is text, a list of parts, null or missing."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None


class StreamOptions(msgspec.Struct, frozen=True):
    """What a streaming client asks for on top."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True):
    """A chat completion request, as far as it is honoured."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Ours, where chats are kept: the ids an earlier answer gave, to go on with its conversation.
    conversation_id: str | None = None
    parent_message_id: str | None = None
    # Accepted, as the real API does, and without effect on the answer.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None


# --- answer -----------------------------------------------------------------------------------------------------------


class CompletionDetails(msgspec.Struct, frozen=True):
    """How many of the completion's tokens are reasoning."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class PromptDetails(msgspec.Struct, frozen=True):
    """Always zero: the web backend tells nothing of its cache."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Token counts, made here with the o200k tokenizer (the web backend sends none)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()


class AssistantMessage(msgspec.Struct, frozen=True):
    """The one message of a completion's choice."""

    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: str | None = None
    annotations: list[object] = []
    reasoning_content: str | UnsetType = UNSET


class Choice(msgspec.Struct, frozen=True):
    """One answer of a completion."""

    message: AssistantMessage
    finish_reason: FinishReason
    index: int = 0
    logprobs: None = None


class ChatCompletion(msgspec.Struct, frozen=True):
    """The whole answer in one body. `created` is in whole seconds since 1970."""

    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    object: Literal["chat.completion"] = "chat.completion"
    service_tier: None = None
    system_fingerprint: None = None
    conversation_id: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET


class ChunkDelta(msgspec.Struct, frozen=True):
    """What a chunk adds. Only what is there is on the wire."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChunkChoice(msgspec.Struct, frozen=True):
    """One choice's share of a chunk."""

    delta: ChunkDelta
    finish_reason: FinishReason | None = None
    index: int = 0
    logprobs: None = None


class ChatChunk(msgspec.Struct, frozen=True):
    """One line of a streamed answer. `usage` is on the wire (as null but in the last one) only when asked for."""

    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    service_tier: None = None
    system_fingerprint: None = None
    usage: Usage | UnsetType | None = UNSET
    conversation_id: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
