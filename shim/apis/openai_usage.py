"""Token counts, as OpenAI's chat and text completions both tell them."""

import msgspec

from shim.protocol.counting.usage import Usage


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


class CompletionUsage(msgspec.Struct, frozen=True):
    """Token counts, made here with the o200k tokenizer (the web backend sends none)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()


def usage_on_wire(usage: Usage) -> CompletionUsage:
    """The same, in OpenAI's words."""
    return CompletionUsage(
        prompt_tokens=usage.prompt,
        completion_tokens=usage.completion,
        total_tokens=usage.total,
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning),
    )
