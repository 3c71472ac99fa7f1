"""Token counts of messages, by OpenAI's published rule for chat models.

Rule: the tokenizer is an argument (`count`: text to number of tokens), because loading one is work at import.
"""

from collections.abc import Callable, Sequence

from shim.openai.chat import ChatMessage, CompletionDetails, Usage
from shim.protocol.conversation import text_of

Count = Callable[[str], int]

_PER_MESSAGE = 3  # <|start|>{role}<|message|> ... <|end|>
_PER_NAME = 1
_REPLY_PRIMER = 3  # every reply is primed with <|start|>assistant<|message|>


def prompt_tokens(messages: Sequence[ChatMessage], count: Count) -> int:
    """Tokens the messages make as a prompt."""
    return _REPLY_PRIMER + sum(_message_tokens(message, count) for message in messages)


def usage_of(prompt: int, text: str, reasoning: str, count: Count) -> Usage:
    """The usage of one answer: reasoning tokens are part of the completion, as in the real API."""
    reasoned = count(reasoning) if reasoning else 0
    completion = count(text) + reasoned
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        completion_tokens_details=CompletionDetails(reasoning_tokens=reasoned),
    )


def _message_tokens(message: ChatMessage, count: Count) -> int:
    named = _PER_NAME + count(message.name) if message.name else 0
    return _PER_MESSAGE + count(message.role) + count(text_of(message)) + named
